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
from training.encoders import Encoder, build
from training.loop import fit
from training.methods import Item
from training.methods.gmml import GMML
from training.schedule import TrainConfig

PREPROCESS = ImagePreprocess(size=16)
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


def train(folder: Path, config: TrainConfig = TRAIN) -> dict[str, Any]:
    return fit(gmml(), images(), config, folder, seed=3, probe=None, threads=1)


if __name__ == "__main__":
    train(Path(sys.argv[1]))
