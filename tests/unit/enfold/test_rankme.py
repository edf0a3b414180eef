"""RankMe: known answers, and another way to them."""

import numpy as np
import pytest
from scipy.stats import entropy

from enfold.rankme import rankme

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_it_counts_equal_directions(rank: int):
    basis, _ = np.linalg.qr(RNG.normal(size=(100, rank)))
    turn, _ = np.linalg.qr(RNG.normal(size=(16, rank)))
    assert rankme(basis @ turn.T) == pytest.approx(rank, rel=1e-4)


def test_it_is_the_perplexity_of_the_roots_of_the_gram_matrix():
    """Neither a singular value decomposition nor our entropy."""
    embeddings = RNG.normal(size=(60, 12)) * np.linspace(0.05, 3, 12)
    roots = np.sqrt(np.linalg.eigvalsh(embeddings.T @ embeddings))
    assert rankme(embeddings) == pytest.approx(np.exp(entropy(roots)), rel=1e-4)


def test_nothing_has_no_rank():
    assert rankme(np.zeros((4, 4))) == 0
