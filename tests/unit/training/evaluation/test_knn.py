import numpy as np

from training.evaluation import knn


def test_precision_is_the_share_of_neighbours_with_the_same_label():
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(30, 4)), rng.normal(size=(5, 4))
    labels, truth = rng.integers(0, 3, 30), rng.integers(0, 3, 5)
    expected = []
    for vector, label in zip(test, truth, strict=True):
        cosines = [vector @ other / np.linalg.norm(vector) / np.linalg.norm(other) for other in train]
        expected.append(np.mean([labels[i] == label for i in np.argsort(cosines)[-10:]]))
    assert np.isclose(knn.precision(train, labels, test, truth), np.mean(expected))


def test_a_data_set_of_fewer_than_ten_training_items_has_a_precision():
    vectors, labels = np.eye(4), np.array([0, 0, 1, 1])
    assert knn.precision(vectors, labels, vectors, labels) == 0.5
