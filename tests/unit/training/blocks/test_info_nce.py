"""InfoNCE against its definition."""

import math

import pytest
import torch

from training.blocks.info_nce import info_nce


def test_it_is_the_cross_entropy_of_each_query_finding_its_key():
    queries, keys = torch.randn(5, 7), torch.randn(5, 7)
    expected = 0.0
    for i in range(5):
        cosines = [torch.cosine_similarity(queries[i], key, dim=0).item() / 0.3 for key in keys]
        expected += math.log(sum(math.exp(value) for value in cosines)) - cosines[i]
    assert info_nce(queries, keys, temperature=0.3).item() == pytest.approx(expected / 5, rel=1e-5)


def test_lengths_do_not_matter_and_equal_keys_tell_nothing():
    queries, keys = torch.randn(6, 4), torch.randn(6, 4)
    assert info_nce(queries * 9, keys * 0.1, temperature=0.2) == pytest.approx(
        info_nce(queries, keys, temperature=0.2).item(), rel=1e-5
    )
    assert info_nce(queries, keys[:1].expand(6, 4), temperature=0.2).item() == pytest.approx(math.log(6), rel=1e-5)
