"""emoji_scenes: two to four OpenMoji drawings on a canvas of 64 x 64 pixels, with captions of three kinds and a mask.

The drawings and the words of their tags are real; the layouts are synthetic. Beside each scene stand

    quality   every object with its colour, and how each lies to the next from left to right
    noisy     one tag of one object; with probability 0.3 of a drawing that is not in the scene
    tag       one tag of one object: as noisy, and never wrong
    mask      a grey picture whose shades are numbers of `CLASSES`: of what kind the drawing on top is, pixel by pixel

A scene's label is the kind that most of its pixels show. Splits are of drawings: none is in scenes of two splits, and
those that look alike count as one. Left out: skin tones, which repeat their base drawing, and what Unicode lacks.
"""
# G drawings of a scene

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image

from enfold import modalities
from training.data import splits
from training.data.builders import Facts, Package, write

SCENES = {"train": 10_000, "val": 500, "test": 1_000}
SIDE, SMALLEST, LARGEST = 64, 20, 40  # pixels of a canvas; of a drawing
FEWEST, MOST = 2, 4  # drawings of a scene
WRONG = 0.3  # of noisy captions
LEAST_SEEN = 0.5  # share of a drawing that none in front of it hides
OPAQUE = 128  # alpha of 255 from which on a pixel belongs to the drawing
CLASSES = (
    "background",
    "activities",
    "animals-nature",
    "flags",
    "food-drink",
    "objects",
    "people-body",
    "smileys-emotion",
    "symbols",
    "travel-places",
)
# The eleven basic colour terms of English (Berlin and Kay 1969), as OpenMoji's palette has them.
COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (155, 155, 154),
    "red": (234, 90, 71),
    "orange": (241, 143, 38),
    "yellow": (252, 234, 43),
    "green": (92, 158, 49),
    "blue": (97, 178, 228),
    "purple": (178, 121, 191),
    "pink": (255, 167, 192),
    "brown": (165, 121, 57),
}

FACTS = Facts(
    name="emoji_scenes",
    modality="image",
    title="Scenes of OpenMoji drawings in synthetic layouts, 64 x 64 pixels, with captions of three kinds and masks",
    licence="CC-BY-SA-4.0 (drawings and tags: OpenMoji, https://openmoji.org)",
    packages=(
        Package(
            registry="npm",
            name="openmoji",
            version="17.0.0",
            file="openmoji-17.0.0.tgz",
            size_bytes=4_339_458,
            sha256="55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68",
            wanted=("package/data/openmoji.json", "package/color/svg/"),
        ),
    ),
)


@dataclass(frozen=True)
class Glyph:
    """One drawing."""

    name: str
    kind: int  # in CLASSES
    tags: tuple[str, ...]
    colour: str
    image: Image.Image  # RGBA, LARGEST pixels a side


@dataclass(frozen=True)
class Placed:
    """A drawing in a scene."""

    glyph: Glyph
    shape: np.ndarray  # bool [SIDE, SIDE], hidden parts included

    @property
    def middle(self) -> np.ndarray:
        """x and y, in pixels"""
        found: np.ndarray = np.argwhere(self.shape).mean(0)[::-1]
        return found


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write items/<split>/<number>.png, masks/<split>/<number>.png and the manifest into `target`."""
    listed = json.loads((packages["openmoji"] / "package/data/openmoji.json").read_bytes())
    drawings = packages["openmoji"] / "package/color/svg"
    kept = [one for one in listed if one["group"] in CLASSES and not one["skintone"]]
    glyphs = [glyph(one, (drawings / f"{one['hexcode']}.svg").read_text()) for one in kept]
    reader = modalities.get("image")(None)
    looks = [reader.mark(np.asarray(_on_white(one.image))) for one in glyphs]
    groups = splits.near_duplicates(looks, [one["hexcode"] for one in kept])
    split_of = splits.assign_splits(groups, [CLASSES[one.kind] for one in glyphs])
    rows = []
    for split, count in SCENES.items():
        own = [one for one, place in zip(glyphs, split_of, strict=True) if place == split]
        for folder in ("items", "masks"):
            (target / folder / split).mkdir(parents=True)
        for number in range(count):
            rng = np.random.default_rng([*split.encode(), number])
            rows.append(_row(f"{split}/{number:05}", own, rng, target))
    write(FACTS, rows, target)


def glyph(listed: Mapping[str, Any], svg: str) -> Glyph:
    """A drawing from its entry of openmoji.json and its file."""
    drawn = resvg_py.svg_to_bytes(svg, width=LARGEST, height=LARGEST, skip_system_fonts=True)
    image = Image.open(io.BytesIO(drawn)).convert("RGBA")
    words = [word.strip() for key in ("tags", "openmoji_tags") for word in listed[key].split(",")]
    tags = tuple(dict.fromkeys(word for word in words if word)) or (listed["annotation"],)
    return Glyph(listed["annotation"], CLASSES.index(listed["group"]), tags, colour_of(np.asarray(image)), image)


def colour_of(pixels: np.ndarray) -> str:
    """The colour term that most opaque pixels of RGBA [H, W, 4] are nearest to; black only where nothing else is."""
    opaque = pixels[pixels[..., 3] >= OPAQUE][:, :3].astype(int)
    nearest = ((opaque[:, None] - np.array(list(COLOURS.values()))) ** 2).sum(2).argmin(1)
    counts = np.bincount(nearest, minlength=len(COLOURS))
    counts[0] = min(counts[0], 1)  # outlines are black
    return list(COLOURS)[int(counts.argmax())]


def compose(glyphs: Sequence[Glyph], rng: np.random.Generator) -> tuple[Image.Image, list[Placed]]:
    """A scene, and its drawings from the rearmost to the foremost, each to be seen well enough to be named."""
    while True:
        scene, placed = _background(rng), []
        for one in glyphs:
            side = int(rng.integers(SMALLEST, LARGEST + 1))
            left, top = (int(place) for place in rng.integers(0, SIDE - side + 1, 2))
            small = one.image.resize((side, side), Image.Resampling.LANCZOS)
            scene.paste(small, (left, top), small)
            shape = np.zeros((SIDE, SIDE), bool)
            shape[top : top + side, left : left + side] = np.asarray(small)[..., 3] >= OPAQUE
            placed.append(Placed(one, shape))
        seen = [np.bincount(on_top(placed).ravel(), minlength=len(glyphs) + 1)[1 + i] for i in range(len(glyphs))]
        if all(count >= LEAST_SEEN * one.shape.sum() for count, one in zip(seen, placed, strict=True)):
            return scene, placed


def on_top(placed: Sequence[Placed]) -> np.ndarray:
    """Which drawing each pixel shows, counted from 1; 0 for the background: int64 [SIDE, SIDE]."""
    found = np.zeros((SIDE, SIDE), np.int64)
    for number, one in enumerate(placed, 1):
        found[one.shape] = number
    return found


def mask_of(placed: Sequence[Placed]) -> np.ndarray:
    """The class that each pixel shows, uint8 [SIDE, SIDE]."""
    return np.array([0, *(one.glyph.kind for one in placed)], np.uint8)[on_top(placed)]


def quality(placed: Sequence[Placed]) -> str:
    """All objects from left to right with their colours, each with how it lies to the next.

    placed   from the rearmost to the foremost
    """
    order = sorted(range(len(placed)), key=lambda i: placed[i].middle[0])
    words = [_named(placed[order[0]].glyph)]
    for a, b in pairwise(order):
        words += [relation(placed[a], placed[b], in_front=a > b), _named(placed[b].glyph)]
    return " ".join(words)


def relation(one: Placed, other: Placed, *, in_front: bool) -> str:
    """How a drawing lies to one further right: before or behind it where they overlap, else along what parts them.

    in_front   of the other, where they overlap
    """
    if (one.shape & other.shape).any():
        return "in front of" if in_front else "behind"
    x, y = other.middle - one.middle
    if x >= abs(y):
        return "left of"
    return "above" if y > 0 else "below"


def _named(one: Glyph) -> str:
    return one.name if one.colour in one.name else f"{one.colour} {one.name}"


def _background(rng: np.random.Generator) -> Image.Image:
    """One light colour, or a gradient between two, from the top to the bottom."""
    ends = rng.integers(170, 256, (2, 3))
    ends[1] = ends[0] if rng.random() < 0.5 else ends[1]
    way = np.linspace(0, 1, SIDE)[:, None, None]
    shades = (1 - way) * ends[0] + way * ends[1]  # [SIDE, 1, 3]
    return Image.fromarray(np.broadcast_to(shades, (SIDE, SIDE, 3)).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    page = Image.new("RGB", image.size, "white")
    page.paste(image, mask=image)
    return page


def _row(id: str, glyphs: Sequence[Glyph], rng: np.random.Generator, target: Path) -> dict[str, Any]:
    count = int(rng.integers(FEWEST, MOST + 1))
    *chosen, absent = rng.choice(len(glyphs), count + 1, replace=False)
    scene, placed = compose([glyphs[i] for i in chosen], rng)
    mask = mask_of(placed)
    tag, wrong = (str(rng.choice(one.tags)) for one in (placed[int(rng.integers(count))].glyph, glyphs[absent]))
    scene.save(target / f"items/{id}.png", compress_level=1)
    Image.fromarray(mask).save(target / f"masks/{id}.png", compress_level=1)
    return {
        "id": id,
        "path": f"items/{id}.png",
        "label": CLASSES[1 + int(np.bincount(mask.ravel(), minlength=len(CLASSES))[1:].argmax())],
        "group": id,
        "split": id.partition("/")[0],
        "title": quality(placed),
        "quality": quality(placed),
        "noisy": wrong if rng.random() < WRONG else tag,
        "tag": tag,
        "mask": f"masks/{id}.png",
        "sha256": hashlib.sha256((target / f"items/{id}.png").read_bytes()).hexdigest(),
    }
