"""rooms: radiance fields of 60 furnished rooms, fitted to synthetic views of real models.

Things come from the catalogue of Sweet Home 3D; rooms, and where things stand in them, are made up. A house has a
bedroom, a living room and an office with walls and floors of its own, and lies in one split; so does every model: no
thing that stands in a house of one split stands in a house of another. 24 views of 48 x 48 pixels are cast from within
each room, and a field of 0.15 m voxels is fitted to their colours alone. Beside it stand the boxes of its things.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from enfold.errors import BadItem
from training.data import fields, meshes
from training.data.builders import Facts, furniture, write
from training.data.builders.furniture import type_of
from training.data.meshes import Mesh
from training.data.splits import assign_splits

VOXEL, HEIGHT = 0.15, 2.4  # metres
VIEWS, SIDE, DEGREES = 24, 48, 75.0
HOUSES = {"train": 12, "val": 3, "test": 5}
# What stands in a room, and how many of each, from fewest to most.
KINDS = {
    "bedroom": {"bed": (1, 1), "cabinet": (1, 2), "table": (0, 1), "chair": (0, 1), "armchair": (0, 1)},
    "living_room": {"sofa": (1, 1), "cabinet": (0, 1), "table": (1, 1), "armchair": (0, 2), "chair": (0, 2)},
    "office": {"table": (1, 2), "cabinet": (1, 2), "chair": (1, 3), "sofa": (0, 1)},
}
TYPES = ("armchair", "bed", "cabinet", "chair", "sofa", "table")
_AT_WALLS = ("bed", "cabinet", "sofa")
_LEAST, _MOST = (0.35, 0.35, 0.4), (2.4, 2.4, 2.2)  # metres, of a thing that is taken
_ROOMS = ("Bedroom", "Kitchen", "Living room", "Office")  # categories of the catalogue
_TRIES = 60  # places that are tried for a thing before it is left out

FACTS = Facts(
    name="rooms",
    modality="radiance",
    title="Rooms: radiance fields of 60 rooms with boxes of 6 types of furniture; synthetic views of real models",
    licence=furniture.FACTS.licence,
    packages=furniture.FACTS.packages,
)


@dataclass(frozen=True)
class Thing:
    """A model in metres, its lowest corner at 0: x to the right, y to the back, z upwards."""

    id: str
    kind: str
    mesh: Mesh


@dataclass(frozen=True)
class Placed:
    thing: Thing
    mesh: Mesh


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write a .npz for each room, and the manifest, into `target`."""
    things = list(_things(packages["sweethome3d-furniture"] / "usr/share/sweethome3d/furniture"))
    splits = assign_splits([thing.id for thing in things], [thing.kind for thing in things])
    rows, house = [], 0
    for split, count in HOUSES.items():
        pool = [thing for thing, own in zip(things, splits, strict=True) if own == split]
        for _ in range(count):
            for number, kind in enumerate(KINDS):
                rng = np.random.default_rng([house, number])
                walls, placed = furnished(kind, pool, np.random.default_rng(house), rng)
                content = field_of(walls, placed, house * len(KINDS) + number)
                name = f"house{house:02}-{kind}"
                (target / f"{name}.npz").write_bytes(content)
                rows.append(
                    {
                        "id": name,
                        "path": f"{name}.npz",
                        "label": kind,
                        "group": f"house{house:02}",
                        "split": split,
                        "boxes": json.dumps([box_of(one) for one in placed]),
                        "things": ", ".join(one.thing.id for one in placed),
                        "sha256": hashlib.sha256(content).hexdigest(),
                    }
                )
            house += 1
    write(FACTS, rows, target)


def furnished(
    kind: str, pool: list[Thing], of_house: np.random.Generator, rng: np.random.Generator
) -> tuple[Mesh, list[Placed]]:
    """Walls, floor and ceiling, and things that stand on the floor without touching each other.

    of_house   the chance that the rooms of a house share: colours of walls and floors
    """
    wall, floor = of_house.uniform(90, 250, (2, 3))
    size = np.array([*rng.uniform(3.2, 4.4, 2), HEIGHT])
    placed: list[Placed] = []
    for wanted, (fewest, most) in KINDS[kind].items():
        models = [thing for thing in pool if thing.kind == wanted]
        for _ in range(int(rng.integers(fewest, most + 1))):
            found = _place(models[int(rng.integers(len(models)))], size, placed, rng)
            placed += [found] if found else []
    return _shell(size, wall, floor, rng), placed


def box_of(one: Placed) -> dict[str, Any]:
    """As task `detect` measures it, metres."""
    low, high = one.mesh.bounds
    return {
        "label": one.thing.kind,
        "centre": ((low + high) / 2).round(4).tolist(),
        "size": (high - low).round(4).tolist(),
    }


def field_of(walls: Mesh, placed: list[Placed], seed: int) -> bytes:
    """The .npz of a field that is fitted to views from within the room."""
    rng, size = np.random.default_rng(seed), walls.bounds[1]
    eye = meshes.Eye(meshes.join([walls, *(one.mesh for one in placed)]))
    views = [meshes.view(*_stand(size, rng), SIDE, DEGREES) for _ in range(VIEWS)]
    starts, ways = (np.concatenate(column) for column in zip(*views, strict=True))
    shape = tuple(int(np.ceil((along + VOXEL) / VOXEL)) for along in size)  # walls lie half a voxel inside
    low = np.full(3, -VOXEL / 2)
    bounds = np.stack([low, low + np.array(shape) * VOXEL])
    density, rgb = fields.fit(starts, ways, eye.colours(starts, ways), bounds, shape, seed)  # type: ignore[arg-type]
    file = io.BytesIO()
    colours = (rgb * 255).round().astype(np.uint8)
    np.savez_compressed(file, density=density.astype(np.float16), rgb=colours, bounds=bounds)
    return file.getvalue()


def _things(folder: Path) -> Iterator[Thing]:
    """What stands on the floor of a room and is of one of TYPES, as the catalogue turns and sizes it."""
    for library in sorted(folder.glob("*.sh3f")):
        with zipfile.ZipFile(library) as archive:
            for number, (facts, model) in enumerate(furniture.models(archive), 1):
                size = np.array([float(facts[side]) / 100 for side in ("width", "depth", "height")])
                kind = type_of(facts["name"])
                fits = (size >= _LEAST).all() and (size <= _MOST).all()
                if kind not in TYPES or facts["category"] not in _ROOMS or "elevation" in facts or not fits:
                    continue
                try:
                    mesh = _stood_up(meshes.load(model, _beside(archive, facts["model"])), facts, size)
                except BadItem:
                    continue
                yield Thing(f"{library.stem.lower()}-{number:03}", kind, mesh)


def _beside(archive: zipfile.ZipFile, model: str) -> dict[str, bytes]:
    """The files of a model's folder, by the names that the model calls them by."""
    folder = model.removeprefix("/").rpartition("/")[0] + "/"
    names = [name for name in archive.namelist() if name.startswith(folder) and not name.endswith("/")]
    return {name.removeprefix(folder): archive.read(name) for name in names}


def _stood_up(mesh: Mesh, facts: Mapping[str, str], size: np.ndarray) -> Mesh:
    turned = mesh.moved(furniture.turn_of(facts), np.zeros(3)).corners  # x to the right, y upwards, z to the front
    turned = np.stack([turned[..., 0], -turned[..., 2], turned[..., 1]], -1)
    low, extent = turned.min((0, 1)), np.maximum(np.ptp(turned, (0, 1)), 1e-9)
    return Mesh((turned - low) * size / extent, mesh.uv, mesh.texture, mesh.textures)


def _place(thing: Thing, size: np.ndarray, placed: list[Placed], rng: np.random.Generator) -> Placed | None:
    """Somewhere on the floor, turned by quarters; what stands at walls has its back to one."""
    taken = [one.mesh.bounds for one in placed]
    for _ in range(_TRIES):
        quarter = int(rng.integers(4))
        turn = np.round(_about_z(quarter * np.pi / 2))
        mesh = thing.mesh.moved(turn, np.zeros(3))
        low, high = mesh.bounds
        free = size[:2] - (high - low)[:2] - 0.1
        if (free <= 0).any():
            continue
        corner = 0.05 + rng.uniform(0, 1, 2) * free
        if thing.kind in _AT_WALLS:
            back = np.round(turn @ (0, 1, 0)).astype(int)[:2]
            corner = np.where(back > 0, 0.05 + free, np.where(back < 0, 0.05, corner))
        mesh = mesh.moved(np.eye(3), np.array([*corner, 0]) - low)
        low, high = mesh.bounds
        if all(((high + 0.08 < other[0]) | (low - 0.08 > other[1]))[:2].any() for other in taken):
            return Placed(thing, mesh)
    return None


def _about_z(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def _shell(size: np.ndarray, wall: np.ndarray, floor: np.ndarray, rng: np.random.Generator) -> Mesh:
    """Floor, ceiling and four walls, each with a texture of patches, without which no view could tell where it is."""
    x, y, z = size
    planes = {
        "floor": ((0, 0, 0), (x, 0, 0), (x, y, 0), (0, y, 0)),
        "ceiling": ((0, 0, z), (x, 0, z), (x, y, z), (0, y, z)),
        "front": ((0, 0, 0), (x, 0, 0), (x, 0, z), (0, 0, z)),
        "back": ((0, y, 0), (x, y, 0), (x, y, z), (0, y, z)),
        "left": ((0, 0, 0), (0, y, 0), (0, y, z), (0, 0, z)),
        "right": ((x, 0, 0), (x, y, 0), (x, y, z), (x, 0, z)),
    }
    pieces = []
    for name, corners in planes.items():
        colour = {"floor": floor, "ceiling": np.full(3, 240.0)}.get(name, wall)
        patches = np.clip(colour + rng.normal(0, 14, (12, 12, 1)), 0, 255).astype(np.uint8)
        pieces.append(meshes.quad(np.array(corners, float), patches))
    return meshes.join(pieces)


def _stand(size: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Where a camera stands, near a wall and above most things, and what it looks at, lower and farther in."""
    angle = rng.uniform(0, 2 * np.pi)
    out = np.array([np.cos(angle), np.sin(angle)])
    place = size[:2] / 2 * (1 + 0.85 * out / np.abs(out).max())
    target = size[:2] * rng.uniform(0.25, 0.75, 2)
    return np.array([*place, rng.uniform(1.3, 2.2)]), np.array([*target, rng.uniform(0.1, 1.1)])
