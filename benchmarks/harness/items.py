"""What the benchmarks send: real texts and photographs, and the bundles that embed them."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from enfold import store
from enfold.settings import Settings
from export.commands import import_model
from tests import bundles
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


def minilm(config: Settings) -> Path:
    """The folder of all-MiniLM-L6-v2; its bundle `minilm` is made if there is none."""
    folder = fetch("minilm", data=config.data)
    fetch("brown", data=config.data)
    if not store.versions(config.bundles, "minilm"):
        import_model(folder, "minilm")
    return folder


def wordllama(config: Settings) -> Path:
    """The folder of WordLlama; its bundle `wordllama` is made if there is none."""
    folder = fetch("wordllama", data=config.data)
    fetch("brown", data=config.data)
    if not store.versions(config.bundles, "wordllama"):
        import_model(folder, "wordllama")
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
    if not store.versions(config.bundles, name):
        bundles.text_bundle(config.bundles, name, width=DUMMY_DIMENSIONS)
    return name


def wire(items: Sequence[str | bytes]) -> list[dict[str, str]]:
    """Items as enfold's requests have them."""
    return [{"text": item} if isinstance(item, str) else {"image": base64.b64encode(item).decode()} for item in items]
