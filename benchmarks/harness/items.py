"""What the benchmarks send: real texts and photographs, and the bundles that embed them."""

import base64
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

from enfold import store
from enfold.bundle import Entry, Graph, Lineage, Manifest, new_bundle, seal
from enfold.runtime import load
from enfold.settings import Settings
from enfold.space import space_id
from export.commands import import_model
from training.data.fetch import fetch
from training.data.sources import open_dataset

MEDIAN_TOKENS, LOG_DEVIATION, MOST_TOKENS = 30, 0.9, 512  # of texts
MODEL_TOKENS = 256  # where MiniLM cuts them
SIDES = (256, 640)  # pixels of photographs
DUMMY_DIMENSIONS = 384
_PHOTOGRAPHS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
_GOLDEN_RATIO = (5**0.5 - 1) / 2
_WORDS = "[UNK] the a of and to in is that it was for on as with he be by at his"


def minilm(config: Settings) -> Path:
    """The folder of all-MiniLM-L6-v2; its bundle `minilm` is made if there is none."""
    folder = fetch("minilm", data=config.data)
    fetch("brown", data=config.data)
    if not store.versions(config.bundles, "minilm"):
        import_model(folder, "minilm")
    return folder


def texts(config: Settings, count: int, *, tokens: int | None = None) -> list[str]:
    """Stretches of the Brown corpus, of log-normal length or all of `tokens`; every run draws the same.

    Lengths follow a low-discrepancy sequence: the first 50 texts hold as many tokens each as the first 500 do, so that
    a slow server, which gets through few of them, is not measured on easier ones.
    """
    tokenizer = Tokenizer.from_file(str(minilm(config) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    documents = [record.value or "" for record in open_dataset("brown", data=config.data).records]
    rng, drawn = np.random.default_rng(0), []
    for index in range(count):
        quantile = NormalDist().inv_cdf((0.5 + (index + 1) * _GOLDEN_RATIO) % 1)
        length = tokens or min(round(MEDIAN_TOKENS * np.exp(LOG_DEVIATION * quantile)), MOST_TOKENS)
        inner = max(length - 2, 1)  # the tokenizer adds one before and one behind
        text = documents[rng.integers(len(documents))]
        start = text.find(" ", rng.integers(len(text) // 2)) + 1
        piece = text[start : start + inner * 12]  # characters, more than enough
        ends = [end for _, end in tokenizer.encode(piece, add_special_tokens=False).offsets[:inner]]
        drawn.append(piece[: ends[-1]])
    return drawn


def lengths(config: Settings, drawn: Sequence[str]) -> dict[str, Any]:
    """What was drawn, in tokens as the model reads them."""
    tokenizer = Tokenizer.from_file(str(minilm(config) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MODEL_TOKENS)
    counts = np.array([len(found.ids) for found in tokenizer.encode_batch(list(drawn))])
    low, median, high = np.percentile(counts, (5, 50, 95))
    return {
        "texts": len(drawn),
        "median tokens": float(median),
        "mean": round(float(counts.mean()), 1),
        "5 to 95 %": f"{low:.0f} to {high:.0f}",
        "most": int(counts.max()),
    }


def photographs(count: int) -> list[bytes]:
    """JPEG files: scikit-image's sample photographs, cut and scaled to sides of 256 to 640 pixels."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    originals = [Image.open(folder / name).convert("RGB") for name in _PHOTOGRAPHS]
    rng, files = np.random.default_rng(0), []
    for index in range(count):
        picture = originals[index % len(originals)]
        width, height = (int(side) for side in rng.integers(SIDES[0], SIDES[1] + 1, 2))
        share = rng.uniform(0.5, 1) * min(picture.width / width, picture.height / height)
        cut_width, cut_height = width * share, height * share
        left, top = rng.uniform(0, picture.width - cut_width), rng.uniform(0, picture.height - cut_height)
        cut = picture.resize((width, height), box=(left, top, left + cut_width, top + cut_height))
        file = io.BytesIO()
        cut.save(file, "JPEG", quality=88)
        files.append(file.getvalue())
    return files


def vit(config: Settings) -> str:
    """A bundle of ViT-S/16 at 224 px with random weights, through the project's own gate."""
    name = "vit-small"
    if store.versions(config.bundles, name):
        return name
    import timm
    import torch

    folder = config.home / "benchmarks" / name
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for index, file in enumerate(photographs(256)):
        (folder / "pictures" / f"{index:03}.jpg").write_bytes(file)
    torch.manual_seed(0)
    net = timm.create_model("vit_small_patch16_224", pretrained=False, num_classes=0).eval()
    with torch.no_grad():  # as timm starts it, every picture gives almost the same vector
        for weight in net.parameters():
            if weight.ndim > 1:
                weight.mul_(2)
    torch.onnx.export(
        net,
        (torch.zeros(2, 3, 224, 224),),
        folder / "model.onnx",
        dynamo=True,
        external_data=False,
        input_names=["image"],
        output_names=["pooled"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    (folder / "model.toml").write_text(
        'modality = "image"\nlicence = "Apache-2.0"\noutput = "pooled"\npooling = "none"\nnormalize = true\n'
        "preprocess = { size = 224 }\n"
    )
    import_model(folder / "model.onnx", name, data=str(folder / "pictures"))
    return name


def dummy(config: Settings) -> str:
    """A bundle whose encoder does nothing worth mentioning: a mean of word vectors, 384 numbers."""
    name = "dummy"
    if store.versions(config.bundles, name):
        return name
    words = _WORDS.split()
    vectors = np.random.default_rng(0).normal(size=(len(words), DUMMY_DIMENSIONS)).astype(np.float32)
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    preprocess = {"tokenizer": "resources/tokenizer.json", "max_tokens": 16, "overlap_tokens": 4}
    facts: dict[str, Any] = {
        "preprocess": preprocess,
        "pooling": "mean",
        "normalize": True,
        "dimensions": DUMMY_DIMENSIONS,
    }
    inputs = {"input_ids": np.array([[1, 2]]), "attention_mask": np.ones((1, 2), np.int64)}
    with new_bundle(config.bundles, name) as draft:
        (draft / "graphs").mkdir()
        (draft / "resources").mkdir()
        onnx.save(_mean_of(vectors), draft / "graphs/encode_text.onnx")
        tokenizer.save(str(draft / "resources/tokenizer.json"))
        golden = load("onnxruntime", draft / "graphs/encode_text.onnx", threads=1).run(inputs)["out_embedding"]
        named: dict[str, Any] = {f"text/in/{key}": value for key, value in inputs.items()}
        named["text/fp32/out_embedding"] = golden
        np.savez(draft / "golden.npz", **named)
        graph = Graph(
            role="encode",
            files={"fp32": "graphs/encode_text.onnx"},
            inputs=tuple(inputs),
            outputs=("out_embedding",),
        )
        entry = Entry(modality="text", graph="encode_text", space=space_id({"vectors": vectors}, **facts), **facts)
        manifest = Manifest(
            name=name,
            version=1,
            created=datetime.now(UTC),
            entries={"text": entry},
            graphs={"encode_text": graph},
            licence="Apache-2.0",
            lineage=Lineage(source="made by a benchmark"),
        )
        seal(draft, manifest)
    return name


def _mean_of(vectors: np.ndarray) -> onnx.ModelProto:
    node = helper.make_node
    nodes = [
        node("Gather", ["vectors", "input_ids"], ["tokens"]),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "last"], ["wide"]),
        node("Mul", ["tokens", "wide"], ["real"]),
        node("ReduceSum", ["real", "one"], ["total"], keepdims=0),
        node("ReduceSum", ["mask", "one"], ["count"], keepdims=1),
        node("Div", ["total", "count"], ["out_embedding"]),
    ]
    constants = {"vectors": vectors, "last": np.array([2]), "one": np.array([1])}
    typed = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "dummy",
        [typed(name, TensorProto.INT64, ["B", "T"]) for name in ("input_ids", "attention_mask")],
        [typed("out_embedding", TensorProto.FLOAT, ["B", DUMMY_DIMENSIONS])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def wire(items: Sequence[str | bytes]) -> list[dict[str, str]]:
    """Items as enfold's requests have them."""
    return [{"text": item} if isinstance(item, str) else {"image": base64.b64encode(item).decode()} for item in items]
