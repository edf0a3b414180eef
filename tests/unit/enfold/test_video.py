"""Videos: the frames asked for and no others are decoded; windows follow each other; what makes no sense is refused."""

import io
import math
import zipfile

import numpy as np
import pytest
from PIL import Image

from enfold.errors import BadItem, TooLarge
from enfold.modalities.video import Frames, Video, VideoLimits, VideoPreprocess
from tests.examples import animation, film, zipped

MODALITY = Video(VideoPreprocess(size=16, frames=3))
SHADES = [np.full((24, 32, 3), 20 * i, np.uint8) for i in range(10)]  # frame i has shade 20 i
NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


def numbered(count: int = 10) -> Frames:
    return MODALITY.read(np.stack(SHADES[:count]))


def shades(sample) -> list[int]:
    """Numbers of the frames in a sample."""
    return np.rint(sample.arrays["video"].mean((1, 2, 3)) * 255 / 20).astype(int).tolist()


def png(frame: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        film(SHADES, "mp4", "libx264"),
        film(SHADES, "mp4", "mpeg4"),
        film(SHADES, "webm", "libvpx"),
        film(SHADES, "webm", "libvpx-vp9"),
        animation(SHADES, "GIF"),
        animation(SHADES, "WEBP"),
        zipped({f"frames/{i}.png": png(frame) for i, frame in enumerate(SHADES)}),
    ],
    ids=["h264", "mpeg4", "vp8", "vp9", "gif", "webp", "zip"],
)
def test_every_kind_of_file_has_its_frames_in_order(data):
    read = MODALITY.read(data)
    assert (read.count, read.height, read.width) == (10, 24, 32)
    assert [round(float(frame.mean()) / 20) for frame in read.pick(range(10))] == list(range(10))
    assert [round(float(frame.mean()) / 20) for frame in read.pick([2, 7])] == [2, 7]


def test_a_folder_of_frames_is_one_video_in_the_order_people_count(tmp_path):
    for i, frame in enumerate(SHADES):
        (tmp_path / f"frame{i + 5}.png").write_bytes(png(frame))
    (tmp_path / "notes.txt").write_text("passed over")
    [sample] = MODALITY.prepare(MODALITY.read(tmp_path))
    assert shades(sample) == [3, 4, 5]


def test_windows_follow_one_another_and_end_with_the_video():
    samples = MODALITY.prepare(numbered(), parts=True)
    assert [shades(sample) for sample in samples] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [7, 8, 9]]
    assert [(sample.part.start, sample.part.end) for sample in samples] == [(0, 3), (3, 6), (6, 9), (7, 10)]


def test_without_parts_there_is_the_middle_window_alone():
    [sample] = MODALITY.prepare(numbered(9))
    assert sample.part is None
    assert shades(sample) == [3, 4, 5]


def test_frames_lie_a_stride_apart():
    apart = Video(VideoPreprocess(size=16, frames=3, stride=2))
    samples = apart.prepare(numbered(), parts=True)
    assert [shades(sample) for sample in samples] == [[0, 2, 4], [5, 7, 9]]
    assert [(sample.part.start, sample.part.end) for sample in samples] == [(0, 5), (5, 10)]


def test_a_short_video_stands_still_at_its_end():
    [sample] = MODALITY.prepare(numbered(2), parts=True)
    assert shades(sample) == [0, 1, 1]


def test_only_the_frames_of_the_window_are_decoded():
    decoded: list[int] = []

    def pick(numbers):
        decoded.extend(numbers)
        return (SHADES[number] for number in numbers)

    MODALITY.prepare(Frames(9, 24, 32, pick))
    assert decoded == [3, 4, 5]


def test_grey_and_colour_are_between_nought_and_one():
    red = MODALITY.read(np.broadcast_to(np.uint8([255, 0, 0]), (3, 24, 32, 3)))
    grey, colour = (Video(VideoPreprocess(size=16, frames=3, colour=c)).prepare(red)[0].arrays["video"] for c in (0, 1))
    assert grey.shape == (3, 1, 16, 16)
    assert colour.shape == (3, 3, 16, 16)
    np.testing.assert_allclose(grey, 76 / 255, atol=1e-6)  # of ITU-R 601's luma
    np.testing.assert_array_equal(colour[0, :, 0, 0], [1, 0, 0])


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_film_is_turned_as_its_recorder_was_held(turns):
    """The display matrix of an MP4: what phones write."""
    frame = np.zeros((24, 32, 3), np.uint8)
    frame[:12, :16] = 250  # the top left
    data = bytearray(film([frame] * 3, "mp4", "libx264"))
    at = data.index(b"tkhd") + 4 + 40  # version, times, id, duration, layer, volume
    a, b = round(math.cos(turns * math.pi / 2)), round(math.sin(turns * math.pi / 2))
    for place, value in ((0, a), (4, b), (12, -b), (16, a)):  # fixed point; clockwise
        data[at + place : at + place + 4] = (value * 2**16).to_bytes(4, "big", signed=True)
    found = next(MODALITY.read(bytes(data)).pick([0])).astype(int)
    assert np.abs(found - np.rot90(frame, -turns)).mean() < 5


def test_transparency_lies_over_white():
    clear = [Image.new("RGBA", (8, 8), (0, 0, i, 0)) for i in range(2)]
    file = io.BytesIO()
    clear[0].save(file, "WEBP", save_all=True, append_images=clear[1:], lossless=True, exact=True)
    assert next(MODALITY.read(file.getvalue()).pick([0])).min() == 255


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "no MP4, WebM, GIF, WebP or .zip"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "no MP4, WebM, GIF, WebP or .zip"),
        (b"#EXTM3U\nhttp://127.0.0.1/a.ts\n", "no MP4, WebM, GIF, WebP or .zip"),
        (film([], "mp4", "mpeg4"), "no frames|no pictures|damaged"),
        (film(SHADES, "mp4", "libx264")[:-400], "damaged or cut short"),
        (film(SHADES, "webm", "libvpx-vp9")[:60], "damaged or cut short|no pictures"),
        (b"\0\0\0\x20ftypisom" + b"\0" * 500, "damaged or cut short"),
        (animation(SHADES, "GIF")[:12], "animation is damaged|animation is .*no picture"),
        (animation(SHADES, "WEBP")[:200], "animation"),
        (zipped({}), "there are no .png, .jpg, .jpeg files"),
        (zipped({"notes.txt": b"x"}), "there are no .png, .jpg, .jpeg files"),
        (zipped({"1.png": png(SHADES[0]), "2.png": b"no picture"}), "frame '2.png' .*no picture that can be read"),
        (zipped({"1.png": png(NOISE), "2.png": png(NOISE[:9])}), "'2.png' is 32 x 9 pixels and '1.png' 32 x 24"),
        (zipped({"1.png": png(NOISE)[:600]}), "frame '1.png' is damaged or cut short"),
        (zipped({"1.png": png(SHADES[0])})[:90], "zip is damaged"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_in_a_sentence(data, sentence):
    with pytest.raises(BadItem, match=sentence):
        MODALITY.prepare(MODALITY.read(data))


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"max_bytes": 50}, "bytes"),
        ({"max_pixels": 700}, "a frame is 32 x 24 pixels; at most 700"),
        ({"max_frames": 9}, r"more than 9 frames|10 files; it may have 9"),
        ({"max_total_pixels": 5000}, "10 frames of 32 x 24 pixels; at most 5,000 pixels in all"),
    ],
)
@pytest.mark.parametrize("kind", ["film", "animation", "frames"])
def test_what_is_too_large_is_refused_by_its_header(kind, limits, sentence):
    data = {
        "film": film(SHADES, "mp4", "libx264"),
        "animation": animation(SHADES, "GIF"),
        "frames": zipped({f"{i}.png": png(frame) for i, frame in enumerate(SHADES)}),
    }[kind]
    with pytest.raises(TooLarge, match=sentence):
        Video(MODALITY.preprocess, VideoLimits(**limits)).read(data)


def test_a_zip_bomb_is_refused_before_it_is_unpacked():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.png", b"\0" * (MODALITY.limits.max_bytes + 1))
    assert len(file.getvalue()) < 100_000
    with pytest.raises(TooLarge, match="bytes; they may have"):
        MODALITY.read(file.getvalue())


def test_an_absurd_canvas_is_refused():
    wide = bytearray(animation(SHADES, "GIF"))
    wide[6:10] = b"\xff\xff\xff\xff"  # of the logical screen
    with pytest.raises(TooLarge, match=r"65,535 x 65,535 pixels|too many pixels"):
        MODALITY.read(bytes(wide))


def test_a_frame_that_leaves_its_canvas_is_refused_before_it_is_drawn():
    grown = bytearray(animation(SHADES, "GIF"))
    descriptor = grown.rindex(b",\0\0\0\0 \0\x18\0")  # of the last frame: at 0, 0, of 32 x 24 pixels
    grown[descriptor + 5 : descriptor + 9] = b"\xff\x7f\xff\x0f"
    with pytest.raises(TooLarge, match="32,767 x 4,095 pixels"):
        MODALITY.prepare(MODALITY.read(bytes(grown)), parts=True)


@pytest.mark.parametrize("wrong", [np.zeros((3, 8, 8), np.uint8), np.zeros((3, 8, 8, 3)), np.zeros((0, 8, 8, 3), "u1")])
def test_an_array_that_is_no_video_is_refused(wrong):
    with pytest.raises(BadItem, match=r"uint8 \[T, H, W, 3\]|no frames"):
        MODALITY.read(wrong)
