"""A probe of shades: sure where shades tell the class, at chance where only shapes do."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from training.evaluation import histogram_probe


def subject(values: dict[str, np.ndarray], labels: dict[str, np.ndarray]) -> Any:
    return SimpleNamespace(prepared=lambda split: {"volume": values[split]}, labels=labels.__getitem__)


def drawn(make: Any) -> Any:
    rng = np.random.default_rng(0)
    labels = {split: np.arange(60) % 2 for split in ("train", "val", "test")}
    return subject({split: np.stack([make(rng, label) for label in of]) for split, of in labels.items()}, labels)


def test_shades_that_tell_the_class_are_enough():
    found = histogram_probe.evaluate(drawn(lambda rng, label: rng.normal(label, 0.3, (1, 6, 6, 6))))
    assert found["accuracy"] > 0.95
    assert found["most_frequent"] == 0.5


def test_shapes_alone_tell_it_nothing():
    def half(rng: np.random.Generator, label: int) -> np.ndarray:
        """Bright in front or in the back, with the same shades."""
        cube = rng.permutation(np.linspace(0, 1, 216)).reshape(1, 6, 6, 6)
        return np.sort(cube, 1 + label)

    assert histogram_probe.evaluate(drawn(half))["accuracy"] == pytest.approx(0.5, abs=0.1)


def test_a_histogram_shares_out_every_value_of_a_channel():
    values = {split: np.random.default_rng(0).normal(size=(5, 3, 8, 8)) for split in ("train", "test")}
    found = histogram_probe.histograms(subject(values, {}), "test").reshape(5, 3, histogram_probe.SHADES)
    np.testing.assert_allclose(found.sum(2), 1)
