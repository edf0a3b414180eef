"""From a torch encoder to an ONNX graph: every batch size and length, nothing of the machine that wrote it."""
# B batch, T tokens of a text, N tokens, D features, C labels

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx.external_data_helper import set_external_data
from torch import Tensor, nn

from enfold.bundle import WEIGHTS
from enfold.modalities import Arrays
from training.encoders import Encoder
from training.heads import GraphModule

INLINE_BYTES = 2**30  # larger weights go into a file of their own; protobuf ends at 2 GiB
_SMALL_BYTES = 1024  # of a tensor that is not worth sharing


OUTPUTS = ("out_tokens", "out_embedding")


class Positional(nn.Module):
    """The encoder with positional inputs in and `OUTPUTS` out, as a graph has them."""

    def __init__(self, encoder: Encoder, names: tuple[str, ...]):
        super().__init__()
        self.encoder, self.names = encoder, names

    def forward(self, *arrays: Tensor) -> tuple[Tensor, Tensor]:
        encoded = self.encoder(dict(zip(self.names, arrays, strict=True)))
        return encoded.tokens, encoded.embedding


class _Anonymous(nn.Module):
    """Any module as one of positional inputs, whatever they are called."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, *arrays: Tensor) -> Any:
        return self.module(*arrays)


def encoder_graph(encoder: Encoder, example: Arrays, *, ragged: bool = False) -> onnx.ModelProto:
    """Inputs as in `example` -> out_tokens [B, N, D], out_embedding [B, D].

    example   real inputs of at least 2 items: a batch axis of 1 would be frozen
    ragged    items differ in length, along the axis after the batch (`Modality.ragged`)
    """
    if ragged and min(array.shape[1] for array in example.values()) == 1:  # would be frozen as well
        example = {name: np.repeat(array, 2, axis=1) for name, array in example.items()}
    axes = tuple({0: "batch", 1: "length"} if ragged else {0: "batch"} for _ in example)
    return _exported(Positional(encoder, tuple(example)), example, axes, list(OUTPUTS))


def task_graph(graph: GraphModule) -> onnx.ModelProto:
    """A task's module as a graph."""
    axes = tuple(dict(graph.axes[name]) for name in graph.example)
    return _exported(_Anonymous(graph.module), graph.example, axes, list(graph.outputs))


def _exported(module: nn.Module, example: Arrays, axes: tuple[Any, ...], outputs: list[str]) -> onnx.ModelProto:
    """axes   names of the free axes of each of the arrays that `module` takes"""
    with warnings.catch_warnings(), _recurrence_kept():
        # It says that an axis of the second input is the first one's too, as its name says already.
        warnings.filterwarnings("ignore", message="# The axis name", category=UserWarning)
        program = torch.onnx.export(
            module.eval(),
            tuple(torch.from_numpy(array) for array in example.values()),
            dynamo=True,
            verbose=False,
            input_names=list(example),
            output_names=outputs,
            dynamic_shapes=(axes,),  # of one argument, *arrays
        )
    assert program is not None
    return anonymous(program.model_proto)


@contextmanager
def _recurrence_kept() -> Iterator[None]:
    """ONNX has an operator for a recurrence; torch's own rule, once loaded, unrolls it to the example's length."""
    operators: list[Any] = [torch.ops.aten.gru.input, torch.ops.aten.lstm.input]
    rules = [dict(operator.py_kernels) for operator in operators]
    for operator in operators:
        operator.py_kernels.clear()
        operator._dispatch_cache.clear()
    try:
        yield
    finally:
        for operator, own in zip(operators, rules, strict=True):
            operator.py_kernels.update(own)
            operator._dispatch_cache.clear()


def anonymous(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph without stack traces, file names and notes."""
    model.ClearField("metadata_props")
    model.ClearField("doc_string")
    for graph in _graphs(model.graph):
        graph.ClearField("metadata_props")
        graph.ClearField("doc_string")
        for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
            part.ClearField("metadata_props")
            part.ClearField("doc_string")
    return model


def weights(model: onnx.ModelProto) -> Arrays:
    """Every stored tensor of a graph, for a bare file's space; some exporters keep weights in Constant nodes."""
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                stored[node.output[0]] = onnx.numpy_helper.to_array(attribute.t)
    return stored


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write the graph; big weights go beside it, into <name>.data."""
    if not is_big(model):
        onnx.save(model, path)
        return
    # Saving moves the weights out of the graph it is given.
    onnx.save(copy(model), path, save_as_external_data=True, location=f"{path.stem}.data")


def share(folder: Path) -> None:
    """Write once what several graphs of a folder hold alike, into one file beside them."""
    files = {path: onnx.load(path) for path in sorted(folder.glob("*.onnx"))}
    files = {path: model for path, model in files.items() if not is_big(model)}
    held = Counter(digest for model in files.values() for digest in {_digest(t) for t in _large(model)})
    places: dict[bytes, tuple[int, int]] = {}
    draft = folder / f"{WEIGHTS}.draft"
    with draft.open("wb") as data:
        for path, model in files.items():
            for tensor in _large(model):
                if held[digest := _digest(tensor)] > 1:
                    if digest not in places:
                        places[digest] = (data.tell(), data.write(tensor.raw_data))
                    set_external_data(tensor, WEIGHTS, *places[digest])
                    tensor.ClearField("raw_data")
            path.write_bytes(model.SerializeToString())
    (folder / WEIGHTS).unlink(missing_ok=True)
    if places:
        draft.rename(folder / WEIGHTS)
    else:
        draft.unlink()


def _large(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    return [tensor for tensor in model.graph.initializer if len(tensor.raw_data) >= _SMALL_BYTES]


def _digest(tensor: onnx.TensorProto) -> bytes:
    return hashlib.sha256(tensor.raw_data).digest()


def is_big(model: onnx.ModelProto) -> bool:
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer) > INLINE_BYTES


def copy(model: onnx.ModelProto) -> onnx.ModelProto:
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    return twin


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _graphs(attribute.g)
