"""stamps: 950 pictures of Tux Paint, drawn or photographed, each with what its maker says of it; all are for testing.

Nothing of them is composed: real pictures with real captions, on white, 128 x 128 pixels. Beside each stand

    quality   its caption in English
    tag       the name of its folder, such as birds: true, and not much
    noisy     the tag; with probability 0.3 the caption of another picture

The label is the outermost folder; pictures with one caption share a group. Of a picture that is there twice, the PNG is
taken and not the SVG. Mirrored ones, which have no caption, are left out.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image

from training.data.builders import Facts, Package, write

SIDE = 128  # pixels
DPI = 96  # of a drawing whose size is told in points or centimetres
WRONG = 0.3  # of noisy captions
MANNERS = {"cartoon", "filled", "lowercase", "outlined", "plastic", "toys", "uppercase"}  # folders that name no thing
STAMPS = "usr/share/tuxpaint/stamps"

FACTS = Facts(
    name="stamps",
    modality="image",
    title="Stamps of Tux Paint: 950 pictures with English captions of their makers, 128 x 128 pixels, for testing",
    licence="GPL-2.0-only (Bill Kendrick and others, Tux Paint)",
    packages=(
        Package(
            registry="debian",
            name="tuxpaint-stamps-default",
            version="2022.06.04-1",
            file="tuxpaint-stamps-default_2022.06.04-1_all.deb",
            size_bytes=160_880_444,
            sha256="6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
            wanted=(f"{STAMPS}/",),
        ),
    ),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write items/<folders>/<name>.png and the manifest into `target`."""
    root = packages["tuxpaint-stamps-default"] / STAMPS
    found = list(captioned(root))
    captions = [caption for _, caption in found]
    rows = []
    for picture, caption in found:
        place = picture.relative_to(root).with_suffix("")
        path = target / "items" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        on_white(picture).save(path)
        tag = tag_of(place)
        rows.append(
            {
                "id": place.as_posix(),
                "path": path.relative_to(target).as_posix(),
                "label": place.parts[0],
                "group": caption,
                "split": "test",
                "title": caption,
                "quality": caption,
                "noisy": noisy(tag, caption, captions, np.random.default_rng([*place.as_posix().encode()])),
                "tag": tag,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
        )
    write(FACTS, rows, target)


def captioned(root: Path) -> Iterator[tuple[Path, str]]:
    """Every picture that has a caption, and that: the first line of the file beside it, which is in English."""
    for file in sorted(root.rglob("*.txt")):
        picture = next((one for one in map(file.with_suffix, (".png", ".svg")) if one.exists()), None)
        caption = file.read_text(encoding="utf-8").partition("\n")[0].strip()
        if picture is not None and caption:
            yield picture, caption


def tag_of(place: Path) -> str:
    """The innermost folder that names a thing, in words."""
    folders = [folder for folder in place.parent.parts if folder not in MANNERS]
    return folders[-1].lstrip("0123456789_").replace("_", " ")


def noisy(tag: str, caption: str, captions: Sequence[str], rng: np.random.Generator) -> str:
    if rng.random() >= WRONG:
        return tag
    others = [other for other in captions if other != caption]
    return others[rng.integers(len(others))]


def on_white(picture: Path) -> Image.Image:
    """The picture as large as it fits a white square."""
    content: Any = picture
    if picture.suffix == ".svg":
        content = io.BytesIO(
            resvg_py.svg_to_bytes(picture.read_text(), width=2 * SIDE, dpi=DPI, skip_system_fonts=True)
        )
    drawn = Image.open(content).convert("RGBA")
    page = Image.new("RGBA", drawn.size, "white")
    page.alpha_composite(drawn)
    fitting = page.resize(
        [max(1, round(length * SIDE / max(page.size))) for length in page.size], Image.Resampling.LANCZOS
    )
    square = Image.new("RGB", (SIDE, SIDE), "white")
    square.paste(fitting, ((SIDE - fitting.width) // 2, (SIDE - fitting.height) // 2))
    return square
