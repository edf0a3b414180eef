"""A bare ONNX file, with a page of facts that it cannot state itself, as a draft. `enfold import --help` shows one."""
# B items, N tokens, D features

import hashlib
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from pydantic import ValidationError
from tokenizers import Tokenizer

from enfold import modalities, settings
from enfold.bundle import Lineage
from enfold.errors import UnknownName, WrongUse
from enfold.modalities import Arrays, Spec
from enfold.runtime import load
from export.draft import Draft, HeldOut, Reference
from export.onnx import anonymous, copy, weights

TOKENIZER = "resources/tokenizer.json"
_OPSET = 13  # below, Unsqueeze and ReduceSum are written otherwise


class OnnxSpec(Spec):
    """What an ONNX file does not say of itself."""

    modality: str
    licence: str
    output: str
    pooling: Literal["mean", "cls", "none"]
    normalize: bool
    preprocess: dict[str, Any]
    inputs: dict[str, str] = {}
    zeros: tuple[str, ...] = ()


def read_spec(path: Path) -> OnnxSpec:
    """Raises WrongUse for a page with an unknown, missing or senseless key."""
    try:
        raw = tomllib.loads(path.read_text()) if path.suffix == ".toml" else json.loads(path.read_bytes())
        return OnnxSpec.model_validate(raw)
    except FileNotFoundError:
        raise WrongUse(f"there is no spec {path}: write one, see enfold import --help") from None
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(OnnxSpec.model_fields)
        raise WrongUse(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}. Keys: {known}") from None
    except ValueError as error:
        raise WrongUse(f"{path} cannot be read as TOML or JSON: {error}") from None


def onnx_draft(path: Path, spec: OnnxSpec, spec_folder: Path, held_out: HeldOut) -> Draft:
    """Raises WrongUse for a file or spec that cannot be imported."""
    original = _read(path)
    kind = modalities.get(spec.modality)
    preprocess = _preprocess(spec, kind.Preprocess)
    reader = kind(preprocess, folder=spec_folder)
    resources = {}
    if tokenizer := spec.preprocess.get("tokenizer"):
        resources[TOKENIZER] = _tokenizer(spec_folder / tokenizer)
        preprocess = preprocess.model_copy(update={"tokenizer": TOKENIZER})
    reference = Reference(lambda item: reader.prepare(reader.read(item))[0].arrays, _reference(path, spec))
    first = {name: array[None] for name, array in reference.prepare(held_out.items[0]).items()}
    _check_names(path, original, spec, tuple(first))
    embedding = reference.encode(first)["out_embedding"]
    if embedding.ndim != 2:
        raise WrongUse(
            f"{path}: '{spec.output}' with pooling '{spec.pooling}' has shape {list(embedding.shape)}, not [B, D]"
        )
    return Draft(
        modality=spec.modality,
        preprocess=preprocess.model_dump(mode="json", exclude_none=True),
        encoder=_with_our_names(original, spec, tuple(first), embedding.shape[1]),
        weights=weights(original),
        pooling=spec.pooling,
        normalize=spec.normalize,
        dimensions=embedding.shape[1],
        tokens=None if spec.pooling == "none" else embedding.shape[1],
        reference=reference,
        held_out=held_out,
        licence=spec.licence,
        lineage=Lineage(source=f"{path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"),
        resources=resources,
    )


def _read(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's and onnx's own classes
        reason = (str(error).strip().splitlines() or ["no ONNX inside"])[0]
        raise WrongUse(f"{path} is not an ONNX model: {reason}") from None
    return model


def _preprocess(spec: OnnxSpec, kind: type[Spec]) -> Spec:
    try:
        return kind.model_validate(spec.preprocess)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("preprocess", *first["loc"])))
        raise WrongUse(f"spec: {where}: {first['msg']}. Keys: {', '.join(kind.model_fields)}") from None


def _tokenizer(file: Path) -> bytes:
    try:
        Tokenizer.from_file(str(file))
        return file.read_bytes()
    except Exception as error:  # tokenizers raises bare Exception
        raise WrongUse(f"spec: preprocess.tokenizer: {file} is not a tokenizer.json ({error})") from None


def _check_names(path: Path, model: onnx.ModelProto, spec: OnnxSpec, ours: tuple[str, ...]) -> None:
    """Every input of the file gets something, and the output is there."""
    stored = {tensor.name for tensor in model.graph.initializer}
    wanted = {node.name for node in model.graph.input} - stored
    given = {spec.inputs.get(name, name) for name in ours} | set(spec.zeros)
    if wanted != given:
        raise WrongUse(
            f"{path} takes inputs {', '.join(sorted(wanted))}; the spec gives {', '.join(sorted(given))}: "
            "map them under 'inputs' and 'zeros'"
        )
    outputs = [node.name for node in model.graph.output]
    if spec.output not in outputs:
        raise UnknownName.among(f"output of {path}:", spec.output, outputs)
    version = next((opset.version for opset in model.opset_import if opset.domain == ""), 0)
    if spec.pooling == "mean" and version < _OPSET:
        raise WrongUse(
            f"{path} is of opset {version}; a pooling needs {_OPSET} or later: onnx.version_converter brings it there"
        )


def _reference(path: Path, spec: OnnxSpec) -> Callable[[Arrays], Arrays]:
    """The file as it is, with the pooling in numpy."""
    session = load("onnxruntime", path, threads=settings.load().threads)

    def encode(inputs: Arrays) -> Arrays:
        first = next(iter(inputs.values()))
        feed = {spec.inputs.get(name, name): array for name, array in inputs.items()}
        feed |= {name: np.zeros_like(first) for name in spec.zeros}
        try:
            found = session.run(feed)[spec.output]
        except Exception as error:  # the runtime's own classes
            raise WrongUse(f"{path} cannot run on {spec.modality} items: {str(error).splitlines()[0]}") from None
        if spec.pooling == "none":
            return {"out_embedding": found}
        mask = inputs.get("attention_mask", np.ones(found.shape[:2]))[..., None]
        pooled = found[:, 0] if spec.pooling == "cls" else (found * mask).sum(1) / mask.sum(1)
        return {"out_tokens": found, "out_embedding": pooled.astype(np.float32)}

    return encode


def _with_our_names(
    original: onnx.ModelProto, spec: OnnxSpec, ours: tuple[str, ...], dimensions: int
) -> onnx.ModelProto:
    """The graph with the modality's input names, pooled, and with out_… as its only outputs."""
    model = anonymous(copy(original))
    graph, node = model.graph, helper.make_node
    typed = {value.name: value for value in graph.input}
    before = []
    for name in ours:
        theirs = spec.inputs.get(name, name)
        if theirs != name:
            before.append(node("Identity", [name], [theirs]))
            typed[theirs].name = name
    before += [node("Sub", [ours[0], ours[0]], [name]) for name in spec.zeros]
    kept = [value for value in graph.input if value.name not in spec.zeros]
    nodes = [*before, *graph.node, *_pooled(graph, spec, ours)]
    shapes: dict[str, list[Any]] = {"out_embedding": ["batch", dimensions]}
    if spec.pooling != "none":
        shapes["out_tokens"] = ["batch", "tokens", dimensions]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    # The output that was used may keep its name inside; what is left over is dropped.
    model.graph.CopyFrom(helper.make_graph(nodes, graph.name, kept, outputs, [*graph.initializer]))
    return model


def _pooled(graph: onnx.GraphProto, spec: OnnxSpec, ours: tuple[str, ...]) -> list[onnx.NodeProto]:
    """From the file's output to out_tokens and out_embedding."""
    node, tokens = helper.make_node, spec.output
    if spec.pooling == "none":
        return [node("Identity", [tokens], ["out_embedding"])]
    kept = [node("Identity", [tokens], ["out_tokens"])]
    if spec.pooling == "cls":
        graph.initializer.append(numpy_helper.from_array(np.array(0), "enfold.first"))
        return [*kept, node("Gather", [tokens, "enfold.first"], ["out_embedding"], axis=1)]
    if "attention_mask" not in ours:
        return [
            *kept,
            node("Transpose", [tokens], ["enfold.channels"], perm=[0, 2, 1]),
            node("GlobalAveragePool", ["enfold.channels"], ["enfold.mean"]),
            node("Flatten", ["enfold.mean"], ["out_embedding"]),
        ]
    graph.initializer.append(numpy_helper.from_array(np.array([1]), "enfold.one"))
    graph.initializer.append(numpy_helper.from_array(np.array([2]), "enfold.two"))
    return [
        *kept,
        node("Cast", ["attention_mask"], ["enfold.mask"], to=TensorProto.FLOAT),  # [B, T]
        node("Unsqueeze", ["enfold.mask", "enfold.two"], ["enfold.wide"]),
        node("Mul", [tokens, "enfold.wide"], ["enfold.real"]),
        node("ReduceSum", ["enfold.real", "enfold.one"], ["enfold.total"], keepdims=0),
        node("ReduceSum", ["enfold.mask", "enfold.one"], ["enfold.count"], keepdims=1),
        node("Div", ["enfold.total", "enfold.count"], ["out_embedding"]),
    ]
