"""Class means: leave-one-out is what leaving one out gives, and the mean of few is found again."""

import numpy as np
import pytest

from enfold.errors import WrongUse
from enfold.tasks import Prepared
from enfold.tasks.nearest import Nearest, NearestOptions, NearestSpec, directions, fit

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(3, 16))
LABELS = [("bird", "cat", "dog")[i % 3] for i in range(30)]
POINTS = np.stack([CENTRES[i % 3] + RNG.normal(size=16) * 0.7 for i in range(30)]).astype(np.float32)


def task(tmp_path, size: str | None = None) -> Nearest:
    means, labels, temperature, _ = fit(POINTS, LABELS)
    np.savez(tmp_path / "nearest.npz", **means)
    spec = NearestSpec(labels=labels, prototypes="nearest.npz", temperature=temperature, size=size)
    return Nearest(spec, tmp_path)


def test_leave_one_out_accuracy_is_what_leaving_each_out_gives():
    _, names, _, accuracy = fit(POINTS, LABELS)
    mean = (POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)).mean(0)
    seen = directions(POINTS, mean)
    right = []
    for out, label in enumerate(LABELS):
        rest = [i for i in range(len(LABELS)) if i != out]
        means = np.stack([seen[[i for i in rest if LABELS[i] == name]].mean(0) for name in names])
        cosine = means @ seen[out] / np.linalg.norm(means, axis=1)
        right.append(names[int(cosine.argmax())] == label)
    assert accuracy == pytest.approx(np.mean(right))
    assert 0.5 < accuracy <= 1


def test_items_near_a_class_get_its_label_whatever_their_length(tmp_path):
    found = task(tmp_path).run(lambda graph, inputs: {}, prepared(CENTRES * 7), NearestOptions(top=2))
    assert [answer.label for answer in found] == ["bird", "cat", "dog"]
    assert all(len(answer.top) == 2 and answer.probability > 0.5 for answer in found)


def test_shuffled_labels_are_not_believed():
    shuffled = list(np.random.default_rng(1).permutation(LABELS))
    _, _, sure, _ = fit(POINTS, LABELS)
    _, _, unsure, accuracy = fit(POINTS, shuffled)
    assert accuracy < 0.6
    assert unsure > sure


def test_vectors_of_another_size_are_refused(tmp_path):
    with pytest.raises(WrongUse, match="made from vectors of size 'small'"):
        task(tmp_path, "small").run(lambda graph, inputs: {}, prepared(CENTRES), NearestOptions())


def prepared(embedding: np.ndarray) -> Prepared:
    return Prepared([[] for _ in embedding], {"out_embedding": embedding.astype(np.float32)})
