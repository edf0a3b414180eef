"""Images and texts that find each other."""

import numpy as np

from training.evaluation.caption_retrieval import distinct, recall, recall_back

EYE = np.eye(4)


def test_equal_captions_are_one_text():
    texts, own = distinct(["sun", "moon", "sun", "ant"])
    assert texts == ["ant", "moon", "sun"]
    assert own.tolist() == [2, 1, 2, 0]


def test_every_image_of_a_caption_is_a_hit():
    own = np.array([0, 0, 1, 2])
    images, texts = EYE[[0, 1, 2, 3]], np.stack([EYE[0] + EYE[1] * 0.9, EYE[2], EYE[3]])
    assert recall(images, texts, own) == 1
    assert recall_back(images, texts, own) == 1


def test_misses_are_counted():
    own = np.array([0, 1, 2, 3])
    images, texts = EYE, EYE[[0, 1, 3, 2]]
    assert recall(images, texts, own) == 0.5
    assert recall_back(images, texts, own) == 0.5
