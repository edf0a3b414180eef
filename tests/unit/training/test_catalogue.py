"""The catalogue lists 96 methods and says of each what is true."""

import numpy as np
import pytest
from PIL import Image

from enfold import catalogue as enfold_catalogue
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


def test_methods_for_a_folder_of_pictures_come_best_measured_first(tmp_path, home):
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    told = catalogue.recommend(str(tmp_path))
    working = {row["slug"]: row["claim"] for row in catalogue.entries() if row["state"] == "working"}
    assert {row["method"] for row in told} >= {"gmml", "simclrv2", "uni_dinov2"}
    assert {row["method"] for row in told} <= set(working)
    verdicts = [row["claim"] for row in told]
    best_first = ["holds", "undecided", "fails", "not reproduced"]
    assert verdicts == sorted(verdicts, key=best_first.index)
    assert told[0]["command"] == f"enfold run {told[0]['method']} --set data.source={tmp_path}"
    assert all(row["claim"] == (working[row["method"]] or {"verdict": "not reproduced"})["verdict"] for row in told)


def test_what_no_method_takes_is_told_with_what_some_take(tmp_path, home):
    with pytest.raises(UnknownName, match="kind of item with a working method 'smell'"):
        enfold_catalogue.recommended("smell", enfold_catalogue.methods())


def test_the_written_catalogue_is_the_same(home):
    written = enfold_catalogue.methods()
    assert [one.slug for one in written] == [row["slug"] for row in catalogue.entries()]
    claimed = {one.slug: one.claim.verdict for one in written if one.claim}
    assert claimed == {row["slug"]: row["claim"]["verdict"] for row in catalogue.entries() if row["claim"]}
