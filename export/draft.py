"""What is about to become a bundle: graphs, the encoder they must agree with, real items to judge by."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from enfold.bundle import Entry, Lineage
from enfold.modalities import Arrays
from enfold.space import space_id
from training.encoders import Encoder
from training.heads import GraphModule


@dataclass(frozen=True)
class Reference:
    """The encoder as it was trained, on items prepared as they were in training."""

    prepare: Callable[[Any], Arrays]  # a raw item -> the arrays of one sample
    encode: Callable[[Arrays], Arrays]  # a batch -> {"out_embedding", "out_tokens", "out_<task>" of every head}


def encode_with(encoder: Encoder, heads: Mapping[str, nn.Module] | None = None) -> Callable[[Arrays], Arrays]:
    """The outputs of a torch encoder and its heads (task -> module), on arrays."""

    @torch.inference_mode()
    def encode(inputs: Arrays) -> Arrays:
        encoded = encoder({name: torch.from_numpy(array) for name, array in inputs.items()})
        answers = {f"out_{task}": head(encoded.embedding).numpy() for task, head in (heads or {}).items()}
        return {"out_tokens": encoded.tokens.numpy(), "out_embedding": encoded.embedding.numpy(), **answers}

    return encode


@torch.inference_mode()
def token_width(encoder: Encoder, alone: Arrays) -> int | None:
    """W of an encoder's tokens [1, T, W] for one item; None if they are not a sequence, or some of them padding."""
    encoded = encoder({name: torch.from_numpy(array) for name, array in alone.items()})
    real = encoded.token_mask is None or bool(encoded.token_mask.all())
    return encoded.tokens.shape[-1] if encoded.tokens.ndim == 3 and real else None


@dataclass(frozen=True)
class HeldOut:
    """Real items that the encoder was not trained on, each something that its modality reads."""

    name: str
    fingerprint: str
    items: Sequence[Any]
    labels: Sequence[str] | None = None


@dataclass(frozen=True)
class Twin:
    """What an encoder's graph was made of."""

    encoder: Encoder
    example: Arrays  # of at least 2 items
    longest: int | None  # of items that differ in length, what engines of fixed bounds are built for


@dataclass(frozen=True)
class TaskGraph:
    """A graph of a task that does not start from the embedding, with the module it must agree with."""

    twin: GraphModule
    model: onnx.ModelProto


@dataclass(frozen=True)
class Draft:
    """One encoder, at one size, with its heads. Graphs are in memory: what is on disk has been through the gate."""

    modality: str
    preprocess: dict[str, Any]
    encoder: onnx.ModelProto  # inputs of the modality -> out_tokens, out_embedding
    weights: Mapping[str, np.ndarray]  # what the space is made of
    pooling: str
    normalize: bool
    dimensions: int
    reference: Reference
    held_out: HeldOut
    licence: str
    lineage: Lineage
    twin: Twin | None = None  # of `encoder`, where it is at hand
    tokens: int | None = None  # how wide they are, where an item by itself has no other than real ones
    joint: str | None = None  # the space, where encoders of several modalities share one
    joins: str | None = None  # the bundle whose space that is, where it is another's
    side: str | None = None  # the column that it reads, where the bundle has another entry of its modality
    size: str | None = None  # its name, where the bundle has several
    heads: dict[str, onnx.ModelProto] = field(default_factory=dict)  # task -> graph: embedding -> out_<task>
    graphs: dict[str, TaskGraph] = field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    resources: dict[str, bytes] = field(default_factory=dict)  # path in the bundle -> content
    metrics: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # sentences for the model card

    @property
    def name(self) -> str:
        """Of the entry."""
        return self.side or self.modality

    @property
    def graph(self) -> str:
        return f"encode_{self.name}"

    def sized(self, name: str) -> str:
        """A graph or a place in golden.npz, of this size."""
        return name if self.size is None or name.endswith(f".{self.size}") else f"{name}.{self.size}"

    def entry(self) -> Entry:
        return Entry(
            modality=self.modality,
            graph=self.graph,
            space=self.space(),
            joins=self.joins,
            dimensions=self.dimensions,
            tokens=self.tokens,
            pooling=self.pooling,
            normalize=self.normalize,
            preprocess=self.preprocess,
        )

    def space(self) -> str:
        """A resource that preprocessing names (a tokenizer) shapes every vector, so its digest counts too."""
        if self.joint is not None:
            return self.joint
        named = {path: data for path, data in self.resources.items() if path in self.preprocess.values()}
        digests = {path: hashlib.sha256(data).hexdigest() for path, data in named.items()}
        return space_id(
            self.weights,
            preprocess=self.preprocess | digests,
            pooling=self.pooling,
            normalize=self.normalize,
            dimensions=self.dimensions,
        )
