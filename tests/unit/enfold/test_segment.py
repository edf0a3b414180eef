"""Sliding windows: a purely local net gives by windows what it gives to the whole, on the grid the item came in."""

import numpy as np
import pytest

from enfold.modalities.volume import Volume, VolumePreprocess, Voxels
from enfold.tasks import Prepared
from enfold.tasks.segment import Segment, SegmentSpec, label_map, window_weight

RNG = np.random.default_rng(0)
LABELS = ("background", "dark", "bright")
AFFINE = np.array([[1.5, 0, 0, -20], [0, 2.0, 0, 7], [0, 0, 1.0, 3], [0, 0, 0, 1]])


@pytest.fixture
def task(tmp_path):
    return Segment(SegmentSpec(labels=LABELS, graph="segment"), tmp_path)


def local(graph, inputs):
    """A 1 x 1 x 1 net: logits depend on a voxel's own value."""
    value = inputs["volume"][:, 0]
    return {"out_segment": np.stack([0 * value, -value - 0.5, value - 0.5], 1)}


def prepared(scan: Voxels, spacing: float = 1.0, patch: int = 8) -> Prepared:
    return Prepared([Volume(VolumePreprocess(spacing=spacing, patch=patch)).prepare(scan, parts=True)], {})


def answered(task: Segment, scan: Voxels, graphs=local, **chosen):
    [answer] = task.run(graphs, prepared(scan, **chosen), task.Options())
    return answer


def test_windows_of_a_local_net_give_what_the_whole_gives(task):
    scan = Voxels(RNG.normal(50, 10, (19, 23, 17)).astype(np.float32), np.eye(4))
    found = label_map(answered(task, scan))
    value = (scan.values - scan.values.mean()) / scan.values.std()
    np.testing.assert_array_equal(found, np.select([value < -0.5, value > 0.5], [1, 2], 0))


def test_the_answer_lies_on_the_grid_that_the_volume_came_in(task):
    import gzip

    import nibabel

    scan = Voxels(np.zeros((12, 9, 20), np.float32) + 40, AFFINE)
    scan.values[:6] = 90
    answer = answered(task, scan)
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(answer.volume))
    assert image.shape == scan.values.shape
    np.testing.assert_allclose(image.affine, AFFINE)
    found = label_map(answer)
    assert (found[:5] == 2).all()
    assert (found[7:] == 1).all()
    assert {one.label: one.millilitres for one in answer.amounts}["bright"] == pytest.approx(
        (found == 2).sum() * 1.5 * 2.0 / 1000
    )


def test_filling_of_a_small_volume_is_taken_away_again(task):
    scan = Voxels(RNG.normal(50, 10, (3, 4, 5)).astype(np.float32), np.eye(4))
    assert label_map(answered(task, scan)).shape == (3, 4, 5)


def test_mirrored_views_of_a_mirror_blind_net_change_nothing(task):
    scan = Voxels(RNG.normal(50, 10, (12, 12, 12)).astype(np.float32), np.eye(4))
    [plain] = task.run(local, prepared(scan), task.Options())
    [mirrored] = task.run(local, prepared(scan), task.Options(mirror=True))
    np.testing.assert_array_equal(label_map(plain), label_map(mirrored))


def test_the_middle_of_a_window_counts_most_and_its_corner_still_does():
    weight = window_weight(8)
    assert weight.max() == weight[3, 4, 3] == 1
    assert 0 < weight[0, 0, 0] < 0.01
    np.testing.assert_allclose(weight, weight[::-1].transpose(2, 1, 0))


def test_dice_counts_over_all_items_together(task):
    scan = Voxels(RNG.normal(50, 10, (10, 10, 10)).astype(np.float32), np.eye(4))
    answer = answered(task, scan)
    right = Voxels(label_map(answer).astype(np.float32), np.eye(4))
    assert task.measure([answer], [right])["dice"] == 1
    wrong = Voxels(np.where(right.values == 1, 2, right.values), np.eye(4))
    figures = task.measure([answer, answer], [right, wrong])
    ones, twos = (right.values == 1).sum(), (right.values == 2).sum()
    assert figures["dice_dark"] == pytest.approx(2 * ones / (3 * ones))
    assert figures["dice_bright"] == pytest.approx(4 * twos / (4 * twos + ones))


def test_an_answer_travels_as_json(task):
    answer = answered(task, Voxels(RNG.normal(50, 10, (9, 9, 9)).astype(np.float32), np.eye(4)))
    again = task.Answer.model_validate_json(answer.model_dump_json())
    np.testing.assert_array_equal(label_map(again), label_map(answer))
