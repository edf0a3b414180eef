"""GeoTIFF files and arrays of many bands: what is read of them, and what is refused before its pixels are decoded."""

import io
import tracemalloc
import zlib
from contextlib import suppress

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image

from enfold.errors import BadItem, TooLarge
from enfold.modalities.multispectral import (
    Band,
    Multispectral,
    MultispectralLimits,
    MultispectralPreprocess,
    Raster,
)
from tests.examples import BANDS, bands, npy
from training.data.rasters import geotiff


def reader(size=24, tile=None, names=BANDS, mean=1500.0, std=600.0, **limits):
    wanted = tuple(Band(name=name, mean=mean, std=std) for name in names)
    return Multispectral(
        MultispectralPreprocess(bands=wanted, size=size, tile=tile), MultispectralLimits(**limits) if limits else None
    )


def written(values, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, values, photometric="minisblack", metadata=None, **options)
    return file.getvalue()


def test_pixels_names_and_place_come_back():
    raster = bands(24)
    found = reader().read(geotiff(raster))
    np.testing.assert_array_equal(found.values, raster.values.astype(np.float32))
    assert found.bands == BANDS
    np.testing.assert_allclose(found.affine, raster.affine)
    assert found.crs == "EPSG:4326"
    origin = reader().prepare(found)[0].origin
    assert origin["size"] == (24, 24)
    assert origin["crs"] == "EPSG:4326"
    np.testing.assert_allclose(origin["affine"], raster.affine)


def test_a_plain_tiff_lies_nowhere():
    found = reader().read(written(bands(8).values, planarconfig="separate"))
    assert (found.bands, found.affine, found.crs) == ((), None, "")


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd", "packbits", "lzma"])
@pytest.mark.parametrize("layout", [{"planarconfig": "separate"}, {"planarconfig": "contig"}, {"tile": (16, 16)}])
@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "float32", "float64"])
def test_every_layout_holds_the_same_pixels(compression, layout, kind):
    values = (bands(40).values % 251).astype(kind)
    stored = values if layout.get("planarconfig") == "separate" else np.moveaxis(values, 0, -1)
    layout = layout if "planarconfig" in layout else layout | {"planarconfig": "contig"}
    found = reader().read(written(stored, compression=compression, **layout))
    np.testing.assert_array_equal(found.values, values.astype(np.float32))


@pytest.mark.parametrize("interleave", ["band", "pixel"])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"compress": "deflate", "predictor": 2, "tiled": True, "blockxsize": 16, "blockysize": 16},
        {"compress": "lzw", "dtype": "int16", "nodata": -9999},
        {"compress": "zstd", "dtype": "float32", "nodata": float("nan")},
        {"driver": "COG", "compress": "deflate", "blocksize": 128},
    ],
    ids=["plain", "tiles", "nodata", "float", "cloud-optimised"],
)
def test_what_gdal_writes_is_read_as_gdal_reads_it(how, interleave, tmp_path):
    """Sentinel-2's bands, in its projection (UTM), with names and a nodata value."""
    values = np.random.default_rng(0).integers(0, 10_000, (4, 40, 50)).astype(how.get("dtype", "uint16"))
    if (nodata := how.get("nodata")) is not None:
        values[2, 3:6, 7] = nodata
    place = rasterio.transform.from_origin(399_960, 5_300_040, 10, 10)
    facts = {"driver": "GTiff", "count": 4, "height": 40, "width": 50, "dtype": values.dtype, "interleave": interleave}
    file = tmp_path / "scene.tif"
    with rasterio.open(file, "w", **facts | how, crs="EPSG:32633", transform=place) as scene:
        scene.write(values)
        for number, name in enumerate(("B02", "B03", "B04", "B08"), 1):
            scene.set_band_description(number, name)
    found = reader().read(file)
    with rasterio.open(file) as scene:
        np.testing.assert_array_equal(found.values, scene.read(masked=True).astype(np.float32).filled(np.nan))
    assert found.bands == ("B02", "B03", "B04", "B08")
    assert found.crs == "EPSG:32633"
    np.testing.assert_allclose(found.affine, np.array(place)[:6].reshape(2, 3))


def test_one_band_needs_no_third_axis():
    one = reader(names=("night",))
    image = one.prepare(one.read(geotiff(Raster(bands(24).values[:1], ("night",)))))[0].arrays["image"]
    assert image.shape == (1, 24, 24)


def test_a_place_may_be_of_a_pixels_centre_or_turned():
    turned = [0.1, 0.02, 0, 10, 0.02, -0.1, 0, 50, 0, 0, 0, 0, 0, 0, 0, 1]
    tags = [(34264, "d", 16, turned, True), (34735, "H", 8, (1, 1, 0, 1, 3072, 0, 1, 32633), True)]
    found = reader().read(written(bands(8).values, planarconfig="separate", extratags=tags))
    np.testing.assert_allclose(found.affine, [[0.1, 0.02, 10], [0.02, -0.1, 50]])
    assert found.crs == "EPSG:32633"
    centred = [
        (33550, "d", 3, (0.1, 0.1, 0.0), True),
        (33922, "d", 6, (0.0, 0.0, 0.0, 10.0, 50.0, 0.0), True),
        (34735, "H", 8, (1, 1, 0, 1, 1025, 0, 1, 2), True),
    ]
    found = reader().read(written(bands(8).values, planarconfig="separate", extratags=centred))
    np.testing.assert_allclose(found.affine, [[0.1, 0, 9.95], [0, -0.1, 50.05]])


# --- bands ----------------------------------------------------------------------------------------------------------


def test_bands_are_taken_by_name_in_the_encoders_order():
    raster = bands(24)
    mixed = Raster(raster.values[[3, 1, 0, 2, 2]], ("Night", "green", "red", "blue", "cloud"))
    straight = reader().prepare(reader().read(geotiff(raster)))[0].arrays["image"]
    turned = reader().prepare(reader().read(geotiff(mixed)))[0].arrays["image"]
    np.testing.assert_array_equal(straight, turned)


def test_a_file_without_names_is_told_which_bands_are_needed():
    with pytest.raises(BadItem, match=r"red, green, blue, night.*names none"):
        reader().prepare(reader().read(geotiff(Raster(bands(8).values))))
    with pytest.raises(BadItem, match=r"lacks band 'blue'.*has red, green, nir, night"):
        reader().prepare(reader().read(geotiff(Raster(bands(8).values, ("red", "green", "nir", "night")))))


def test_an_array_has_exactly_the_encoders_bands():
    values = bands(24).values
    image = reader().prepare(reader().read(npy(values)))[0].arrays["image"]
    np.testing.assert_array_equal(image, reader().prepare(reader().read(geotiff(bands(24))))[0].arrays["image"])
    with pytest.raises(BadItem, match=r"has 3 bands; this model takes 4: red, green, blue, night"):
        reader().read(npy(values[:3]))


def test_each_band_is_scaled_by_its_own_statistics():
    wanted = (Band(name="a", mean=10, std=1), Band(name="b", mean=0, std=50))
    modality = Multispectral(MultispectralPreprocess(bands=wanted, size=5))
    line = np.array([7.0, 8, 10, 11, 13])
    values = np.stack([np.tile(line, (5, 1)), np.tile((line - 10) * 50, (5, 1))])
    image = modality.prepare(modality.read(values))[0].arrays["image"]
    np.testing.assert_allclose(image[0, 0], [0, 0, 0.5, 0.75, 1])  # (x - (mean - 2 std)) / (4 std), clipped
    np.testing.assert_allclose(image[0], image[1])


# --- what was not measured ------------------------------------------------------------------------------------------


def test_nan_and_nodata_count_as_the_bands_mean():
    raster = bands(24)
    marked = raster.values.copy()
    marked[:, 3:5] = 0
    found = reader().read(geotiff(Raster(marked, BANDS), nodata=0))
    assert np.isnan(found.values[:, 3:5]).all()
    image = reader().prepare(found)[0].arrays["image"]
    np.testing.assert_allclose(image[:, 3:5], 0.5)
    holes = raster.values.astype(np.float32)
    holes[:, 3:5] = np.nan
    np.testing.assert_array_equal(reader().prepare(reader().read(holes))[0].arrays["image"], image)
    assert Image.open(io.BytesIO(reader().thumbnail(found))).size == (24, 24)


def test_a_nodata_value_beyond_the_pixels_type_marks_nothing():
    found = reader().read(geotiff(bands(24), nodata=-9999))
    assert not np.isnan(found.values).any()


def test_a_band_without_any_measurement_is_refused_by_name():
    values = bands(24).values.astype(np.float32)
    values[3] = np.nan
    with pytest.raises(BadItem, match="'night'"):
        reader().prepare(reader().read(values))


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_infinity_is_refused(value):
    values = bands(24).values.astype(np.float64)
    values[1, 2, 3] = value
    for item in (values, npy(values), geotiff(Raster(values, BANDS))):
        with pytest.raises(BadItem, match="infinite"):
            reader().read(item)


# --- size -----------------------------------------------------------------------------------------------------------


def test_parts_are_boxes_that_cover_everything():
    raster = bands(50)
    modality = reader(size=24, tile=24)
    samples = modality.prepare(modality.read(geotiff(raster)), parts=True)
    assert [sample.part.box for sample in samples[:3]] == [(0, 0, 24, 24), (24, 0, 48, 24), (26, 0, 50, 24)]
    assert len(samples) == 9
    left, top, right, bottom = samples[4].part.box
    piece = Raster(raster.values[:, top:bottom, left:right], BANDS)
    alone = modality.prepare(modality.read(geotiff(piece)))[0].arrays["image"]
    np.testing.assert_array_equal(samples[4].arrays["image"], alone)
    assert all(sample.origin["size"] == (50, 50) for sample in samples)


def test_the_middle_square_is_resized():
    values = np.zeros((4, 30, 60), np.float32)
    values[:, :, 15:45] = 1500
    image = reader(size=10).prepare(reader(size=10).read(values))[0].arrays["image"]
    assert image.shape == (4, 10, 10)
    np.testing.assert_allclose(image, 0.5, atol=1e-6)


def test_sizes_are_refused_from_the_header(monkeypatch):
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda *_, **__: pytest.fail("pixels were decoded"))
    with pytest.raises(TooLarge, match="4 x 24 x 24"):
        reader(max_values=1000).read(geotiff(bands(24)))
    with pytest.raises(TooLarge, match="4 x 24 x 24"):
        reader(max_values=1000).read(npy(bands(24).values))


def test_a_tile_larger_than_the_limit_is_refused():
    small = written(np.zeros((8, 8), np.uint8), tile=(1024, 1024), compression="zlib")
    with pytest.raises(TooLarge, match="1024"):
        reader(max_values=1_000_000).read(small)


def test_a_strip_that_unpacks_to_more_than_its_size_is_not_unpacked(tmp_path):
    """A bomb: the header says 8 x 8 pixels, the strip holds 100 MB of zeros."""
    bomb, path = zlib.compress(bytes(100_000_000)), tmp_path / "bomb.tif"
    data = written(np.zeros((8, 8), np.uint8), compression="zlib")
    path.write_bytes(data + bomb)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages.first.tags["StripOffsets"].overwrite(len(data))
        file.pages.first.tags["StripByteCounts"].overwrite(len(bomb))
    tracemalloc.start()
    with suppress(BadItem):
        reader().read(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_compressions_that_hold_sizes_of_their_own_are_refused():
    photo = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(photo, "TIFF", compression="jpeg")
    with pytest.raises(BadItem, match="JPEG"):
        reader().read(photo.getvalue())


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_file_that_is_cut_short_is_refused(share, compression):
    data = written(bands(40).values, planarconfig="separate", compression=compression)
    with pytest.raises(BadItem):
        reader().read(data[: int(len(data) * share)])


# --- pictures -------------------------------------------------------------------------------------------------------


def test_the_thumbnail_shows_red_green_and_blue_where_bands_are_named_so():
    values = np.zeros((4, 20, 20), np.float32)
    values[1, :, :10] = 100  # red on the left
    raster = Raster(values, ("night", "red", "green", "blue"))
    pixels = np.asarray(Image.open(io.BytesIO(reader().thumbnail(raster, 20))).convert("RGB")).astype(int)
    assert pixels[10, 4, 0] > 200 > 60 > pixels[10, 4, 1]
    assert pixels[10, 16].max() < 60
    grey = np.asarray(Image.open(io.BytesIO(reader().thumbnail(Raster(values[1:3]), 20))).convert("RGB")).astype(int)
    assert np.ptp(grey, axis=2).max() < 12


def test_values_of_any_range_are_stretched():
    picture = reader().thumbnail(Raster(np.random.default_rng(0).normal(2e4, 10, (3, 32, 32)).astype(np.float32)))
    assert np.asarray(Image.open(io.BytesIO(picture))).std() > 30
