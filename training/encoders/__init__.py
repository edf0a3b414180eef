"""Encoders: from a batch of inputs to tokens and one embedding. What is exported; everything else stays behind.

An encoder is a file of this folder holding a `Config` and a class of the same name; `build("vit", {…}, size)` makes it.
"""
# B batch, N tokens, D features

from abc import abstractmethod
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar

from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from enfold.errors import UnknownName, WrongUse

Inputs = dict[str, Tensor]
_NO_ENCODERS = ("files", "pretrained")


@dataclass(frozen=True)
class Encoded:
    """What an encoder makes of a batch."""

    tokens: Tensor  # [B, N, D]
    embedding: Tensor  # [B, D]
    token_mask: Tensor | None = None  # [B, N], True = real; None when every token is
    features: dict[str, Tensor] = field(default_factory=dict)  # inner maps by name: blocks, pyramid levels


class Encoder(nn.Module):
    """`inputs` are named as the modality names them: {"image": [B, 3, H, W]}."""

    Config: ClassVar[type[BaseModel]]
    net: Any  # the library's network
    dim: int
    pooling: str  # how tokens become the embedding, in words

    @abstractmethod
    def forward(self, inputs: Inputs) -> Encoded: ...


def names() -> tuple[str, ...]:
    return tuple(module.name for module in iter_modules(__path__) if module.name not in _NO_ENCODERS)


def build(name: str, config: dict[str, Any], size: int) -> Encoder:
    """A fresh encoder for inputs of `size` (of an image: pixels a side). Raises UnknownName or WrongUse."""
    if name not in names():
        raise UnknownName.among("encoder", name, names())
    module = import_module(f"{__name__}.{name}")
    kind = module.ENCODER  # takes (config, size)
    try:
        encoder: Encoder = kind(kind.Config.model_validate(config), size)
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(kind.Config.model_fields)
        raise WrongUse(f"encoder '{name}': {'.'.join(map(str, first['loc']))}: {first['msg']}. Keys: {known}") from None
    return encoder
