"""Clouds: whatever their order, unit and file, the encoder sees the same; what has no shape is refused."""

import io

import numpy as np
import pytest
import trimesh

from enfold.errors import BadItem, TooLarge
from enfold.modalities.points import SURFACE_POINTS, Points, PointsLimits, PointsPreprocess, farthest, grouped, subset
from tests.examples import examples

RNG = np.random.default_rng(0)
CLOUD = RNG.normal(size=(400, 3)) * (3, 2, 1)
MODALITY = Points(PointsPreprocess(points=128, patches=16, neighbours=8))


def test_every_file_of_one_cloud_gives_its_points():
    files = examples("points").files
    clouds = {kind: MODALITY.read(files[kind]) for kind in (".ply", ".xyz", ".npy", ".las", ".laz")}
    for cloud in clouds.values():
        np.testing.assert_allclose(cloud, clouds[".npy"], atol=0.006)  # LAS keeps centimetres here


def test_a_surface_is_sampled_evenly_and_the_same_every_time():
    box = trimesh.creation.box((4, 2, 1))
    file = box.export(file_type="ply")
    one, two = MODALITY.read(file), MODALITY.read(file)
    np.testing.assert_array_equal(one, two)
    assert len(one) == SURFACE_POINTS
    top = np.isclose(one[:, 2], 0.5).mean()
    assert top == pytest.approx(8 / 28, abs=0.02)  # its share of the area


def test_neither_order_nor_unit_nor_place_changes_what_the_encoder_sees():
    [seen] = MODALITY.prepare(MODALITY.read(CLOUD))
    for other in (CLOUD[RNG.permutation(len(CLOUD))], CLOUD * 1000, CLOUD + np.array((5e5, 5e6, 100))):
        [again] = MODALITY.prepare(MODALITY.read(other))
        for name, values in seen.arrays.items():
            np.testing.assert_allclose(again.arrays[name], values, atol=2e-6)


def test_centres_lie_far_apart_and_patches_are_the_nearest_points():
    cloud = subset(CLOUD, 128)
    centres, patches = grouped(cloud, 16, 8)
    chosen = farthest(cloud, 16)
    assert len(set(chosen)) == 16
    apart = np.linalg.norm(cloud[chosen][:, None] - cloud[chosen], axis=2) + np.eye(16) * 99
    anywhere = np.linalg.norm(cloud[:16, None] - cloud[:16], axis=2) + np.eye(16) * 99
    assert apart.min() > 3 * anywhere.min()
    distance = np.linalg.norm(cloud - cloud[chosen[3]], axis=1)
    np.testing.assert_allclose(np.linalg.norm(patches[3], axis=1), np.sort(distance)[:8], rtol=1e-5)
    np.testing.assert_allclose(patches[:, 0], 0, atol=1e-7)  # a centre is its own nearest
    assert centres.dtype == patches.dtype == np.float32


def test_few_points_are_repeated():
    [seen] = MODALITY.prepare(MODALITY.read(CLOUD[:10]))
    assert np.isfinite(seen.arrays["patches"]).all()
    assert len(np.unique(seen.arrays["centres"], axis=0)) == 10


def test_windows_of_a_large_scan_are_parts_with_their_place():
    scan = np.concatenate([CLOUD * 0.1, CLOUD * 0.1 + (50, 0, 0), CLOUD[:3] * 0.01 + (0, 50, 0)])
    modality = Points(PointsPreprocess(points=64, patches=8, neighbours=8, window=10.0))
    samples = modality.prepare(modality.read(scan), parts=True)
    assert [sample.part.index for sample in samples] == [0, 1]  # three points alone are no shape
    for sample, x in zip(samples, (0, 50), strict=True):
        left, _, right, _ = sample.part.box
        assert left <= x <= right + 1
    many = Points(modality.preprocess, PointsLimits(max_parts=1))
    with pytest.raises(TooLarge, match="into 2 pieces of 8 points or more; 1 to 1"):
        many.prepare(many.read(scan), parts=True)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"ply\nformat ascii 1.0\nelement vertex 6000000\n", "announces 6,000,000 of 'vertex'; at most 5,000,000"),
        (b"ply\nformat ascii 1.0\nelement vertex 9\nproperty float x\nend_header\n1\n", r"\.ply file is damaged"),
        (b"LASF" + b"\0" * 400, r"\.las file is damaged"),
        (b"v 1 2\nv 3 4\nf 1 2 3\n", r"\.obj"),
        (b"1 2 3\n4 5\n" * 9, "no PLY, OBJ"),
        (b"1 2 3\n" * 3, "has 3 points; a shape needs 8"),
    ],
)
def test_what_is_no_cloud_is_said(data, sentence):
    with pytest.raises(BadItem, match=sentence):
        MODALITY.read(data)


def test_limits_hold_before_points_are_read():
    limited = Points(MODALITY.preprocess, PointsLimits(max_points=100))
    for kind in (".ply", ".xyz", ".npy", ".las", ".laz"):
        with pytest.raises(TooLarge, match="at most 100"):
            limited.read(examples("points").files[kind])
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 3)})
    with pytest.raises(BadItem, match=r"1,?0+"):
        MODALITY.read(file.getvalue())
