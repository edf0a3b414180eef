"""A claim's verdict follows from its figures alone."""

import numpy as np
import pytest
from scipy import stats

from training import recipe
from training.claims import interval, verdict

CLAIM = recipe.load("gmml").claim


def runs(gaps):
    def arm(values):
        return {seed: {"value": value, "test_items": 100, "seconds": 1.5} for seed, value in enumerate(values)}

    return {CLAIM.arm: arm([0.5 + gap for gap in gaps]), CLAIM.baseline: arm([0.5] * len(gaps))}


@pytest.mark.parametrize(
    ("gaps", "word"),
    [
        ([0.10, 0.11, 0.12], "holds"),
        ([-0.01, 0.0, 0.01], "fails"),
        ([0.0, 0.03, 0.06], "undecided"),
        ([0.04, 0.20, 0.01], "undecided"),
    ],
)
def test_the_whole_interval_decides(gaps, word):
    assert verdict(CLAIM, runs(gaps))["verdict"] == word


def test_the_interval_is_that_of_a_one_sample_t_test():
    gaps = [0.01, 0.05, 0.02, 0.04]
    expected = stats.ttest_1samp(gaps, 0).confidence_interval(0.90)
    np.testing.assert_allclose(interval(gaps), [expected.low, expected.high])
