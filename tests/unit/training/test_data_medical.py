"""Laws of the medical sets: no tissue lies in two splits, halves lie alike, a slice goes through its cube."""

from itertools import combinations

import numpy as np

from training.data.builders import medical_cubes, medical_slices
from training.data.builders.brain_regions import MIDDLE, NAMES
from training.data.builders.medical_cubes import REGIONS, SIDE, Place

HEAD = np.arange(181 * 217 * 181, dtype=np.int32).reshape(181, 217, 181)  # every voxel knows its place


def cube(head: np.ndarray, place: Place) -> np.ndarray:
    return place.half(head)[tuple(slice(at, at + SIDE) for at in place.corner)]


def test_no_voxel_is_in_two_splits():
    boxes = {region: tuple(slice(*side) for side in region.box) for region in REGIONS}
    for one, two in combinations(REGIONS, 2):
        if one.split != two.split:
            here = medical_cubes.half(HEAD, one)[boxes[one]]
            there = medical_cubes.half(HEAD, two)[boxes[two]]
            assert not np.intersect1d(here, there, assume_unique=True).size


def test_both_halves_have_the_middle_of_the_head_to_their_right():
    for region in REGIONS:
        side = medical_cubes.half(HEAD, region)
        np.testing.assert_array_equal(side[MIDDLE], HEAD[MIDDLE])
        np.testing.assert_array_equal(side[0], HEAD[0 if region.split == "train" else 180])


def test_a_cube_is_called_by_what_most_of_its_middle_is():
    regions = np.zeros(HEAD.shape, np.uint8)
    regions[:90, :, :90], regions[:90, :, 90:] = NAMES.index("temporal"), NAMES.index("parietal")
    places = [place for place in medical_cubes.places(regions) if place.region.split == "train"]
    assert {place.label for place in places} == {"temporal", "parietal"}
    for place in places:
        assert (place.label == "temporal") == (place.corner[2] + SIDE // 2 <= 90)
    regions[:] = NAMES.index("cingulate")
    assert not list(medical_cubes.places(regions))


def test_a_slice_lies_flat_through_the_middle_of_its_cube_with_the_front_up():
    for region in REGIONS[::2]:
        place = Place(region, tuple(low + 8 for low, _ in region.box), "insula")
        found = medical_slices.head_slice(place.half(HEAD), place)
        np.testing.assert_array_equal(found, cube(HEAD, place)[:, :, SIDE // 2].T[::-1])
        assert found.shape == (SIDE, SIDE)
