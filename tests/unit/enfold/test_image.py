"""What the image modality reads, and what it refuses with one sentence."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from enfold.errors import BadItem, TooLarge
from enfold.modalities.image import Image, ImagePreprocess, Tile

PIXELS = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)


@pytest.fixture
def image() -> Image:
    return Image(ImagePreprocess(size=16))


def encoded(picture: Pillow.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG"])
def test_every_format_is_read_as_rgb(image, format):
    lossless = {"lossless": True} if format == "WEBP" else {}
    value = image.read(encoded(Pillow.fromarray(PIXELS), format, **lossless))
    assert value.shape == (24, 32, 3)
    exact = format not in ("GIF", "JPEG")
    assert not exact or np.array_equal(value, PIXELS)


def test_exif_orientation_is_applied(image):
    exif = Pillow.Exif()
    exif[0x0112] = 6  # camera held on its side
    value = image.read(encoded(Pillow.fromarray(PIXELS), "TIFF", exif=exif))
    assert np.array_equal(value, np.rot90(PIXELS, -1))


def test_transparency_lies_over_the_background(image):
    clear = Pillow.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert (image.read(encoded(clear, "PNG")) == 255).all()


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA"])
def test_grey_palette_and_bitmap_become_three_channels(image, mode):
    assert image.read(encoded(Pillow.fromarray(PIXELS).convert("L").convert(mode), "PNG")).shape == (24, 32, 3)


def test_sixteen_bits_keep_their_white(image):
    deep = Pillow.fromarray(np.full((8, 8), 65535, np.uint16))
    assert (image.read(encoded(deep, "PNG")) == 255).all()


def test_an_animation_is_refused(image):
    frames = [Pillow.new("RGB", (8, 8), color) for color in ("red", "blue")]
    with pytest.raises(BadItem, match="2 frames"):
        image.read(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))


def test_one_pixel_is_refused(image):
    with pytest.raises(BadItem, match="1 x 1"):
        image.read(encoded(Pillow.new("RGB", (1, 1)), "PNG"))


@pytest.mark.parametrize("keep", [0, 1, 20, 200, 1000])
def test_a_cut_file_is_refused(image, keep):
    with pytest.raises(BadItem):
        image.read(encoded(Pillow.fromarray(PIXELS), "PNG")[:keep])


def test_a_bomb_is_refused_before_it_is_decoded(image):
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    with pytest.raises(TooLarge, match="pixels"):
        image.read(bomb + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))


def test_bytes_over_the_limit_are_refused(image):
    image.limits = image.limits.model_copy(update={"max_bytes": 10})
    with pytest.raises(TooLarge, match="10"):
        image.read(b"x" * 11)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_prepared_images_are_normalised_squares(fit):
    image = Image(ImagePreprocess(size=16, fit=fit, mean=(0, 0, 0), std=(1, 1, 1)))
    [sample] = image.prepare(np.full((24, 32, 3), 255, np.uint8))
    assert sample.arrays["image"].shape == (3, 16, 16)
    assert sample.arrays["image"].dtype == np.float32
    np.testing.assert_allclose(sample.arrays["image"], 1)


def test_a_thumbnail_is_a_small_webp(image):
    picture = Pillow.open(io.BytesIO(image.thumbnail(PIXELS, 8)))
    assert picture.format == "WEBP"
    assert max(picture.size) == 8


def tiled(least_tissue: float = 0.0) -> Image:
    return Image(ImagePreprocess(size=4, mean=(0, 0, 0), std=(1, 1, 1), tile=Tile(side=8, least_tissue=least_tissue)))


def test_tiles_cover_the_image_and_lie_inside_it():
    samples = tiled().prepare(np.zeros((19, 24, 3), np.uint8), parts=True)
    covered = np.zeros((19, 24), int)
    for i, sample in enumerate(samples):
        left, top, right, bottom = sample.part.box
        assert (sample.part.index, right - left, bottom - top) == (i, 8, 8)
        assert sample.arrays["image"].shape == (3, 4, 4)
        covered[top:bottom, left:right] += 1
    assert len(samples) == 9
    assert covered.min() == 1


def test_tiles_of_glass_are_skipped_and_an_image_of_glass_is_refused():
    slide = np.full((8, 24, 3), 245, np.uint8)
    slide[:4, 8:16] = (180, 90, 160)  # half of the middle tile
    [sample] = tiled(0.5).prepare(slide, parts=True)
    assert sample.part.box == (8, 0, 16, 8)
    with pytest.raises(BadItem, match="no tile of 8 pixels shows 51% tissue"):
        tiled(0.51).prepare(slide, parts=True)


@pytest.mark.parametrize(("modality", "shape"), [(tiled(), (8, 8, 3)), (Image(ImagePreprocess(size=4)), (30, 30, 3))])
def test_an_image_no_larger_than_a_tile_has_no_parts(modality, shape):
    value = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    [sample], [whole] = modality.prepare(value, parts=True), modality.prepare(value)
    assert sample.part is None
    np.testing.assert_array_equal(sample.arrays["image"], whole.arrays["image"])


def test_a_tile_is_prepared_as_if_it_came_alone():
    slide = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    samples = tiled().prepare(slide, parts=True)
    changed = slide.copy()
    changed[8:] = 0
    again = tiled().prepare(changed, parts=True)
    alone = tiled().prepare(slide[:8, 8:])[0]
    np.testing.assert_array_equal(samples[1].arrays["image"], alone.arrays["image"])
    np.testing.assert_array_equal(again[1].arrays["image"], alone.arrays["image"])
