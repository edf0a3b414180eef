"""Sinkhorn-Knopp: every row an assignment, every prototype used."""

import pytest
import torch

from training.blocks.sinkhorn import sinkhorn

SCORES = torch.rand(64, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_rows_sum_to_one_and_columns_to_their_share():
    shares = sinkhorn(SCORES, epsilon=0.1, iterations=50)
    torch.testing.assert_close(shares.sum(1), torch.ones(64))
    torch.testing.assert_close(shares.sum(0), torch.full((8,), 8.0), rtol=1e-2, atol=0)


def test_a_prototype_that_everyone_prefers_gets_no_more_than_the_others():
    preferred = SCORES.clone()
    preferred[:, 0] += 1.0
    assert (preferred / 0.1).softmax(1).sum(0)[0] > 30
    assert sinkhorn(preferred, epsilon=0.1, iterations=50).sum(0)[0] == pytest.approx(8, rel=0.01)


def test_the_order_of_scores_in_a_column_is_kept_and_no_gradient_passes():
    shares = sinkhorn(SCORES.clone().requires_grad_(), epsilon=0.05)
    assert not shares.requires_grad
    row = torch.tensor([[0.9, -0.9], [-0.9, 0.9]])
    assert (sinkhorn(row).argmax(1) == row.argmax(1)).all()
