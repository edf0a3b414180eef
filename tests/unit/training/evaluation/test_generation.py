"""Distances between sets of features and images."""

import numpy as np
import pytest

from training.evaluation.generation import fid, kid, nearest


def normal(seed: int, count: int = 400, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, scale, (count, 4))


def test_fid_is_that_of_two_normal_distributions():
    """Means 3 apart in each of four features, deviations 1 and 2: 4 * 9 + 4 * (1 - 2)^2."""
    found = fid(normal(0, 20_000), normal(1, 20_000, shift=3.0, scale=2.0))
    assert found == pytest.approx(40, rel=0.03)
    assert fid(normal(0), normal(0)) == pytest.approx(0, abs=1e-6)


def test_kid_is_without_bias_however_few_there_are():
    """Over many small draws of one distribution its mean is nothing; of two it is not."""
    same = [kid(normal(seed, 20), normal(1000 + seed, 20)) for seed in range(300)]
    other = [kid(normal(seed, 20), normal(1000 + seed, 20, shift=1.0)) for seed in range(300)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(300)
    assert np.mean(other) > 10 * np.std(same) / np.sqrt(300)


def test_what_was_learnt_by_heart_is_at_no_distance():
    training = np.random.default_rng(0).random((20, 12))
    assert nearest(training[3:6], training) == pytest.approx(0, abs=1e-6)
    assert nearest(training[:1] + 0.01, training) == pytest.approx(0.01)
