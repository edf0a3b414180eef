"""Heads: what answers a task on an encoder's outputs. Exported beside the encoder, as graphs of their own.

A head is a file of this folder holding a `Config` and a `HEAD`. On disk it is three things: head.json says how to build
it and what the task must know, head.safetensors what it learnt, resources/ the files that the task reads.
"""

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import BaseModel
from safetensors.torch import load_file
from torch import Tensor, nn

from enfold.bundle import Role
from enfold.errors import UnknownName
from enfold.modalities import Arrays
from enfold.tasks import Graphs
from training.checkpoint import write_tensors
from training.encoders import Encoder
from training.recipe import validated


@dataclass(frozen=True)
class GraphModule:
    """A module that becomes one graph: tensors in the order of `example`, out in the order of `outputs`."""

    role: Role
    module: nn.Module
    example: Arrays  # free axes must not be 0 or 1 long
    axes: Mapping[str, Mapping[int, str]]  # input -> {axis: its name}, of the axes that are free
    outputs: tuple[str, ...]
    state: Mapping[str, str] = field(default_factory=dict)  # input -> the output that is fed back into it


RAGGED = {0: "batch", 1: "length"}  # axes of items that differ in length


class Head(nn.Module):
    """What answers `task`. `spec` is what the manifest stores for it."""

    task: ClassVar[str]
    modality: ClassVar[str | None] = None  # of the items that are answered, where it is not the encoder's
    truth: ClassVar[str] = "truth"  # the side that answers are measured against
    Config: ClassVar[type[BaseModel]]

    def __init__(self, encoder: Encoder, config: Any):
        super().__init__()
        self.config = config

    @abstractmethod
    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        """The task's graphs by name; `inputs` are an example of the encoder's, of at least two items."""

    def answer(self, encoder: Encoder, inputs: dict[str, Tensor]) -> Tensor | tuple[Tensor, ...]:
        """What a graph of encoder and head gives for the encoder's inputs; of heads that have one."""
        raise NotImplementedError

    def complete(self, encoder: Encoder, example: Arrays, axes: Mapping[int, str], *outputs: str) -> GraphModule:
        """`answer` as a graph. axes are those that are free, of every input."""
        whole = _Whole(encoder, self, tuple(example))
        return GraphModule("complete", whole, example, dict.fromkeys(example, axes), outputs)

    @abstractmethod
    def spec(self) -> dict[str, Any]: ...


class _Whole(nn.Module):
    """Tensors in the order of `names` -> a head's answer."""

    def __init__(self, encoder: Encoder, head: Head, names: tuple[str, ...]):
        super().__init__()
        self.encoder, self.head, self.names = encoder, head, names

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.head.answer(self.encoder, dict(zip(self.names, inputs, strict=True)))


def names() -> tuple[str, ...]:
    return tuple(module.name for module in iter_modules(__path__))


def build(name: str, encoder: Encoder, config: Mapping[str, Any]) -> Head:
    """A fresh head on `encoder`. Raises UnknownName or WrongUse."""
    if name not in names():
        raise UnknownName.among("head", name, names())
    kind = import_module(f"{__name__}.{name}").HEAD
    head: Head = kind(encoder, validated(kind.Config, dict(config), f"head '{name}'"))
    return head


def save_head(folder: Path, head: Head, *, spec: Mapping[str, Any] | None = None, **resources: bytes) -> None:
    """Write a head into `folder`.

    spec       what the task must know beyond the head's own
    resources  name -> content of files that the task reads
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(
        {name: weight.contiguous() for name, weight in head.state_dict().items()}, folder / "head.safetensors"
    )
    for name, content in resources.items():
        (folder / "resources").mkdir(exist_ok=True)
        (folder / "resources" / name).write_bytes(content)
    facts = {
        "head": type(head).__module__.rpartition(".")[2],
        "config": head.config.model_dump(mode="json"),
        "spec": head.spec() | dict(spec or {}),
        "resources": sorted(resources),
    }
    (folder / "head.json").write_text(json.dumps(facts))


@dataclass(frozen=True)
class SavedHead:
    head: Head
    spec: dict[str, Any]
    resources: dict[str, bytes]  # path in a bundle -> content


def load_head(folder: Path, encoder: Encoder) -> SavedHead:
    """The head that was saved, in evaluation mode."""
    facts = json.loads((folder / "head.json").read_bytes())
    head = build(facts["head"], encoder, facts["config"])
    head.load_state_dict(load_file(folder / "head.safetensors"))
    files = {f"resources/{name}": (folder / "resources" / name).read_bytes() for name in facts["resources"]}
    return SavedHead(head.eval(), facts["spec"], files)


def run_by(graphs: Mapping[str, GraphModule]) -> Graphs:
    """What runs these modules by name on arrays, as a runtime runs their graphs."""

    @torch.inference_mode()
    def run(name: str, inputs: Arrays) -> Arrays:
        graph = graphs[name]
        outputs = graph.module(*(torch.from_numpy(np.ascontiguousarray(inputs[key])) for key in graph.example))
        tensors = outputs if isinstance(outputs, tuple) else (outputs,)
        return {key: tensor.numpy() for key, tensor in zip(graph.outputs, tensors, strict=True)}

    return run
