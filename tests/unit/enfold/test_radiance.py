"""Radiance fields: read within limits, sampled so that no light is lost, and placed where they were."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from enfold.errors import BadItem, TooLarge
from enfold.modalities.radiance import Grid, Radiance, RadianceLimits, RadiancePreprocess, rendered, resampled
from tests.examples import field, npz

RNG = np.random.default_rng(0)
FIELD = field()
MODALITY = Radiance(RadiancePreprocess(size=16, voxel=0.2))


def grid(shape: tuple[int, int, int], extent: tuple[float, float, float]) -> Grid:
    density = RNG.uniform(0, 3, shape).astype(np.float32)
    return Grid(
        density, RNG.uniform(0, 1, (*shape, 3)).astype(np.float32), np.array([[1, 2, 3], extent + np.arange(3) + 1])
    )


def test_a_file_is_read_as_it_was_written():
    found = MODALITY.read(npz(**FIELD))
    for name, array in FIELD.items():
        np.testing.assert_array_equal(getattr(found, name), array)
    whole = npz(**FIELD | {"rgb": (FIELD["rgb"] * 255).round().astype(np.uint8)})
    np.testing.assert_allclose(MODALITY.read(whole).rgb, FIELD["rgb"], atol=1 / 255)
    assert MODALITY.read(found).density is not None


def test_on_its_own_grid_nothing_changes():
    found = MODALITY.read(npz(**FIELD))
    values, valid = resampled(found, (0, 0, 0), 16, 0.2)
    inner = values[:, :12, :12, :12]
    np.testing.assert_allclose(inner[3], 1 - np.exp(-FIELD["density"] * 0.2), atol=1e-5)
    seen = FIELD["density"] > 0
    np.testing.assert_allclose(np.moveaxis(inner[:3], 0, -1)[seen], FIELD["rgb"][seen], atol=1e-5)
    assert not inner[:3, ~seen].any()  # what is empty has no colour
    assert valid[:12, :12, :12].all()
    assert valid.sum() == 12**3
    assert not values[:, 12:].any()


@pytest.mark.parametrize("side", [0.07, 0.2, 0.31])
def test_no_light_is_lost_or_won_whatever_the_voxels(side):
    """What a file's voxels hold in all (density times volume) and its mean colour are those of the encoder's."""
    found = grid((7, 9, 5), (1.4, 2.1, 1.3))
    values, valid = resampled(found, (0, 0, 0), 32, side)
    density = -np.log1p(-values[3].astype(np.float64)) / side
    volume = np.prod(found.extent) / found.density.size
    assert density.sum() * side**3 == pytest.approx(found.density.sum() * volume, rel=1e-4)
    colour = (values[:3] * density).sum((1, 2, 3)) / density.sum()
    own = (found.rgb * found.density[..., None]).sum((0, 1, 2)) / found.density.sum()
    np.testing.assert_allclose(colour, own, rtol=1e-4)
    assert [valid.any(axes).sum() for axes in ((1, 2), (0, 2), (0, 1))] == np.ceil(found.extent / side - 1e-6).tolist()


def test_a_larger_place_is_seen_whole_or_in_windows_with_their_corners():
    found = MODALITY.read(npz(**field(30, 6.0)))
    [whole] = MODALITY.prepare(found)
    assert whole.origin["spacing"] == pytest.approx(6.0 / 16)
    assert whole.arrays["valid"].all()
    parts = MODALITY.prepare(found, parts=True)
    assert len(parts) == 27  # 30 voxels of 0.2 m in windows of 16, along each axis
    corners = np.array([part.origin["corner"] for part in parts])
    assert {part.origin["spacing"] for part in parts} == {0.2}
    np.testing.assert_allclose(corners.min(0), found.bounds[0])
    np.testing.assert_allclose(corners.max(0) + 16 * 0.2, found.bounds[1], atol=1e-9)
    assert parts[0].arrays["radiance"].max() > 0.9
    once = MODALITY.prepare(MODALITY.read(npz(**FIELD)), parts=True)
    assert [part.part for part in once] == [None]
    few = Radiance(MODALITY.preprocess, RadianceLimits(max_parts=5))
    with pytest.raises(TooLarge, match="cut the place into 3 x 3 x 3 parts; at most 5"):
        few.prepare(found, parts=True)
    wide = Grid(found.density, found.rgb, np.array([[0, 0, 0], [1e6, 1e6, 1e6]]))
    with pytest.raises(TooLarge, match="parts; at most 512"):
        MODALITY.prepare(MODALITY.read(wide), parts=True)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"density": None}, "no array 'density'.*savez_compressed"),
        ({"bounds": None}, "no array 'bounds'"),
        ({"bounds": FIELD["bounds"][::-1]}, "along x the bounds go from .* the wrong way round"),
        ({"bounds": FIELD["bounds"] * 1e30}, r"reach to 2\.4e\+30 m; at most 1e\+06 m: is the unit metres"),
        ({"bounds": FIELD["bounds"].T}, r"bounds are \[2, 3\].*\(3, 2\)"),
        ({"density": -FIELD["density"]}, "the density falls to -40; it is 0 or more.*activation"),
        ({"density": FIELD["density"] * np.nan}, r"'density' has a number at \(0, 0, 0\) that is not finite"),
        ({"density": FIELD["density"] * 0}, "nothing in this place"),
        ({"density": FIELD["density"][:0], "rgb": FIELD["rgb"][:0]}, "no voxels: its density is 0 x 12 x 12"),
        ({"rgb": FIELD["rgb"][..., :2]}, r"\(12, 12, 12\) and \(12, 12, 12, 2\)"),
        ({"rgb": FIELD["rgb"] * 255}, "rgb goes from .* to 204.*0 to 255 as uint8"),
        ({"density": np.full((12, 12, 12), None)}, "Python objects, which are never read"),
    ],
)
def test_what_is_no_field_is_said(arrays, sentence):
    file = {name: array for name, array in (FIELD | arrays).items() if array is not None}
    with pytest.raises(BadItem, match=sentence):
        MODALITY.read(npz(**file))


def test_a_grid_that_is_too_large_is_refused_by_its_header(monkeypatch):
    """A file of a few kilobytes may announce, or unpack to, more than a memory holds."""
    announced = io.BytesIO()
    np.lib.format.write_array_header_1_0(announced, {"descr": "<f4", "fortran_order": False, "shape": (10**4,) * 3})
    files = {name: _npy(array) for name, array in FIELD.items()}
    bomb = _zip({**files, "density": _npy(np.zeros((300, 300, 300), np.float32))})
    assert len(bomb) < 200_000
    padded = _zip({**files, "density": files["density"] + b"\0" * 2**20})
    small = Radiance(MODALITY.preprocess, RadianceLimits(max_voxels=12**3))
    monkeypatch.setattr(zipfile.ZipFile, "read", None)  # nothing is unpacked
    with pytest.raises(TooLarge, match=r"'density' has 10000 x 10000 x 10000 numbers"):
        MODALITY.read(_zip({**files, "density": announced.getvalue()}))
    with pytest.raises(
        TooLarge, match=r"300 x 300 x 300 numbers, 108,000,\d+ bytes; a grid may have 16,777,216 voxels"
    ):
        MODALITY.read(bomb)
    with pytest.raises(TooLarge, match=r"12 x 12 x 12 numbers, 1,0.* bytes"):
        small.read(padded)


def test_a_member_that_lies_about_its_size_is_damage():
    data = bytearray(npz(**FIELD))
    at = data.find(b"PK\x01\x02") + 24  # in the directory: what the first array unpacks to
    data[at : at + 4] = (400).to_bytes(4, "little")
    with pytest.raises(BadItem, match=r"damaged|cut short"):
        MODALITY.read(bytes(data))


def test_a_packing_that_numpy_never_uses_is_refused():
    file = _zip({name: _npy(array) for name, array in FIELD.items()}, zipfile.ZIP_BZIP2)
    with pytest.raises(BadItem, match="'density' is packed in a way that numpy never does"):
        MODALITY.read(file)


def test_a_place_is_drawn_from_above_with_the_colours_it_has():
    found = MODALITY.read(npz(**FIELD))
    seen = rendered(found, 64)
    np.testing.assert_allclose(seen[:3, :3], 1)  # beside it is white
    reddish = (seen[..., 0] > 0.6) & (seen[..., 1] < 0.4)
    grey = np.abs(seen - 0.5).max(-1) < 0.1
    assert reddish.mean() > 0.02
    assert grey.mean() > 0.1
    assert np.argwhere(reddish)[:, 1].mean() < np.argwhere(grey)[:, 1].mean()  # the block stands on the left
    [picture] = [Image.open(io.BytesIO(MODALITY.thumbnail(found, 40)))]
    assert picture.size == (40, 40)


def test_walls_that_stand_before_a_room_do_not_hide_it():
    found = field()
    for wall in (np.s_[-1, :, :], np.s_[:, 0, :], np.s_[:, :, -1]):
        found["density"][wall] = 90.0
    seen = rendered(Grid(found["density"], found["rgb"], found["bounds"]), 64)
    assert ((seen[..., 0] > 0.6) & (seen[..., 1] < 0.4)).mean() > 0.01


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _zip(files: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, content in files.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()
