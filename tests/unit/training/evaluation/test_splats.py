"""Judging encoders of splats: what colours and spreads tell without one, and what a copy of the nearest patch does."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from enfold.modalities.splats import COLUMNS, Splats, SplatsPreprocess, normalized
from tests.examples import splats
from training.encoders import build
from training.evaluation import completion, splat_statistics
from training.methods.gaussian_mae import GaussianMAE

PREPROCESS = SplatsPreprocess(splats=64, patches=10, neighbours=5)
MODALITY = Splats(PREPROCESS)


def of_items(change: Any) -> Any:
    """Forty training and twenty test items of two labels; `change` makes the second label from the first."""
    labels = {split: np.arange(count) % 2 for split, count in (("train", 40), ("test", 20))}
    items = {
        split: [
            change(splats(60, seed)) if label else splats(60, seed)
            for seed, label in enumerate(of, 100 * (split == "test"))
        ]
        for split, of in labels.items()
    }

    class Data:
        def __init__(self, split: str):
            self.items = items[split]

        def __len__(self) -> int:
            return len(self.items)

        def read(self, i: int, modality: Splats) -> np.ndarray:
            return modality.read(self.items[i])

    return SimpleNamespace(labels=labels.__getitem__, data=Data, modality=MODALITY)


def reddened(rows: np.ndarray) -> np.ndarray:
    rows[:, COLUMNS["sh"]] = (1.5, -1.5, -1.5)
    return rows


def stretched(rows: np.ndarray) -> np.ndarray:
    rows[:, 0] *= 6
    return rows


def test_colours_tell_red_from_mixed_and_nothing_of_shapes(monkeypatch):
    monkeypatch.setattr(splat_statistics, "TREES", 20)
    assert splat_statistics.evaluate(of_items(reddened))["colour_knn_accuracy"] == 1
    found = splat_statistics.evaluate(of_items(stretched))
    assert found["colour_knn_accuracy"] < 0.9
    assert found["forest_accuracy"] > 0.9


def test_a_histogram_is_of_shares_weighted_by_opacity():
    rows = splats(60)
    clear = reddened(splats(60, seed=1))
    clear[:, COLUMNS["opacity"]] = 0
    columns, _ = normalized(rows)
    together, _ = normalized(np.concatenate([rows, clear]))
    for one in (columns, together):
        assert splat_statistics.histogram(one).sum() == pytest.approx(1)
    np.testing.assert_allclose(splat_statistics.histogram(together), splat_statistics.histogram(columns), atol=1e-12)


def test_a_copy_is_exact_where_every_patch_is_the_same():
    torch.manual_seed(0)
    small = {"dim": 16, "depth": 1, "heads": 2, "point_widths": [8, 8], "patch_width": 16, "neighbours": 4}
    encoder = build("splat_transformer", small, 14)
    method = GaussianMAE.build(encoder, {"decoder_depth": 1, "decoder_heads": 2}, PREPROCESS).eval()
    inputs = MODALITY.collate(MODALITY.prepare(splats(80)) * 3)
    same = {**inputs, "patches": np.broadcast_to(inputs["patches"][:, :1], inputs["patches"].shape).copy()}
    for prepared, exact in ((inputs, False), (same, True)):
        subject = SimpleNamespace(
            method=method, prepared=lambda split, prepared=prepared: prepared, run=SimpleNamespace(seed=0)
        )
        found = completion.evaluate(subject)
        assert set(found) == {f"{side}{name}" for side in ("", "copied_") for name in COLUMNS}
        assert all((found[f"copied_{name}"] < 1e-9) == exact for name in COLUMNS)
        assert all(found[name] > 1e-3 for name in COLUMNS)
