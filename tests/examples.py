"""Items of every modality: what the contract suite, and whoever else needs a real file of a kind, goes by.

A modality is in the suite by having its examples here: a file for every suffix that it reads.
"""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import laspy
import nibabel
import numpy as np
import soundfile
import trimesh
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

from enfold.modalities import get
from enfold.modalities.audio import AudioPreprocess
from enfold.modalities.image import ImagePreprocess, Tile
from enfold.modalities.multispectral import Band, MultispectralPreprocess, Raster
from enfold.modalities.points import PointsPreprocess
from enfold.modalities.text import TOKENIZER, TextPreprocess
from enfold.modalities.video import VideoPreprocess
from enfold.modalities.volume import VolumePreprocess
from tests import scans
from training.data.rasters import geotiff


@dataclass(frozen=True)
class Examples:
    preprocess: Any
    files: dict[str, bytes]  # suffix -> a file
    large: bytes  # one that the encoder takes in parts, and that costs no less than any of `files`
    bad: dict[str, bytes]  # what is wrong -> a file
    write: Callable[[Path], None] = field(default=lambda folder: None)  # the resources that preprocess names


def examples(modality: str) -> Examples:
    """Raises KeyError for a modality without examples: write them."""
    found: Examples = globals()[f"_{modality}"]()
    return found


def reader(modality: str, folder: Path) -> Any:
    """The modality, with its resources written to `folder`."""
    found = examples(modality)
    found.write(folder)
    return get(modality)(found.preprocess, folder=folder)


def _audio() -> Examples:
    noise = np.random.default_rng(0).normal(0, 0.1, (24_000, 2))
    vorbis = sound(noise, "OGG", "VORBIS", 22_050)
    return Examples(
        AudioPreprocess(rate=8000, mels=16, frames=200),
        {
            ".wav": sound(noise[:9000], "WAV"),
            ".flac": sound(noise, "FLAC"),
            ".ogg": vorbis,
            ".oga": vorbis,
            ".opus": sound(noise, "OGG", "OPUS", 24_000),
            ".mp3": sound(noise, "MP3", rate=44_100),
        },
        large=sound(np.tile(noise, (5, 1)), "FLAC"),
        bad={
            "a text": b"nothing of the kind",
            "no samples": sound(noise[:0], "WAV"),
            "eight samples a second": sound(noise[:40], "WAV", rate=8),
            "not a number": sound(np.full(800, np.nan), "WAV", "FLOAT"),
            "infinite": sound(np.full(800, np.inf), "WAV", "FLOAT"),
            "twenty channels": sound(np.zeros((800, 20)), "WAV"),
            "a format that is none of these": sound(noise, "AIFF"),
        },
    )


def _image() -> Examples:
    kinds = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".gif": "GIF", ".bmp": "BMP"}
    kinds |= {".tif": "TIFF", ".tiff": "TIFF"}
    moving = io.BytesIO()
    frames = [Image.fromarray(_colours(8, 8, seed)) for seed in range(3)]
    frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:])
    return Examples(
        ImagePreprocess(size=16, tile=Tile(side=16)),
        {suffix: _picture(kind) for suffix, kind in kinds.items()},
        large=_picture("PNG", 64),
        bad={"an animation": moving.getvalue(), "one pixel": _picture("PNG", 1), "a text": b"nothing of the kind"},
    )


BANDS = ("red", "green", "blue", "night")


def bands(side: int, seed: int = 0) -> Raster:
    """Four bands of uint16 on a map, one pixel a tenth of a degree."""
    values = np.random.default_rng(seed).integers(1, 3000, (len(BANDS), side, side)).astype(np.uint16)
    return Raster(values, BANDS, np.array([[0.1, 0, 10], [0, -0.1, 50]]), "EPSG:4326")


def _multispectral() -> Examples:
    small, infinite = bands(24), np.full((4, 8, 8), np.inf, np.float32)
    kinds = (".geotiff", ".gtiff", ".tif", ".tiff")
    return Examples(
        MultispectralPreprocess(bands=tuple(Band(name=name, mean=1500, std=600) for name in BANDS), size=16, tile=16),
        {**dict.fromkeys(kinds, geotiff(small)), ".npy": npy(small.values)},
        large=geotiff(bands(64)),
        bad={
            "three bands": geotiff(Raster(small.values[:3], BANDS[:3])),
            "bands without names": geotiff(Raster(small.values)),
            "an array of three bands": npy(small.values[:3]),
            "two axes": npy(small.values[0]),
            "no pixels": npy(small.values[:, :0]),
            "objects": npy(np.array([[[None]]])),
            "complex": npy(small.values.astype(np.complex64)),
            "infinity": npy(infinite),
            "nothing measured": npy(np.full((4, 8, 8), np.nan, np.float32)),
            "a picture": _picture("PNG"),
            "a text": b"nothing of the kind",
            "nothing": b"",
        },
    )


def _text() -> Examples:
    def write(folder: Path) -> None:
        words = {word: i for i, word in enumerate(("[PAD]", "[UNK]", *"abcdefghijklmnopqrstuvwxyz"))}
        tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        (folder / "resources").mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(folder / TOKENIZER))

    return Examples(
        TextPreprocess(max_tokens=8, overlap_tokens=2),
        dict.fromkeys((".txt", ".md"), b"a b c"),
        large=b"a b c d " * 9,
        bad={"nothing": b"", "blanks": b" \n", "no UTF-8": b"\xff\xfe a"},
        write=write,
    )


def _video() -> Examples:
    still, frames = _picture("PNG"), [_colours(24, 32, seed) for seed in range(9)]
    return Examples(
        VideoPreprocess(size=16, frames=3),
        {
            ".mp4": film(frames, "mp4", "libx264"),
            ".webm": film(frames, "webm", "libvpx-vp9"),
            ".gif": animation(frames, "GIF"),
            ".webp": animation(frames, "WEBP"),
            ".frames.zip": zipped({f"{i}.png": still for i in range(9)}),
        },
        large=animation([_colours(24, 32, seed) for seed in range(20)], "GIF"),
        bad={
            "a text": b"nothing of the kind",
            "no frames": film([], "mp4", "mpeg4"),
            "an empty zip": zipped({}),
            "a frame that is none": zipped({"1.png": still, "2.png": b"no picture"}),
            "frames of two sizes": zipped({"1.png": still, "2.png": _picture("PNG", 25)}),
        },
    )


def _points() -> Examples:
    box = trimesh.creation.box((2, 1, 0.5))
    cloud = np.random.default_rng(0).normal(size=(300, 3)) * (3, 2, 1)

    def exported(thing: Any, kind: str) -> bytes:
        found = thing.export(file_type=kind)
        return found.encode() if isinstance(found, str) else bytes(found)

    def las(file: str) -> bytes:
        scan, made = laspy.create(), io.BytesIO()
        scan.header.scales = (0.001, 0.001, 0.001)
        scan.xyz = cloud
        scan.write(made, do_compress=file == "laz")
        return made.getvalue()

    huge = exported(trimesh.PointCloud(cloud), "ply").replace(b"vertex 300", b"vertex 900000000", 1)
    holes = cloud.copy()
    holes[7, 1] = np.nan
    return Examples(
        PointsPreprocess(points=64, patches=8, neighbours=4, window=4.0),
        {
            ".ply": exported(trimesh.PointCloud(cloud), "ply"),
            ".obj": exported(box, "obj"),
            ".stl": exported(box, "stl"),
            ".xyz": "\n".join(" ".join(map(str, row)) for row in cloud).encode(),
            ".las": las("las"),
            ".laz": las("laz"),
            ".npy": npy(cloud),
        },
        large=npy(np.concatenate([cloud, cloud + np.array((40, 0, 0)), cloud + np.array((0, 40, 0))])),
        bad={
            "nothing": b"",
            "a text": b"nothing of the kind",
            "no points": npy(np.zeros((0, 3))),
            "one point": npy(np.ones((1, 3))),
            "one place": npy(np.ones((50, 3))),
            "two axes": npy(cloud[:, :2]),
            "NaN": npy(holes),
            "far away": npy(cloud * 1e30),
            "objects": npy(np.array([[None] * 3] * 9)),
            "no faces": b"solid nothing\nendsolid nothing\n",
            "no area": b"v 0 0 0\nv 1 1 1\nv 2 2 2\n" * 3 + b"f 1 2 3\n",
            "an announcement": huge,
        },
    )


def _volume() -> Examples:
    values = np.random.default_rng(0).normal(100, 10, (12, 14, 10)).astype(np.float32)

    def nifti(values: np.ndarray) -> bytes:
        return bytes(nibabel.Nifti1Image(values, np.diag([1.0, 1, 2, 1])).to_bytes())

    return Examples(
        VolumePreprocess(spacing=2.0, patch=8),
        {
            ".nii": nifti(values),
            ".nii.gz": gzip.compress(nifti(values)),
            ".nrrd": scans.nrrd_file(),
            ".dcm": scans.saved(scans.dicom()),
            ".dcm.zip": scans.series(*scans.whole()),
            ".npy": npy(values),
        },
        large=nifti(np.tile(values, (2, 2, 2))),
        bad={
            "four axes": nifti(np.zeros((4, 4, 4, 3), np.float32)),
            "complex": nifti(np.zeros((4, 4, 4), np.complex64)),
            "objects": npy(np.array([[[None]]])),
            "no voxels": npy(np.zeros((0, 4, 4), np.float32)),
            "no number": npy(np.full((4, 4, 4), np.nan, np.float32)),
            "no place in space": scans.nrrd_file(**{"space directions": np.ones((3, 3))}),
            "a missing slice": scans.series(*scans.whole()[:2], *scans.whole()[3:]),
        },
    )


def film(frames: Sequence[np.ndarray], container: str, codec: str) -> bytes:
    """Frames uint8 [H, W, 3] as a file of moving pictures."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as opened:
        stream = opened.add_stream(codec, rate=25, width=32, height=24, pix_fmt="yuv420p")
        opened.start_encoding()  # writes a header even where no frame follows
        for frame in frames:
            opened.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        opened.mux(stream.encode())
    return file.getvalue()


def animation(frames: Sequence[np.ndarray], kind: str) -> bytes:
    file = io.BytesIO()
    first, *others = map(Image.fromarray, frames)
    first.save(file, kind, save_all=True, append_images=others)
    return file.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def tar(file: Path, members: Mapping[str, bytes], mode: Any = "w") -> Path:
    """A shard of a WebDataset, say."""
    with tarfile.open(file, mode) as archive:
        for name, content in members.items():
            facts = tarfile.TarInfo(name)
            facts.size = len(content)
            archive.addfile(facts, io.BytesIO(content))
    return file


def sound(values: np.ndarray, kind: str, coding: str | None = None, rate: int = 16_000) -> bytes:
    """Samples [S] or [S, channels] as a file."""
    file = io.BytesIO()
    soundfile.write(file, values, rate, format=kind, subtype=coding)
    return file.getvalue()


def npy(values: np.ndarray) -> bytes:
    """The array as a .npy file."""
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    return file.getvalue()


def _picture(kind: str, side: int = 24) -> bytes:
    file = io.BytesIO()
    Image.fromarray(_colours(side, side)).save(file, kind)
    return file.getvalue()


def _colours(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, (height, width, 3), dtype=np.uint8)
