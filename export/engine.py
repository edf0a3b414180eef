"""A TensorRT engine of an encoder, compiled by torch-tensorrt from the torch module, for the GPU at hand alone."""
# B batch, T length

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from enfold.errors import require
from enfold.modalities import Arrays
from export.onnx import OUTPUTS, Positional
from training.encoders import Encoder

MOST_ITEMS, USUAL_ITEMS = 64, 16  # of a batch; a larger one runs in parts
USUAL_LENGTH = 64


class _Narrow(nn.Module):
    """An encoder in 16 bits between inputs and outputs of 32."""

    def __init__(self, encoder: Encoder, names: tuple[str, ...]):
        super().__init__()
        self.inner = Positional(copy.deepcopy(encoder).half(), names)

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        narrow = (array.half() if array.is_floating_point() else array for array in arrays)
        return tuple(found.float() for found in self.inner(*narrow))


def program(encoder: Encoder, example: Arrays, longest: int | None, device: str) -> ExportedProgram:
    """The encoder as TensorRT will read it. TensorRT takes types as they are written: who wants 16 bits writes them.

    example   real inputs of at least 2 items
    longest   T of the longest item that is taken, of items that differ in length
    """
    batch = Dim("batch", min=1, max=MOST_ITEMS)
    free = {0: batch} if longest is None else {0: batch, 1: Dim("length", min=1, max=longest)}
    narrow = _Narrow(encoder, tuple(example)).eval().to(device)
    tensors = tuple(torch.from_numpy(array).to(device) for array in example.values())
    return torch.export.export(narrow, tensors, dynamic_shapes=(tuple(free for _ in tensors),))


def shapes(array: Any, longest: int | None) -> dict[str, tuple[int, ...]]:
    """Of an input: the least, usual and greatest that the engine takes, [B, …] or [B, T, …]."""
    found = {}
    lengths = (1, min(USUAL_LENGTH, longest or 0), longest)
    for name, items, length in zip(("min", "opt", "max"), (1, USUAL_ITEMS, MOST_ITEMS), lengths, strict=True):
        rest = array.shape[1:] if longest is None else (length, *array.shape[2:])
        found[f"{name}_shape"] = (items, *rest)
    return found


def engine(encoder: Encoder, example: Arrays, longest: int | None) -> bytes:
    """Weights and products in 16 bits, their sums in 32. Raises MissingExtra, RuntimeError or ValueError."""
    compiler = require("torch_tensorrt", "gpu", "compiling a TensorRT engine")
    made: bytes = compiler.dynamo.convert_exported_program_to_serialized_trt_engine(
        program(encoder, example, longest, "cuda"),
        arg_inputs=[
            compiler.Input(**shapes(array, longest), dtype=torch.from_numpy(array).dtype) for array in example.values()
        ],
        arg_input_binding_names=tuple(example),
        output_binding_names=OUTPUTS,
        disable_tf32=True,
        use_fp32_acc=True,
    )
    return made
