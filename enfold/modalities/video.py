"""video: moving pictures, as MP4 or WebM, an animation (GIF, WebP), or a folder of frames (PNG, JPEG) or a .zip of one.

A decoded video is `Frames`: how many there are, how large, and what decodes the ones asked for. They are counted as
stored, whatever their time. The encoder sees `frames` of them, `stride` apart, each stretched to a square: of a longer
video the windows that follow one another, or the middle one alone; a shorter one stands still at its end.
"""
# T frames of a window, C channels (1 grey, 3 RGB), H W height and width, S side

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError
from pydantic import BaseModel, Field

from enfold.errors import BadItem, TooLarge, require
from enfold.modalities import Modality, Part, Sample, Spec, Stored, members
from enfold.modalities.image import flat

_BROKEN = (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, IndexError, OverflowError)  # Pillow's


@dataclass(frozen=True)
class Frames:
    count: int
    height: int
    width: int
    pick: Callable[[Sequence[int]], Iterator[np.ndarray]]  # ascending numbers -> those frames, uint8 [H, W, 3]


class VideoPreprocess(Spec):
    """From `Frames` to float32 [T, C, S, S] in [0, 1]."""

    size: int = Field(ge=1, le=8192)  # pixels, height = width
    frames: int = Field(ge=1)  # of a window
    stride: int = Field(1, ge=1)  # from one of them to the next
    colour: bool = False  # RGB, else grey

    @property
    def channels(self) -> int:
        """Of all frames of a window."""
        return self.frames * (3 if self.colour else 1)


class VideoLimits(Spec):
    max_bytes: int = 64 * 2**20  # of the file, or of all frames of a folder
    max_pixels: int = 4096 * 2160  # of a frame
    max_frames: int = 1_800  # a minute at 30 a second
    max_total_pixels: int = 4_000_000_000  # of all frames


class VideoJson(BaseModel, extra="forbid"):
    video: str = Field(description="the file's bytes (MP4, WebM, GIF, WebP, or a .zip of frames), base64")


class Video(Modality[Frames]):
    name = "video"
    media_types = {".mp4": "video/mp4", ".webm": "video/webm", ".frames.zip": "application/x-frames+zip"}
    shared_types = {".gif": "image/gif", ".webp": "image/webp"}
    members = (".png", ".jpg", ".jpeg")
    Preprocess, Limits, Json = VideoPreprocess, VideoLimits, VideoJson

    @property
    def input_size(self) -> int:
        return int(self.preprocess.size)

    def read(self, item: Any) -> Frames:
        """From file bytes, a path, a folder of frames or an array uint8 [T, H, W, 3]. Raises BadItem or TooLarge."""
        if isinstance(item, Frames):
            return item
        if isinstance(item, np.ndarray):
            return self._array(item)
        if isinstance(item, str | Path) and Path(item).is_dir():
            return self._stills(Path(item))
        if isinstance(item, Stored):
            return self._decode(self.file_bytes(item))
        raise BadItem(f"a video is file bytes, a path, a folder of frames or an array, not {type(item).__name__}")

    def prepare(self, value: Frames, *, parts: bool = False) -> list[Sample]:
        """Samples {"video": float32 [T, C, S, S]}. Raises BadItem where frames turn out to be damaged."""
        span = (self.preprocess.frames - 1) * self.preprocess.stride + 1
        last = max(value.count - span, 0)
        starts = [*range(0, last, span), last] if parts else [last // 2]
        windows = [self.window(value, start) for start in starts]
        frames = self.scaled(value, [number for window in windows for number in window])
        return [
            Sample(
                {"video": normalize(np.stack([frames[number] for number in window]))},
                part=Part(index=index, start=start, end=window[-1] + 1) if len(starts) > 1 else None,
            )
            for index, (start, window) in enumerate(zip(starts, windows, strict=True))
        ]

    def window(self, value: Frames, start: int) -> list[int]:
        """Numbers of the T frames from `start` on; past its end a video stands still."""
        numbers = start + np.arange(self.preprocess.frames) * self.preprocess.stride
        return [int(number) for number in np.minimum(numbers, value.count - 1)]

    def scaled(self, value: Frames, numbers: Iterable[int]) -> dict[int, np.ndarray]:
        """Frames by number at the encoder's size, uint8 [S, S, C], in one pass through the video. Raises BadItem."""
        wanted = sorted(set(numbers))
        return {number: self._scaled(frame) for number, frame in zip(wanted, value.pick(wanted), strict=True)}

    def thumbnail(self, value: Frames, side: int = 96) -> bytes:
        """The middle frame."""
        image, file = Pillow.fromarray(next(value.pick([value.count // 2]))), io.BytesIO()
        image.thumbnail((side, side))
        image.save(file, "WEBP", quality=85)
        return file.getvalue()

    def _scaled(self, frame: np.ndarray) -> np.ndarray:
        spec, image = self.preprocess, Pillow.fromarray(frame)
        image = image if spec.colour else image.convert("L")
        found = np.asarray(image.resize((spec.size, spec.size), Pillow.Resampling.BILINEAR))
        return found.reshape(spec.size, spec.size, -1)

    # --- kinds of files ---------------------------------------------------------------------------------------------

    def _decode(self, data: bytes) -> Frames:
        if data[4:8] == b"ftyp":
            return self._film(data, "mp4")
        if data.startswith(b"\x1aE\xdf\xa3"):
            return self._film(data, "matroska")
        if data.startswith(b"GIF8") or (data.startswith(b"RIFF") and data[8:12] == b"WEBP"):
            return self._animation(data)
        if data.startswith(b"PK"):
            return self._stills(data)
        raise BadItem("these bytes are no MP4, WebM, GIF, WebP or .zip of frames, or their beginning is broken")

    def _film(self, data: bytes, container: str) -> Frames:
        """Frames are counted by their packets, which decodes none of them."""
        with self._opened(data, container) as (file, stream):
            width, height = stream.codec_context.width, stream.codec_context.height
            self._check_size(height, width)
            count = 0
            for packet in file.demux(stream):
                count += packet.size > 0  # the last one is empty
                if count > self.limits.max_frames:
                    break
            self._check_count(count, height, width)

        def pick(numbers: Sequence[int]) -> Iterator[np.ndarray]:
            pending, last = list(numbers), None
            with self._opened(data, container) as (file, stream):
                for number, frame in enumerate(file.decode(stream)):
                    last = frame
                    if number == pending[0]:
                        yield _upright(frame)
                        if not (pending := pending[1:]):
                            return
            if last is None:
                raise BadItem("no frame of the video can be decoded: it is damaged or cut short")
            # Some codecs store frames that are never shown, so that fewer may come than were counted.
            yield from (_upright(last) for _ in pending)

        return Frames(count, height, width, pick)

    @contextmanager
    def _opened(self, data: bytes, container: str) -> Iterator[tuple[Any, Any]]:
        """The file and its first video stream. Whatever FFmpeg throws is the sender's fault: raises BadItem."""
        av = require("av", "video", "decoding a video")
        try:
            # The container is named: of those that FFmpeg would guess, playlists open the files that they name.
            with av.open(io.BytesIO(data), format=container, metadata_errors="ignore") as file:
                if not file.streams.video:
                    raise BadItem("the file holds no pictures: it has no video stream")
                stream = file.streams.video[0]
                if stream.codec_context is None:
                    raise BadItem("the video is damaged, or its pictures are of a codec that is not read here")
                stream.codec_context.options = {"max_pixels": str(self.limits.max_pixels)}  # also of later frames
                stream.codec_context.thread_count = 1  # a server's threads are its own to count
                yield file, stream
        except (av.error.FFmpegError, ValueError, OverflowError, MemoryError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BadItem(f"the video is damaged or cut short ({reason})") from None

    def _animation(self, data: bytes) -> Frames:
        def opened() -> Pillow.Image:
            return Pillow.open(io.BytesIO(data), formats=("GIF", "WEBP"))

        def pick(numbers: Sequence[int]) -> Iterator[np.ndarray]:
            with _refused("the animation"):
                image = opened()
                for number in range(numbers[-1] + 1):  # each is drawn over the one before
                    image.seek(number)
                    self._check_size(*image.size[::-1])  # a GIF's later frame may reach beyond its canvas
                    if number in numbers:
                        yield flat(image)

        with _refused("the animation"):
            image = opened()
            width, height = image.size
            self._check_size(height, width)
            count = getattr(image, "n_frames", 1)
        self._check_count(count, height, width)
        return Frames(count, height, width, pick)

    def _stills(self, item: bytes | Path) -> Frames:
        """Files with a frame each, in the order people count; their headers are looked at first."""
        limits = self.limits
        files = members(item, self.members, max_bytes=limits.max_bytes, max_files=limits.max_frames)
        sizes = {}
        for name, read in files.items():
            with _refused(f"frame '{name}'"):
                sizes[name] = _still(read()).size
            self._check_size(*sizes[name][::-1])
        first, (width, height) = next(iter(sizes.items()))
        if other := next((name for name, size in sizes.items() if size != (width, height)), None):
            seen = " x ".join(map(str, sizes[other]))
            raise BadItem(f"frame '{other}' is {seen} pixels and '{first}' {width} x {height}: frames have one size")
        self._check_count(len(files), height, width)
        named = list(files.items())

        def pick(numbers: Sequence[int]) -> Iterator[np.ndarray]:
            for name, read in (named[number] for number in numbers):
                with _refused(f"frame '{name}'"):
                    frame = flat(_still(read()))
                yield frame

        return Frames(len(files), height, width, pick)

    def _array(self, values: np.ndarray) -> Frames:
        if values.dtype != np.uint8 or values.ndim != 4 or values.shape[3] != 3:
            raise BadItem(f"a video array is uint8 [T, H, W, 3]; this one is {values.dtype} {list(values.shape)}")
        count, height, width, _ = values.shape
        self._check_size(height, width)
        self._check_count(count, height, width)
        return Frames(count, height, width, lambda numbers: (values[number] for number in numbers))

    def _check_size(self, height: int, width: int) -> None:
        if min(height, width) < 1:
            raise BadItem(f"the frames are {width} x {height} pixels: there is nothing to see")
        if height * width > self.limits.max_pixels:
            most = self.limits.max_pixels
            raise TooLarge(f"a frame is {width:,} x {height:,} pixels; at most {most:,} in all: scale the video down")

    def _check_count(self, count: int, height: int, width: int) -> None:
        if not count:
            raise BadItem("the video has no frames")
        if count > self.limits.max_frames:
            raise TooLarge(f"the video has more than {self.limits.max_frames:,} frames: cut it into shorter ones")
        if count * height * width > self.limits.max_total_pixels:
            raise TooLarge(
                f"the video has {count:,} frames of {width:,} x {height:,} pixels; at most "
                f"{self.limits.max_total_pixels:,} pixels in all: cut it into shorter ones or scale it down"
            )


def normalize(frames: np.ndarray) -> np.ndarray:
    """uint8 [T, S, S, C] to float32 [T, C, S, S] in [0, 1]."""
    return np.ascontiguousarray(frames.transpose(0, 3, 1, 2), np.float32) / 255


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """Whatever Pillow throws is the sender's fault. Raises BadItem or TooLarge, saying of what."""
    try:
        yield
    except BadItem as error:
        raise type(error)(f"{what}: {error}") from None
    except Pillow.DecompressionBombError:
        raise TooLarge(f"{what} has too many pixels: scale the video down") from None
    except _BROKEN as error:
        reason = "no picture that can be read" if isinstance(error, UnidentifiedImageError) else error
        raise BadItem(f"{what} is damaged or cut short ({reason})") from None


def _still(data: bytes) -> Pillow.Image:
    return Pillow.open(io.BytesIO(data), formats=("PNG", "JPEG"))


def _upright(frame: Any) -> np.ndarray:
    """uint8 [H, W, 3] of a decoded frame, turned as its recorder held it."""
    pixels: np.ndarray = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))
