"""Block masks: how much they hide, and that it hangs together."""

import numpy as np
import pytest

from training.blocks.block_mask import block_mask


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.3, 0.5, 1.0])
def test_the_share_is_met_exactly(ratio: float):
    for seed in range(20):
        assert block_mask(8, 6, ratio, np.random.default_rng(seed)).sum() == round(48 * ratio)


def test_hidden_patches_lie_together():
    """A hidden patch's right neighbour is hidden far more often than any patch is."""
    masks = np.stack([block_mask(8, 8, 0.4, np.random.default_rng(seed)) for seed in range(100)])
    assert masks[:, :, 1:][masks[:, :, :-1]].mean() > 0.4 + 0.2


def test_every_patch_is_hidden_at_times():
    masks = np.stack([block_mask(8, 8, 0.3, np.random.default_rng(seed)) for seed in range(200)])
    assert masks.mean(0).min() > 0.05


def test_the_same_generator_gives_the_same_mask():
    assert np.array_equal(*(block_mask(8, 8, 0.3, np.random.default_rng(5)) for _ in range(2)))
