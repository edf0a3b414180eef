"""A training of seconds: sixteen random images and an encoder of a few thousand weights.

python -m tests.unit.training.tiny FOLDER trains there in a process of its own, to be killed.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from enfold.modalities.image import ImagePreprocess
from enfold.modalities.text import TOKENIZER, Text, TextPreprocess
from training import tokenizer
from training.encoders import Encoder, build
from training.loop import fit
from training.methods import Item
from training.methods.gmml import GMML
from training.methods.scl_t2i import SCLT2I
from training.schedule import TrainConfig

PREPROCESS = ImagePreprocess(size=16)
CAPTIONS = ("red circle\nred circle, round", "blue square\nblue square, four\nblue square, corner", "green tree")
TRAIN = TrainConfig(
    steps=150, batch=4, lr=1e-3, warmup_steps=5, clip=1.0, ema=0.9, weight_decay_end=0.4, checkpoint_steps=5
)


def images(count: int = 16) -> Sequence[Item]:
    rng = np.random.default_rng(0)
    return [Item(rng.integers(0, 256, (20, 24, 3), np.uint8), i % 3, i) for i in range(count)]


def vit(**config: Any) -> Encoder:
    torch.manual_seed(0)
    return build("vit", {"patch": 4, "dim": 16, "depth": 2, "heads": 2} | config, PREPROCESS.size)


def gmml(**config: Any) -> GMML:
    return GMML.build(vit(), {"blocks": (1, 2)} | config, PREPROCESS)


def captions(folder: Path) -> Text:
    """What reads captions, with a tokenizer of its own in `folder`."""
    file = folder / TOKENIZER
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(tokenizer.train(CAPTIONS, 300))
    return Text(TextPreprocess(max_tokens=12, overlap_tokens=0), folder=folder)


def captioned(count: int = 16) -> Sequence[Item]:
    """Images with captions, in three classes."""
    return [Item(item.value, item.label, item.index, {"caption": CAPTIONS[item.label]}) for item in images(count)]


def scl_t2i(folder: Path, **config: Any) -> SCLT2I:
    """Of a few thousand weights; `folder` is for its tokenizer."""
    torch.manual_seed(0)
    encoder = build("resnet", {"layers": (1, 1, 1, 1), "width": 4, "stem": "small", "dim": 8}, PREPROCESS.size)
    text = {"name": "gru", "config": {"width": 8, "hidden": 4}}
    small = {"text_encoder": text, "classes": 2, "noise": 5, "condition": 6, "width": 4}
    return SCLT2I.build(encoder, small | config, PREPROCESS, {"caption": captions(folder)})


def train(folder: Path, config: TrainConfig = TRAIN) -> dict[str, Any]:
    return fit(gmml(), images(), config, folder, seed=3, probe=None, threads=1)


if __name__ == "__main__":
    train(Path(sys.argv[1]))
