"""Images and texts that find each other."""

import numpy as np
import pytest

from training.evaluation.caption_retrieval import distinct, recall

EYE = np.eye(4)


def test_equal_captions_are_one_text():
    texts, right = distinct(["sun", "moon", "sun", "ant"])
    assert texts == ["ant", "moon", "sun"]
    assert right.argmax(1).tolist() == [2, 1, 2, 0]
    assert right.sum(1).tolist() == [1, 1, 1, 1]


def test_every_image_of_a_caption_is_a_hit():
    right = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], bool)
    images, texts = EYE[[0, 1, 2, 3]], np.stack([EYE[0] + EYE[1] * 0.9, EYE[2], EYE[3]])
    assert recall(images, texts, right, 1) == 1
    assert recall(texts, images, right.T, 1) == 1


@pytest.mark.parametrize(("k", "share"), [(1, 0.5), (2, 1.0)])
def test_deeper_looks_miss_less(k: int, share: float):
    texts = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 2, 1]])
    assert recall(EYE, texts, np.eye(4, dtype=bool), k) == share
