"""NRRD and DICOM: read as the other formats are, in order and in place; what does not fit together is refused."""

import io
import os
import warnings
import zipfile
import zlib
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from enfold.errors import BadItem, TooLarge
from enfold.modalities.volume import Volume, VolumeLimits, VolumePreprocess
from tests.scans import AFFINE, VALUES, dicom, nrrd_file, saved, series, whole

MODALITY = Volume(VolumePreprocess(spacing=1.0, patch=8))
SMALL = Volume(MODALITY.preprocess, VolumeLimits(max_voxels=400, max_bytes=20_000, max_files=5))


# --- NRRD -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["gzip", "bzip2", "raw", "ascii"])
def test_an_nrrd_file_is_read_with_its_place(encoding):
    read = MODALITY.read(nrrd_file(encoding=encoding))
    np.testing.assert_array_equal(read.values, VALUES)
    np.testing.assert_allclose(read.affine, AFFINE)


def test_an_nrrd_file_whose_axes_run_otherwise_is_turned():
    as_stored = VALUES[::-1].transpose(2, 0, 1)
    directions = [[0, 0, 2.0], [0.5, 0, 0], [0, -0.7, 0]]
    read = MODALITY.read(nrrd_file(as_stored, **{"space directions": directions, "space origin": [-7.5, 4.0, 5.0]}))
    np.testing.assert_array_equal(read.values, VALUES)
    np.testing.assert_allclose(read.affine, AFFINE)


def test_an_nrrd_file_without_a_space_has_spacings_alone():
    file = io.BytesIO()
    nrrd.write(file, VALUES, {"spacings": [1.0, 2.0, 3.0]})
    assert MODALITY.read(file.getvalue()).spacing.tolist() == [1, 2, 3]


def as_bomb(data: bytes) -> bytes:
    """Its voxels packed behind the same header, a thousand times as many."""
    head = data[: data.index(b"\n\n") + 2]
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return head + packer.compress(bytes(VALUES.nbytes * 1000)) + packer.flush()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"NRRD", "header of the NRRD file is broken"),
        (nrrd_file()[:60], "header of the NRRD file is broken"),
        (nrrd_file()[:-30], "NRRD file is damaged or cut short"),
        (nrrd_file(encoding="raw")[:-30], "NRRD file is damaged or cut short"),
        (nrrd_file().replace(b"NRRD0005", b"NRRD0009"), "header of the NRRD file"),
        (nrrd_file().replace(b"sizes: 10", b"sizes: -1"), "three axes"),
        (nrrd_file().replace(b"sizes: 10", b"sizes: x0"), "header of the NRRD file"),
        (nrrd_file().replace(b"type: int16", b"type: block"), "damaged"),
        (nrrd_file().replace(b"encoding: gzip", b"encoding: hexa"), "damaged"),
        (nrrd_file().replace(b"\n\n", b"\ndata file: /etc/passwd\n\n", 1), "keeps its voxels in another file"),
        (nrrd_file(space="scanner-xyz"), "space 'scanner-xyz' does not tell where its axes run"),
        (nrrd_file(**{"space units": ["m", "m", "m"]}), "its unit is 'm', not mm"),
        (nrrd_file(**{"space directions": [[-1, 0, 0], [-1, 0, 0], [0, 0, 1]]}), "orientation is unknown"),
        (nrrd_file(**{"space directions": [[np.nan] * 3, [0, 1, 0], [0, 0, 1]]}), "orientation is unknown"),
        (nrrd_file(**{"space directions": [[-500, 0, 0], [0, 1, 0], [0, 0, 1]]}), "500 x 1 x 1 mm"),
        (nrrd_file(np.full(VALUES.shape, np.nan, np.float32)), "no voxel of the volume is a finite number"),
    ],
)
def test_an_nrrd_file_that_makes_no_sense_is_refused_in_a_sentence(data, sentence):
    with pytest.raises(BadItem, match=sentence):
        MODALITY.read(data)


def test_axes_of_colours_or_vectors_are_no_volume():
    with pytest.raises(BadItem, match="an axis of kind 'vector'"):
        MODALITY.read(nrrd_file(kinds=["vector", "space", "space"]))


def test_an_nrrd_bomb_unpacks_to_no_more_than_it_announced():
    np.testing.assert_array_equal(MODALITY.read(as_bomb(nrrd_file())).values, np.zeros(VALUES.shape))
    with pytest.raises(TooLarge, match=r"10 x 8 x 6 voxels; at most 400"):
        SMALL.read(nrrd_file())


# --- DICOM ----------------------------------------------------------------------------------------------------------


def test_a_series_is_put_in_order_and_in_place(tmp_path):
    read = MODALITY.read(series(*whole()))
    np.testing.assert_array_equal(read.values, VALUES)
    np.testing.assert_allclose(read.affine, AFFINE, atol=1e-9)
    for number, one in enumerate(whole()):
        (tmp_path / f"IM{(number * 5) % 7}.dcm").write_bytes(saved(one))
    (tmp_path / "readme.txt").write_text("not a slice")
    from_folder = MODALITY.read(tmp_path)
    np.testing.assert_array_equal(from_folder.values, VALUES)
    np.testing.assert_allclose(from_folder.affine, AFFINE, atol=1e-9)


def test_a_sagittal_series_lies_as_nifti_would_have_it():
    """Rows run to the front, columns down; slices to the right."""
    slices = []
    for x in range(10):
        pixels = VALUES[x, :, ::-1].T + 1000  # rows from the top down, columns to the front
        slices.append(
            dicom(
                0,
                Rows=6,
                Columns=8,
                PixelSpacing=[2.0, 0.7],
                ImageOrientationPatient=[0, -1, 0, 0, 0, -1],
                ImagePositionPatient=[-(3 + 0.5 * x), 4, 15],
                PixelData=pixels.astype(np.uint16).tobytes(),
            )
        )
    read = MODALITY.read(series(*slices))
    np.testing.assert_array_equal(read.values, VALUES)
    np.testing.assert_allclose(read.affine, AFFINE, atol=1e-9)


def test_every_slice_has_a_scale_of_its_own():
    louder = dicom(2, RescaleSlope=2, RescaleIntercept=-2000)
    read = MODALITY.read(series(*whole()[:2], louder, *whole()[3:]))
    np.testing.assert_array_equal(read.values[:, :, 2], 2 * VALUES[:, :, 2])
    np.testing.assert_array_equal(read.values[:, :, 3], VALUES[:, :, 3])


def test_one_file_is_a_slice():
    read = MODALITY.read(saved(dicom(3)))
    np.testing.assert_array_equal(read.values, VALUES[:, :, 3:4])
    np.testing.assert_allclose(read.affine @ [0, 0, 0, 1], AFFINE @ [0, 0, 3, 1])


def test_frames_lie_where_their_groups_say():
    """Enhanced multi-frame: places, spacing and scale in nested groups, frames in any order."""
    made, order = dicom(0), [2, 0, 1, 5, 4, 3]
    made.NumberOfFrames = 6
    frames = []
    for number in order:
        place, scale = Dataset(), Dataset()
        place.ImagePositionPatient = dicom(number).ImagePositionPatient
        scale.RescaleSlope, scale.RescaleIntercept = 1, -1000
        frame = Dataset()
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = Sequence([place]), Sequence([scale])
        frames.append(frame)
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [0.7, 0.5], 2.0
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([orientation]), Sequence([measures])
    made.PerFrameFunctionalGroupsSequence = Sequence(frames)
    made.SharedFunctionalGroupsSequence = Sequence([shared])
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(made, name)
    made.PixelData = b"".join(dicom(number).PixelData for number in order)
    read = MODALITY.read(saved(made))
    np.testing.assert_array_equal(read.values, VALUES)
    np.testing.assert_allclose(read.affine, AFFINE, atol=1e-9)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm"])
def test_files_of_real_scanners_are_read(name):
    path = Path(get_testdata_file(name))
    read, plain = MODALITY.read(path), pydicom.dcmread(path)
    assert read.values.shape == (plain.Columns, plain.Rows, 1)
    wanted = plain.pixel_array * float(plain.get("RescaleSlope", 1)) + float(plain.get("RescaleIntercept", 0))
    np.testing.assert_allclose(np.sort(read.values, None), np.sort(wanted, None))


def test_a_dose_grid_has_its_frames_over_each_other():
    read = MODALITY.read(Path(get_testdata_file("rtdose.dcm")))
    assert read.values.shape == (10, 10, 15)
    assert nibabel.aff2axcodes(read.affine) == ("R", "A", "S")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("MR_truncated.dcm", "damaged, cut short"),
        ("image_dfl.dcm", "deflated as a whole"),
        ("SC_rgb_rle.dcm", "one in colours"),
        ("rtplan.dcm", "holds no picture"),
        ("test-SR.dcm", "holds no picture"),
        ("no_meta.dcm", "no NIfTI, NRRD, DICOM"),
    ],
)
def test_real_files_that_are_no_scan_are_refused_in_a_sentence(name, sentence):
    with pytest.raises(BadItem, match=sentence):
        MODALITY.read(Path(get_testdata_file(name)))


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (dicom(2, Rows=4, PixelData=bytes(4 * 10 * 2)), "slices of 10 x 8 and 10 x 4 pixels"),
        (dicom(2, ImageOrientationPatient=[0, 1, 0, -1, 0, 0]), "turned differently"),
        (dicom(2, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "do not stand upright on each other"),
        (dicom(2, ImageOrientationPatient=[0, 0, 0, 0, 0, 0]), "do not stand upright on each other"),
        (dicom(2, PixelSpacing=[0.7, 0.9]), "pixels of different size"),
        (dicom(2, SeriesInstanceUID="1.2.4"), "of 2 series"),
        (dicom(3), "lie at one place: leave one out"),
        (dicom(2, ImagePositionPatient=[-7.5, -0.9, 9.9]), "slices lie 1.1 to 2.9 mm apart"),
        (dicom(2, ImagePositionPatient=[-3.5, -0.9, 9.0]), "or out of line"),
        (dicom(2, NumberOfFrames=2, PixelData=bytes(320)), "has 2 frames and does not say where each lies"),
        (dicom(2, ImagePositionPatient=None), "does not say where its picture lies"),
        (dicom(2, PixelData=bytes(20)), "14.dcm are damaged, cut short"),
        (dicom(2, SamplesPerPixel=3, PhotometricInterpretation="RGB"), "one in colours"),
        (dicom(2, RescaleSlope="1e400"), "no finite number|makes no sense"),
    ],
)
def test_slices_that_do_not_fit_together_are_refused_in_a_sentence(other, sentence):
    with pytest.raises(BadItem, match=sentence):
        MODALITY.read(series(*whole()[:2], other, *whole()[3:]))


def test_a_missing_slice_is_noticed():
    with pytest.raises(BadItem, match="slices lie 2 to 4 mm apart, or out of line: some are missing"):
        MODALITY.read(series(*whole()[:3], *whole()[4:]))


@pytest.mark.parametrize(
    ("spacing", "thickness", "sentence"),
    [
        ([0.0, 0.5], 2.0, "cannot be inverted"),
        ([900.0, 900.0], 2.0, "900 x 900 x 2 mm"),
        ([1e-5, 1.0], 2.0, r"0\.01 to 50 mm are taken|cannot be inverted"),
        ([0.7, 0.5], 700.0, "0.5 x 0.7 x 700 mm"),
    ],
)
def test_voxels_of_an_absurd_size_are_refused(spacing, thickness, sentence):
    with pytest.raises(BadItem, match=sentence):
        MODALITY.read(saved(dicom(0, PixelSpacing=spacing, SliceThickness=thickness)))


def test_limits_hold_before_pixels_are_read(tmp_path):
    with pytest.raises(TooLarge, match=r"10 x 8 x 6 voxels; at most 400"):  # whose pixels are not even there
        Volume(MODALITY.preprocess, VolumeLimits(max_voxels=400)).read(
            series(*[dicom(number, PixelData=b"") for number in range(6)])
        )
    with pytest.raises(TooLarge, match="has 6 files; it may have 5"):
        SMALL.read(series(*whole()))
    for number in range(3):
        (tmp_path / f"{number}.dcm").write_bytes(saved(dicom(number)) + bytes(10_000))
    with pytest.raises(TooLarge, match=r"bytes; they may have 20,000"):
        SMALL.read(tmp_path)
    huge = dicom(0, Rows=60_000, Columns=60_000)
    with pytest.raises(TooLarge, match="60000 x 60000 x 1 voxels"):
        MODALITY.read(saved(huge))
    frames = dicom(0, NumberOfFrames=2**31 - 1)
    with pytest.raises(BadItem, match="does not say where each lies"):
        MODALITY.read(saved(frames))


def test_a_series_of_two_gigabytes_is_refused_unread(tmp_path):
    for number in range(200):
        file = tmp_path / f"{number}.dcm"
        file.touch()
        os.truncate(file, 11 * 2**20)  # of nothing: reading one of them would find no DICOM
    with pytest.raises(TooLarge, match=r"2,306,867,200 bytes; they may have 268,435,456 in all"):
        MODALITY.read(tmp_path)


def test_a_zip_that_is_no_series_is_refused(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("notes.txt", "nothing")
    with pytest.raises(BadItem, match=r"no \.dcm files"):
        MODALITY.read(file.getvalue())
    with pytest.raises(BadItem, match=r"no \.dcm files"):
        MODALITY.read(tmp_path)
    packed = series(*whole())
    with pytest.raises(BadItem, match=r"\.zip is damaged"):
        MODALITY.read(packed[: len(packed) // 2])


@pytest.mark.parametrize("data", [nrrd_file(), saved(dicom(1)), series(*whole())], ids=["nrrd", "dicom", "series"])
def test_no_damage_makes_anything_but_a_refusal(data):
    """Bytes overwritten and files cut at many places: an item all the same, or BadItem."""
    rng, refused = np.random.default_rng(1), 0
    for _ in range(150):
        broken = bytearray(data)
        if rng.random() < 0.3:
            del broken[int(rng.integers(len(broken))) :]
        else:
            for at in rng.integers(0, min(len(broken), 1500), 4):
                broken[at] = rng.integers(256)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                MODALITY.read(bytes(broken))
        except BadItem:
            refused += 1
    assert refused > 20
