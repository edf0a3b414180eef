"""Scans: read, turned and placed as the file says; what makes no sense is refused; windows cover the whole."""

import gzip
import struct

import nibabel
import numpy as np
import pytest

from enfold.errors import BadItem, TooLarge
from enfold.modalities.volume import Volume, VolumeLimits, VolumePreprocess, Voxels, rescaled, window_starts

RNG = np.random.default_rng(0)
VALUES = RNG.normal(100, 10, (12, 14, 10)).astype(np.float32)
MODALITY = Volume(VolumePreprocess(spacing=2.0, patch=8))


def nifti(values: np.ndarray = VALUES, spacing: tuple[float, float, float] = (1, 1, 2)) -> bytes:
    return nibabel.Nifti1Image(values, np.diag([*spacing, 1])).to_bytes()


def patched(data: bytes, at: int, content: bytes) -> bytes:
    return data[:at] + content + data[at + len(content) :]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_is_read_with_its_place_and_turned_to_ras(pack):
    leftwards = nibabel.Nifti1Image(VALUES[::-1], np.array([[-1, 0, 0, 11], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]))
    read = MODALITY.read(pack(leftwards.to_bytes()))
    np.testing.assert_array_equal(read.values, VALUES)
    np.testing.assert_array_equal(read.affine, np.diag([1, 1, 2, 1]))
    assert read.spacing.tolist() == [1, 1, 2]


def test_a_bare_array_has_voxels_of_a_millimetre(tmp_path):
    np.save(tmp_path / "scan.npy", VALUES)
    for read in (MODALITY.read(tmp_path / "scan.npy"), MODALITY.read(VALUES)):
        np.testing.assert_array_equal(read.values, VALUES)
        assert read.spacing.tolist() == [1, 1, 1]


def test_what_is_no_number_counts_as_background():
    holes = VALUES.copy()
    holes[0, 0, :3] = np.nan, np.inf, -np.inf
    assert MODALITY.read(nifti(holes)).values[0, 0, :3].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "no NIfTI"),
        (b"nothing of the kind", "no NIfTI"),
        (nifti()[:200], "no NIfTI"),
        (nifti()[:2000], "damaged or cut short"),
        (gzip.compress(nifti())[:3000], "damaged|no NIfTI"),
        (nifti(RNG.normal(size=(4, 4, 4, 3)).astype(np.float32)), "4 x 4 x 4 x 3: save one volume a file"),
        (nifti(np.zeros((3, 3, 3), np.complex64)), "complex64; numbers are needed"),
        (nifti(spacing=(1, 1, 900)), "1 x 1 x 900 mm; .*is its header in millimetres"),
        (nifti(spacing=(1e-5, 1, 1)), "mm; 0.01 to 50 mm are taken"),
        (patched(nifti(), 280, struct.pack("<12f", *[0.0] * 12)), "cannot be inverted, so its orientation is unknown"),
        (patched(nifti(), 280, struct.pack("<f", float("nan"))), "orientation is unknown"),
        (patched(nifti(), 108, struct.pack("<f", 1e9)), "megabyte of header|makes no sense"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_in_a_sentence(data, sentence):
    with pytest.raises(BadItem, match=sentence):
        MODALITY.read(data)


def test_python_objects_are_never_read(tmp_path):
    np.save(tmp_path / "objects.npy", np.full((3, 3, 3), {}, object), allow_pickle=True)
    with pytest.raises(BadItem, match="which are never read"):
        MODALITY.read(tmp_path / "objects.npy")


def test_a_bomb_is_refused_by_its_header():
    small = Volume(MODALITY.preprocess, VolumeLimits(max_voxels=1000))
    for data in (nifti(), gzip.compress(nifti())):
        with pytest.raises(TooLarge, match=r"12 x 14 x 10 voxels; at most 1,000"):
            small.read(data)
    with pytest.raises(TooLarge, match=r"at 0\.01 mm the volume has 1200 x 1400 x 1000"):
        Volume(VolumePreprocess(spacing=0.01, patch=8)).prepare(Voxels(VALUES, np.eye(4)))


def test_windows_cover_every_voxel_and_say_where_they_lie():
    samples = MODALITY.prepare(Voxels(VALUES, np.diag([4.0, 4, 4, 1])), parts=True)
    seen = np.zeros(samples[0].origin["grid"], int)
    assert seen.shape == (24, 28, 20)
    for sample in samples:
        x, y, z = sample.origin["corner"]
        seen[x : x + 8, y : y + 8, z : z + 8] += 1
        assert sample.arrays["volume"].shape == (1, 8, 8, 8)
    assert seen.min() >= 1
    assert [sample.part.index for sample in samples] == list(range(len(samples)))


def test_without_parts_there_is_the_middle_window_alone():
    whole = MODALITY.prepare(Voxels(VALUES, np.diag([4.0, 4, 4, 1])))
    assert len(whole) == 1
    assert whole[0].part is None
    assert whole[0].origin["corner"] == (8, 10, 6)


def test_a_small_volume_is_filled_up_with_background():
    tiny = Voxels(np.full((2, 2, 2), 50, np.float32) + RNG.normal(0, 1, (2, 2, 2)).astype(np.float32), np.eye(4) * 2)
    [sample] = MODALITY.prepare(tiny, parts=True)
    inner = sample.arrays["volume"][0, 3:5, 3:5, 3:5]
    assert abs(inner.mean()) < 1e-4
    assert np.unique(sample.arrays["volume"]).size == 9
    assert sample.arrays["volume"].min() < -10


def test_values_do_not_depend_on_the_scale_of_a_scanner():
    one, twice = (MODALITY.prepare(Voxels(VALUES * factor, np.eye(4)))[0].arrays["volume"] for factor in (1, 2))
    np.testing.assert_allclose(one, twice, atol=1e-4)


def test_resampling_keeps_what_is_linear_and_nearest_keeps_classes():
    ramp = np.broadcast_to(np.arange(16, dtype=np.float32)[:, None, None], (16, 6, 6))
    half = rescaled(ramp, (8, 6, 6))
    np.testing.assert_allclose(half[1:-1, 3, 3], np.arange(0.5, 16, 2)[1:-1], atol=1e-5)
    classes = RNG.integers(0, 4, (9, 9, 9))
    assert set(np.unique(rescaled(classes, (5, 13, 9), nearest=True))) <= {0, 1, 2, 3}


@pytest.mark.parametrize(("count", "starts"), [(8, [0]), (12, [0, 4]), (20, [0, 4, 8, 12])])
def test_windows_are_evenly_apart(count, starts):
    assert window_starts(count, 8, 0.5) == starts


def test_a_thumbnail_is_a_small_webp():
    assert MODALITY.thumbnail(Voxels(VALUES, np.eye(4)))[8:12] == b"WEBP"
