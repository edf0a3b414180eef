"""When two sets of vectors share a space."""

import numpy as np
import pytest

from enfold.errors import SpaceMismatch
from enfold.space import same_space, space_id

WEIGHTS = {"a": np.ones((2, 3), np.float32), "b": np.zeros(4, np.float32)}
FACTS = {"preprocess": {"size": 32}, "pooling": "mean", "normalize": True, "dimensions": 3}


def test_the_order_of_weights_does_not_matter():
    assert space_id(WEIGHTS, **FACTS) == space_id(dict(reversed(WEIGHTS.items())), **FACTS)


def test_one_changed_weight_is_another_space():
    changed = WEIGHTS | {"a": WEIGHTS["a"] + np.float32([[0, 0, 1e-7 * 2], [0, 0, 0]])}
    assert space_id(changed, **FACTS) != space_id(WEIGHTS, **FACTS)


@pytest.mark.parametrize(
    "change", [{"preprocess": {"size": 64}}, {"pooling": "cls"}, {"normalize": False}, {"dimensions": 2}]
)
def test_whatever_changes_a_vector_changes_the_space(change):
    assert space_id(WEIGHTS, **FACTS | change) != space_id(WEIGHTS, **FACTS)


def test_vectors_of_two_spaces_never_meet():
    with pytest.raises(SpaceMismatch, match="sp_b"):
        same_space("sp_b", "sp_a", what="the query", where="collection 'photos'")
