"""How well captions of each source fit, by a reference."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from training.evaluation import caption_alignment

SIDES = {"good": ["sun\nlight", "moon"], "bad": ["moon", "moon"]}
VECTORS = {"sun": [2.0, 0.0], "moon": [0.0, 3.0]}


def test_it_is_the_mean_cosine_of_each_source_of_texts():
    subject: Any = SimpleNamespace(
        features=lambda split: np.array([[1.0, 0.0], [0.6, 0.8]]),
        run=SimpleNamespace(
            sides={name: SimpleNamespace(name="text") for name in SIDES} | {"mask": SimpleNamespace(name="image")}
        ),
        side=lambda split, name: SIDES[name],
        text_features=lambda texts: np.array([VECTORS[text] for text in texts]),
    )
    assert caption_alignment.evaluate(subject) == pytest.approx({"good": (1 + 0.8) / 2, "bad": (0 + 0.8) / 2})
