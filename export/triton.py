"""A bundle as a model repository of NVIDIA's Triton Inference Server, for `enfold.open(ref, runtime="triton")`.

<bundle>.<graph>[.<variant>]/config.pbtxt
<bundle>.<graph>[.<variant>]/<version>/model.onnx      and the weights beside it, if the graph keeps them there
"""

import os
import shutil
from pathlib import Path
from typing import Annotated, Any

import onnx
import typer
from onnx import TensorProto

from enfold import settings, store
from enfold.bundle import Graph
from enfold.errors import Unavailable, UnknownName, require
from enfold.model import BATCH
from enfold.runtime import for_variant
from enfold.runtime.triton import served_as

BACKENDS = ("onnxruntime", "tensorrt", "python")
_MODEL_PY = Path(__file__).with_name("triton_model.py")
_TYPES = {  # Triton's names of ONNX's types
    TensorProto.FLOAT: "FP32",
    TensorProto.FLOAT16: "FP16",
    TensorProto.DOUBLE: "FP64",
    TensorProto.BOOL: "BOOL",
    TensorProto.UINT8: "UINT8",
    TensorProto.INT8: "INT8",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
}
_DRAFT = ".draft"  # Triton takes only numbers for versions


def write_repository(
    ref: store.Ref,
    to: Annotated[Path, typer.Option("--to", help="folder of the repository; other models in it stay")],
    backend: Annotated[str, typer.Option("--backend", help=" | ".join(BACKENDS))] = "onnxruntime",
) -> dict[str, Any]:
    """Write a bundle's graphs into a model repository of Triton.

    onnxruntime runs them on a CPU or GPU; tensorrt lets ONNX Runtime compile them with TensorRT on the server's GPU;
    python is for servers that have no ONNX Runtime of their own, and needs the onnxruntime package there.
    """
    if backend not in BACKENDS:
        raise UnknownName.among("backend of Triton", backend, BACKENDS)
    bundle = store.open_ref(settings.load().bundles, ref)
    files = {
        bundle.path / file: graph
        for graph in bundle.manifest.graphs.values()
        for variant, file in graph.files.items()
        if "triton" in for_variant(variant)
    }
    try:
        models = [_write(file, graph, to, backend) for file, graph in files.items()]
    except OSError as error:
        raise Unavailable(f"cannot write to {to}: {error.strerror}") from None
    return {"bundle": bundle.ref, "repository": str(to), "backend": backend, "models": models}


def _write(file: Path, graph: Graph, to: Path, backend: str) -> str:
    """One model; a version that is there already is replaced at once, and never seen half written."""
    name, version = served_as(file)
    model = onnx.load(file, load_external_data=False)
    folder = to / name
    shutil.rmtree(folder / _DRAFT, ignore_errors=True)
    (folder / _DRAFT).mkdir(parents=True)
    shutil.copyfile(file, folder / _DRAFT / "model.onnx")
    for beside in _beside(model):  # never as a link: onnx takes weights with several names for an attack
        shutil.copyfile(file.with_name(beside), folder / _DRAFT / beside)
    if backend == "python":
        shutil.copyfile(_MODEL_PY, folder / _DRAFT / "model.py")
    (folder / "config.pbtxt").write_text(config(name, model, graph, backend))
    shutil.rmtree(folder / str(version), ignore_errors=True)
    os.rename(folder / _DRAFT, folder / str(version))
    return f"{name}/{version}"


def _beside(model: onnx.ModelProto) -> set[str]:
    """Files in which the graph keeps weights."""
    facts = (fact for tensor in model.graph.initializer for fact in tensor.external_data)
    return {fact.value for fact in facts if fact.key == "location"}


def config(name: str, model: onnx.ModelProto, graph: Graph, backend: str) -> str:
    """config.pbtxt. Encoders are batched by the server; other graphs are run as they are asked for, axes and all."""
    schema = require("tritonclient.grpc.model_config_pb2", "triton", "writing a Triton repository")
    text_format = require("google.protobuf.text_format", "triton", "writing a Triton repository")
    batched = graph.role == "encode"
    made = schema.ModelConfig(
        name=name,
        backend="python" if backend == "python" else "onnxruntime",
        max_batch_size=BATCH if batched else 0,
        input=[schema.ModelInput(**_tensor(value, schema, batched)) for value in model.graph.input],
        output=[schema.ModelOutput(**_tensor(value, schema, batched)) for value in model.graph.output],
    )
    if batched and backend != "python":  # model.py runs its requests one by one
        made.dynamic_batching.SetInParent()
    if backend == "tensorrt":
        made.optimization.execution_accelerators.gpu_execution_accelerator.add(name="tensorrt")
    text: str = text_format.MessageToString(made)
    return text


def _tensor(value: onnx.ValueInfoProto, schema: Any, batched: bool) -> dict[str, Any]:
    """Name, type and axes; free ones are -1, and that of a batch is the server's."""
    kind = value.type.tensor_type
    axes = [axis.dim_value if axis.HasField("dim_value") else -1 for axis in kind.shape.dim]
    return {
        "name": value.name,
        "data_type": schema.DataType.Value(f"TYPE_{_TYPES[kind.elem_type]}"),
        "dims": axes[1:] if batched else axes,
    }
