"""The catalogue lists 96 methods and says of each what is true."""

import pytest

from enfold.errors import UnknownName
from training import catalogue, recipe


def test_it_lists_96_distinct_methods():
    rows = catalogue.entries()
    assert len({row["slug"] for row in rows}) == 96
    assert sorted(row["seed"] for row in rows) == list(range(1, 97))


def test_working_are_those_with_a_recipe():
    working = {row["slug"] for row in catalogue.entries() if row["state"] == "working"}
    assert working == set(recipe.names())


def test_an_unknown_method_gets_the_nearest_name():
    with pytest.raises(UnknownName, match="Did you mean 'gmml'"):
        catalogue.methods("gmm1")
