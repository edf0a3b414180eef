"""Judging encoders of shapes: five classes from ten labels each, beside what distances and extents alone tell."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from enfold.errors import WrongUse
from enfold.modalities.points import grouped, normalized
from training.evaluation import few_way, shape_histogram


def of_vectors(spread: float, classes: int = 7) -> Any:
    """Classes of twenty training items each, so far apart that `spread` 0.1 never mixes them up."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(classes, 32))
    labels = {split: np.repeat(np.arange(classes), 20) for split in ("train", "test")}
    vectors = {split: centres[of] + rng.normal(0, spread, (len(of), 32)) for split, of in labels.items()}
    return SimpleNamespace(
        labels=labels.__getitem__,
        centred=lambda split: vectors[split] - vectors["train"].mean(0),
        run=SimpleNamespace(seed=0),
        dataset=SimpleNamespace(name="shapes"),
    )


def test_five_ways_are_told_apart_where_classes_are_and_not_where_they_are_not():
    assert few_way.evaluate(of_vectors(0.1)) == {"accuracy": 1.0, "deviation": 0.0}
    assert few_way.evaluate(of_vectors(1000.0))["accuracy"] == pytest.approx(0.2, abs=0.05)


def test_too_few_classes_are_said():
    with pytest.raises(WrongUse, match="takes 5 classes of 10 training items; 'shapes' has 4"):
        few_way.evaluate(of_vectors(0.1, classes=4))


def test_distances_and_extents_tell_a_stick_from_a_ball():
    rng = np.random.default_rng(0)
    labels = {split: np.arange(30) % 2 for split in ("train", "test")}

    def inputs(split: str) -> dict[str, np.ndarray]:
        clouds = [normalized(rng.normal(size=(64, 3)) * ((1, 1, 1), (9, 1, 1))[label]) for label in labels[split]]
        centres, patches = zip(*(grouped(cloud, 8, 8) for cloud in clouds), strict=True)
        return {"centres": np.stack(centres), "patches": np.stack(patches)}

    found = shape_histogram.evaluate(SimpleNamespace(prepared=inputs, labels=labels.__getitem__))
    assert found["accuracy"] > 0.9
    assert found["most_frequent"] == 0.5
