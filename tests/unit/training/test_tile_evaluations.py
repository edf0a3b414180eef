"""Few-shot prototypes, retrieval and balanced votes, on cases with a known answer."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from enfold import settings
from enfold.model import unit
from tests.unit.training.test_stages import pictures, run_of
from training.artefacts import few_labels, needed_encoder
from training.data.dataset import Record
from training.evaluation import Subject, knn, linear_probe, retrieval, simpleshot
from training.heads import load_head
from training.heads.classifier import logits_of
from training.heads.prototypes import Prototypes
from training.recipe import Adapt
from training.run import Run

RNG = np.random.default_rng(0)


class Given(Subject):
    """A subject whose embeddings, colours and labels are given."""

    has_raw_values = True

    def __init__(self, features: dict[str, np.ndarray], labels: dict[str, np.ndarray], records: Any = ()):
        self._features, self._given = features, labels
        self.run = SimpleNamespace(seed=0)  # type: ignore[assignment]
        self._records = records

    def labels(self, split: str) -> np.ndarray:
        return self._given[split]

    def features(self, split: str) -> np.ndarray:
        return self._features[split]

    def means(self, split: str) -> np.ndarray:
        return np.random.default_rng(9).normal(size=(len(self._given[split]), 3))  # colour tells nothing

    pixels = means

    def data(self, split: str) -> Any:
        return SimpleNamespace(records=self._records or [SimpleNamespace(payload={})] * len(self._given[split]))


def clouds(offset: float = 0.0) -> Given:
    """Three classes of unequal size, each a cloud of its own, far from the origin by `offset`."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 8))
    labels = {"train": np.repeat([0, 1, 2], [60, 30, 20]), "val": np.arange(30) % 3, "test": np.arange(60) % 3}
    features = {
        split: (centres[own] + rng.normal(size=(len(own), 8)) * 0.5 + offset).astype(np.float32)
        for split, own in labels.items()
    }
    return Given(features, labels)


def test_prototypes_find_clouds_and_more_shots_find_them_better():
    figures = simpleshot.evaluate(clouds())
    assert figures["1_shot"] < figures["4_shot"] < figures["16_shot"]
    assert figures["16_shot"] > 0.9
    assert figures["colour_16_shot"] == pytest.approx(1 / 3, abs=0.1)


@pytest.mark.parametrize(
    ("evaluation", "figure"), [(simpleshot, "1_shot"), (knn, "balanced_accuracy"), (retrieval, "at_1")]
)
def test_what_all_vectors_share_does_not_count(evaluation: Any, figure: str):
    plain, moved = (evaluation.evaluate(clouds(offset))[figure] for offset in (0.0, 50.0))
    assert moved == pytest.approx(plain, abs=0.01)


def test_the_test_side_is_centred_with_the_mean_of_training():
    subject = clouds()
    np.testing.assert_allclose(
        subject.centred("test"), subject.features("test") - subject.features("train").mean(0), rtol=1e-6
    )


def test_a_vote_for_the_largest_class_is_chance_when_balanced():
    subject = clouds()
    subject._features = {split: np.ones((len(own), 8)) for split, own in subject._given.items()}
    figures = knn.evaluate(subject)
    assert figures["balanced_accuracy"] == pytest.approx(1 / 3)


def test_the_linear_probe_is_balanced_too():
    subject = clouds()
    figures = linear_probe.evaluate(subject)
    probe, _ = linear_probe.best_probe(subject)
    expected = balanced_accuracy_score(subject.labels("test"), probe.predict(subject.features("test")))
    assert figures["balanced_accuracy"] == pytest.approx(expected)


def test_retrieval_counts_hits_at_each_depth_and_the_majority_of_five():
    found = np.array([[0, 1, 1, 1, 2], [1, 0, 2, 2, 1], [2, 2, 2, 2, 2]])
    figures = retrieval.by_class(found, np.array([1, 2, 0]))
    assert figures == pytest.approx({"at_1": 0.0, "at_3": 2 / 3, "at_5": 2 / 3, "majority_at_5": 1 / 3})
    tie = retrieval.by_class(np.array([[1, 2, 2, 1, 0]]), np.array([1]))
    assert tie["majority_at_5"] == 1.0  # the nearer of two names


def tiles(*corners: tuple[str, int, int]) -> Any:
    payloads = [{"slide": slide, "x": x, "y": y, "side": 64} for slide, x, y in corners]
    return SimpleNamespace(records=[Record("", None, None, None, "", "test", payload) for payload in payloads])


def test_neighbours_are_nearby_within_two_tiles_of_the_same_slide_and_never_share_pixels():
    """Counted by hand, tile by tile: of those that show none of its pixels the five nearest."""
    where = [(slide, 32 * int(x), 32 * int(y)) for slide in "ab" for x, y in RNG.integers(0, 9, (20, 2))]
    scores, shares = RNG.normal(size=(40, 40)), []
    for own, (slide, x, y) in enumerate(where):
        apart = [max(abs(x - a), abs(y - b)) if other == slide else 999 for other, a, b in where]
        allowed = [i for i in np.argsort(-scores[own]) if apart[i] >= 64]
        shares.append(np.mean([apart[i] <= 128 for i in allowed[:5]]))
    assert retrieval.by_place(scores, retrieval.places(tiles(*where)))["nearby"] == pytest.approx(np.mean(shares))


def test_a_perfect_map_of_the_slide_finds_its_neighbours():
    data = tiles(*(("a", 64 * i, 0) for i in range(30)))
    x = np.arange(30.0)
    near = retrieval.by_place(-np.abs(x[:, None] - x), retrieval.places(data))
    shuffled = retrieval.by_place(RNG.normal(size=(30, 30)), retrieval.places(data))
    assert near["nearby"] == pytest.approx(
        (26 * 4 + 2 * 3 + 2 * 2) / (30 * 5)
    )  # of five, two on either side, fewer at the ends
    assert abs(shuffled["nearby"] - shuffled["nearby_chance"]) < 0.1


def test_the_mean_of_each_channel_is_what_colour_tells(tmp_path: Path):
    run = run_of(pictures(tmp_path / "two", ["one", "two"]))
    subject = Subject(None, run, run.dataset)
    raw = {split: subject.prepared(split)["image"].mean((2, 3)) for split in ("train", "test")}
    np.testing.assert_allclose(subject.means("test"), raw["test"] - raw["train"].mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("labels", [None, 0.5])
def test_the_stage_writes_class_means_of_the_labels_it_may_see(tmp_path: Path, labels: float | None):
    folder = pictures(tmp_path / "two", ["one", "two"])
    resolved = run_of(folder).recipe
    stage = Adapt(name="protos", verb="adapt", adaptation="prototypes", labels=labels)
    run = Run(resolved.model_copy(update={"stage": (stage,)}), settings.load())
    figures = run.carry_out()["stages"]["protos"]["figures"]
    subject = Subject(needed_encoder(stage, run), run, run.dataset)
    saved = load_head(run.folder("protos"), subject.encoder)
    head, names = saved.head, saved.spec["labels"]
    seen = few_labels(subject.data("train"), labels, run.seed)
    where = [r.id for r in subject.data("train").records]
    rows = [where.index(record.id) for record in seen.records]
    directions = unit(subject.centred("train"))[rows]
    assert isinstance(head, Prototypes)
    assert (names, figures["labels"]) == (["one", "two"], len(rows))
    for label in (0, 1):
        np.testing.assert_allclose(
            head.prototypes[label].numpy(), directions[seen.labels() == label].mean(0), rtol=1e-3, atol=1e-5
        )
    assert logits_of(head, subject.features("test")).shape == (len(subject.labels("test")), 2)
