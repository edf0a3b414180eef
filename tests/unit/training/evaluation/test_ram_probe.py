"""Probes for a game's memory, on embeddings that know it and on others that do not; and who tells an order."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from enfold.modalities.video import Video
from training.evaluation import Subject, frame_order, ram_probe

RNG = np.random.default_rng(0)


class Given(Subject):
    """Embeddings hold the first variable of game "a" in a direction, and nothing of the others."""

    classes = ("a", "b")

    def __init__(self, count: int = 300):
        self._records, self._features = {}, {}
        for split in ram_probe.SPLITS:
            rows = []
            for i in range(count):
                ball, score = int(RNG.integers(0, 200)), int(RNG.integers(0, 3))
                told = {"ram_ball": ball, "ram_score": score, "other": 1}
                told |= {"motion_ball": ball // 67 - 1} if i % 3 else {}
                rows.append(SimpleNamespace(label="ab"[i % 2], payload=told if i % 2 == 0 else {"ram_score": score}))
            self._records[split] = rows
            hidden = np.array([row.payload.get("ram_ball", 0) for row in rows])[:, None] / 200
            waves = np.cos(np.pi * hidden * np.arange(1, 9))  # so that a linear probe can cut at eight places
            self._features[split] = np.hstack([waves, RNG.normal(size=(count, 8))]).astype(np.float32)

    def data(self, split: str) -> Any:
        return SimpleNamespace(records=self._records[split])

    def features(self, split: str) -> np.ndarray:
        return self._features[split]


def test_what_embeddings_hold_is_found_and_what_they_do_not_is_chance():
    found = ram_probe.evaluate(Given())
    assert found["a_ram_ball"] > 0.8
    assert found["a_motion_ball"] > 0.8
    assert found["a_ram_score"] < 0.5
    assert found["b_ram_score"] < 0.5
    assert set(found) == {"f1", "ram_f1", "motion_f1", "a_ram_ball", "a_ram_score", "a_motion_ball", "b_ram_score"}


def test_the_means_are_over_variables_each_counting_alike():
    found = ram_probe.evaluate(Given())
    bytes_ = [found[name] for name in ("a_ram_ball", "a_ram_score", "b_ram_score")]
    assert found["ram_f1"] == pytest.approx(np.mean(bytes_))
    assert found["f1"] == pytest.approx(np.mean([*bytes_, found["a_motion_ball"]]))


def test_items_of_which_memory_says_nothing_are_left_out():
    features, values = ram_probe.known(Given(), "test", "a", "motion_ball")
    assert len(features) == len(values) == 100
    assert set(values) <= {-1, 0, 1}


def test_many_values_are_cut_into_eight_and_few_stay_apart():
    assert ram_probe.cuts(np.array([3, 1, 1, 7])).tolist() == [2.5, 6.5]
    many = RNG.integers(0, 200, 4000)
    counts = np.bincount(np.searchsorted(ram_probe.cuts(many), many))
    assert len(counts) == 8
    assert counts.min() > 400


def test_a_value_that_hardly_an_item_has_is_left_out_of_every_split():
    values = {"train": np.repeat([0, 1, 2], [60, 39, 1]), "val": np.array([0, 1, 2]), "test": np.array([2, 1, 1])}
    data = ram_probe.common({split: (own[:, None].astype(float), own) for split, own in values.items()})
    assert {split: (len(features), set(own)) for split, (features, own) in data.items()} == {
        "train": (99, {0, 1}),
        "val": (2, {0, 1}),
        "test": (2, {1}),
    }


class Ordered(Subject):
    """A method whose embedding is a frame's mean, and a head that takes the one before to be the darker."""

    classes = ("rising", "falling")

    def __init__(self, slope: float):
        frames = np.arange(9)[:, None, None, None] * np.ones((1, 8, 8, 3)) * 20
        videos = [Video(None).read(one.astype(np.uint8)) for one in (frames, frames[::-1])]
        encoder = torch.nn.Module()
        encoder.register_parameter("unused", torch.nn.Parameter(torch.zeros(1)))
        encoder.forward = lambda inputs: SimpleNamespace(embedding=inputs["video"].flatten(1).mean(1, keepdim=True))
        self.method = SimpleNamespace(  # type: ignore[misc]
            encoder=encoder,
            observations=lambda value, rng: [np.stack(list(value.pick(range(a, a + 3)))) for a in (0, 3, 6)],
            weak=lambda clip, rng: clip,
            task_head=lambda three: slope * (three[:, 1, 0] - three[:, 2, 0]),
        )
        self.run = SimpleNamespace(seed=0, modality=None)  # type: ignore[assignment]
        self._videos = videos

    def data(self, split: str) -> Any:
        labels = np.array([0, 1])
        return type(
            "Data",
            (),
            {
                "__len__": lambda data: 2,
                "read": lambda data, i, modality: self._videos[i],
                "labels": lambda data: labels,
            },
        )()


def test_a_head_that_knows_the_order_is_told_from_one_that_does_not():
    assert frame_order.evaluate(Ordered(1.0)) == {"accuracy": 0.5, "rising": 1.0, "falling": 0.0}
    assert frame_order.evaluate(Ordered(-1.0)) == {"accuracy": 0.5, "rising": 0.0, "falling": 1.0}


def test_a_head_that_says_nothing_is_at_chance():
    assert frame_order.evaluate(Ordered(0.0))["accuracy"] == 0.5
