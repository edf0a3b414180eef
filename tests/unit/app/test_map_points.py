"""What the map draws: places on one scale, colours of values, names of regions, and what a lasso holds."""

import numpy as np
import pyarrow as pa
import pytest

from app import map_points


def layout(places: np.ndarray, **columns) -> pa.Table:
    ids = [f"id-{number}" for number in range(len(places))]
    return pa.table({"id": ids, "x": places[:, 0], "y": places[:, 1], **columns})


@pytest.fixture
def islands() -> pa.Table:
    """Four islands of 200 points in the corners of a wide field, three of cats, one of dogs."""
    corners = np.repeat([[0, 0], [100, 0], [0, 20], [100, 20]], 200, axis=0)
    places = corners + np.random.default_rng(0).normal(size=corners.shape)
    kinds = np.repeat(["cat", "cat", "cat", "dog"], 200)
    return layout(places.astype(np.float32), kind=kinds, weight=np.arange(800.0), title=[f"t{n}" for n in range(800)])


def test_places_keep_their_proportions(islands):
    drawn = map_points.draw(islands, None)
    x, y = (drawn.points[name].to_numpy() for name in ("x", "y"))
    assert x.dtype == y.dtype == np.float32
    assert 0.9 < x.max() < 1
    assert -1 < x.min() < -0.9
    assert np.ptp(x) / np.ptp(y) == pytest.approx(np.ptp(islands["x"]) / np.ptp(islands["y"]), rel=1e-4)


def test_regions_are_called_by_what_is_typical_of_them(islands):
    labels = map_points.draw(islands, "kind").labels
    dog = [label for label in labels if label["text"] == "dog"]
    assert len(dog) == 1
    assert dog[0]["x"] > 0.8
    assert {label["text"] for label in labels} == {"cat", "dog"}
    assert len(labels) == 4


def test_a_field_that_differs_for_every_point_colours_nothing_but_a_number_does(islands):
    assert map_points.fields(islands) == ["kind", "weight"]


def test_a_number_is_coloured_by_its_quantiles_and_what_is_none_is_grey(islands):
    weight = np.arange(800.0)
    weight[:10] = np.nan
    drawn = map_points.draw(islands.set_column(4, "weight", pa.array(weight)), "weight")
    counts = np.bincount(drawn.points["value"].to_numpy())
    assert drawn.values[-1] == {"name": "none", "colour": map_points.GREY}
    assert counts[-1] == 10
    assert counts[:-1].max() - counts[:-1].min() <= 2
    assert len(counts) == map_points.BINS + 1


def test_the_most_frequent_values_have_colours_and_the_rest_is_one(islands):
    kinds = [f"kind {number % 40:02}" if number < 400 else "common" for number in range(800)]
    drawn = map_points.draw(islands.set_column(3, "kind", pa.array(kinds)), "kind")
    assert len(drawn.values) == map_points.MOST_VALUES + 1
    assert drawn.values[-1]["name"] == "17 others"
    common = [value["name"] for value in drawn.values].index("common")
    assert (drawn.points["value"].to_numpy() == common).sum() == 400


def test_a_lasso_holds_what_lies_inside_it(islands):
    drawn = map_points.draw(islands, "kind")
    x, y = (drawn.points[name].to_numpy() for name in ("x", "y"))
    triangle = [[0.5, -1.0], [1.0, -1.0], [1.0, 1.0]]
    expected = (x > 0.5) & (x < 1) & (y > -1) & (y < -1 + 4 * (x - 0.5))
    assert set(map_points.inside(drawn, triangle)) == set(np.flatnonzero(expected))
    assert len(map_points.inside(drawn, None)) == 0


def test_a_number_that_no_point_has_is_one_value():
    places, nothing = np.random.default_rng(0).normal(size=(30, 2)), np.full(30, np.nan)
    assert (
        map_points.draw(layout(places, weight=pa.array(nothing, from_pandas=True)), "weight").values[-1]["name"]
        == "none"
    )


def test_one_point_and_points_in_one_place_are_drawn():
    for places in (np.zeros((1, 2), np.float32), np.ones((5, 2), np.float32)):
        drawn = map_points.draw(layout(places, kind=["a"] * len(places)), "kind")
        assert np.isfinite(drawn.points["x"].to_numpy()).all()
