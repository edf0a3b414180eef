"""Cheaper forms of an fp32 graph. The gate decides which of them are published."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

from enfold.errors import MissingExtra, require
from enfold.runtime import openvino
from export import onnx as graphs
from export.draft import Draft
from export.engine import engine

_PRODUCTS = ["MatMul", "Gemm"]
_SMALL = 1024  # elements; shorter tensors (biases, norms) stay fp32: they weigh little and matter much


def int8(draft: Draft, path: Path) -> None:
    """Matrix products in 8 bits: weights by the range of each column, activations by that of each batch. Faster."""
    quantization, model = require("onnxruntime.quantization", "cpu", "making the int8 variant"), draft.encoder
    if not any(node.op_type in _PRODUCTS for node in model.graph.node):
        raise ValueError("the graph has no matrix product to quantise")
    exported = graphs.copy(model)
    # The exporter has folded constants and inferred shapes; without this mark the quantiser prints advice to do so.
    exported.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    quantization.quantize_dynamic(
        exported,
        path,
        op_types_to_quantize=_PRODUCTS,
        per_channel=True,
        weight_type=quantization.QuantType.QInt8,
        use_external_data_format=graphs.is_big(model),
    )


def fp16(draft: Draft, path: Path) -> None:
    """Weights stored in 16 bits and widened once, when the graph is loaded; arithmetic stays fp32. Half the size."""
    narrow = graphs.copy(draft.encoder)
    widen = []
    for tensor in narrow.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) > _SMALL:
            half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{tensor.name}.fp16")
            widen.append(helper.make_node("Cast", [half.name], [tensor.name], to=TensorProto.FLOAT))
            tensor.CopyFrom(half)
    nodes = [*widen, *narrow.graph.node]
    del narrow.graph.node[:]
    narrow.graph.node.extend(nodes)
    graphs.save(narrow, path)


def bf16(draft: Draft, path: Path) -> None:
    """Matrix products in 16 bits, where this processor has them, by OpenVINO as it loads fp32's file. Faster."""
    try:
        here = openvino.has_bf16()
    except MissingExtra as error:
        raise ValueError(str(error)) from None
    if not here:
        raise ValueError("this processor has no bf16")


def trt_fp16(draft: Draft, path: Path) -> None:
    """An engine for this machine's GPU: other GPUs, and other versions of TensorRT, refuse it."""
    if draft.twin is None:
        raise ValueError("the encoder came as a graph, and an engine is compiled from a module of torch")
    try:
        path.write_bytes(engine(draft.twin.encoder, draft.twin.example, draft.twin.longest))
    except Exception as error:  # a compiler fails in ways of its own, and is no reason to publish nothing
        raise ValueError(str(error) or type(error).__name__) from None


OF_FP32 = ("bf16",)  # no file of their own: a runtime makes them of fp32's
ENGINES = ("trt_fp16",)  # files that are no ONNX


def candidates() -> dict[str, Callable[[Draft, Path], None]]:
    """Variant -> what writes its file. Engines are thought of only where there is a GPU to compile them for."""
    found: dict[str, Callable[[Draft, Path], None]] = {"int8": int8, "fp16": fp16, "bf16": bf16}
    if torch.cuda.is_available():
        found["trt_fp16"] = trt_fp16
    return found
