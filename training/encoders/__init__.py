"""Encoders: from a batch of inputs to tokens and one embedding. What is exported; everything else stays behind.

An encoder is a file of this folder holding a `Config` and an `ENCODER`; `build("vit", {…}, size)` makes it. On disk it
is two files: encoder.json says how to build it, encoder.safetensors what it learnt.
"""
# B batch, N tokens, D features

import json
from abc import abstractmethod
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar

import timm
from pydantic import BaseModel
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn

from enfold.errors import UnknownName, WrongUse
from training.checkpoint import write_tensors
from training.recipe import validated

Inputs = dict[str, Tensor]
_NOT_OF_AN_ENCODER = ("head.", "fc.", "pooler.", "cls.", "embeddings.position_ids")
TOWERS = "towers"  # folder of a stage's encoders of other modalities in the same space, by side


@dataclass(frozen=True)
class Encoded:
    """What an encoder makes of a batch."""

    tokens: Tensor  # [B, N, D]
    embedding: Tensor  # [B, D]
    token_mask: Tensor | None = None  # [B, N], True = real; None when every token is
    features: dict[str, Tensor] = field(default_factory=dict)  # inner maps by name: blocks, pyramid levels


class Encoder(nn.Module):
    """`inputs` are named as the modality names them: {"image": [B, 3, H, W]}, {"input_ids": [B, T], …}."""

    Config: ClassVar[type[BaseModel]]
    net: Any  # the library's network
    dim: int
    pooling: str  # how tokens become the embedding, in words
    sizes: tuple[str, ...] = ()  # encoders that this one holds in itself, smallest first, itself the last

    def sized(self, size: str) -> "Encoder":
        """The encoder of one of `sizes`, its weights shared with this one."""
        raise NotImplementedError

    @abstractmethod
    def forward(self, inputs: Inputs) -> Encoded: ...


def names() -> tuple[str, ...]:
    return tuple(module.name for module in iter_modules(__path__))


def build(name: str, config: dict[str, Any], size: int) -> Encoder:
    """A fresh encoder for inputs of `size` (`Modality.input_size`). Raises UnknownName or WrongUse."""
    if name not in names():
        raise UnknownName.among("encoder", name, names())
    module = import_module(f"{__name__}.{name}")
    kind = module.ENCODER  # takes (config, size)
    encoder: Encoder = kind(validated(kind.Config, config, f"encoder '{name}'"), size)
    return encoder


def save_encoder(encoder: Encoder, folder: Path, *, name: str, config: dict[str, Any], size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: tensor.contiguous() for key, tensor in encoder.state_dict().items()}
    write_tensors(weights, folder / "encoder.safetensors")
    (folder / "encoder.json").write_text(json.dumps({"name": name, "config": config, "size": size}))


def load_encoder(folder: Path) -> Encoder:
    """The saved encoder, in evaluation mode."""
    encoder = build(**json.loads((folder / "encoder.json").read_bytes()))
    encoder.load_state_dict(load_file(folder / "encoder.safetensors"))
    return encoder.eval()


def load_pretrained(encoder: Encoder, weights: str) -> None:
    """Fill `encoder.net` by timm's name of published weights, or from a .safetensors file.

    A name asks the Hugging Face hub, which is the user's to allow; a file needs no network. Position embeddings are
    resampled to the encoder's size. Raises WrongUse if the shapes do not fit.
    """
    if weights.endswith(".safetensors"):
        if not Path(weights).is_file():
            raise WrongUse(f"encoder.pretrained: there is no file {weights}")
        state = load_file(weights)
    elif timm.is_model(weights):
        state = timm.create_model(weights, pretrained=True, num_classes=0).state_dict()
    else:
        raise WrongUse(f"encoder.pretrained is '{weights}': give a timm model name or the path of a .safetensors file")
    if isinstance(encoder.net, VisionTransformer):
        state = checkpoint_filter_fn(state, encoder.net)
    inside = f"{getattr(encoder.net, 'base_model_prefix', '')}."  # where transformers saved it with heads around it
    state = {name.removeprefix(inside): tensor for name, tensor in state.items()}
    state = {name: tensor for name, tensor in state.items() if not name.startswith(_NOT_OF_AN_ENCODER)}
    try:
        encoder.net.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise WrongUse(f"encoder.pretrained: '{weights}' does not fit this encoder's config: {reason}") from None
