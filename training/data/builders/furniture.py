"""furniture: 820 models of things in and around a house, as points on their surfaces, with the type of thing by name.

The catalogue of Sweet Home 3D; types of which there are ten or more are labels. Clouds are in centimetres, x to the
right, y to the back, z upwards, turned and sized as the catalogue says.
"""

import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from enfold.errors import BadItem
from training.data.builders import Facts, Package, write

POINTS = 2048
# The first type one of whose words a name has takes it; a desk lamp is a lamp, and a lamp post is one too.
TYPES = {
    "lamp": ("lamp", "lamps", "light"),
    "plug": ("plug", "switch"),
    "armchair": ("armchair",),
    "chair": ("chair", "stool"),
    "sofa": ("sofa", "couch"),
    "bed": ("bed",),
    "table": ("table", "desk"),
    "cabinet": ("cabinet", "wardrobe", "bookcase", "drawers"),
    "door": ("door",),
    "window": ("window",),
    "person": ("female", "male", "child", "woman", "man"),
    "plant": ("tree", "plant", "palm"),
}
_CATALOGUE = "PluginFurnitureCatalog.properties"
_LINE = re.compile(r"^(\w+)#(\d+)\s*=\s*(.*?)\s*$", re.MULTILINE)

FACTS = Facts(
    name="furniture",
    modality="points",
    title="Furniture: points on the surfaces of 820 things in and around a house, 12 types of thing",
    licence="CC-BY-3.0 and CC0-1.0, model by model; read the package's copyright before passing them on",
    packages=(
        Package(
            registry="debian",
            name="sweethome3d-furniture",
            version="1.8-1",
            file="sweethome3d-furniture_1.8-1_all.deb",
            size_bytes=119_782_356,
            sha256="3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668",
            wanted=("usr/share/sweethome3d/furniture",),
        ),
    ),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write a .ply of points for each model, and the manifest, into `target`."""
    rows = []
    for library in sorted((packages["sweethome3d-furniture"] / "usr/share/sweethome3d/furniture").glob("*.sh3f")):
        with zipfile.ZipFile(library) as archive:
            for number, (facts, model) in enumerate(models(archive), 1):
                try:
                    cloud = surface(model, facts)
                except BadItem:
                    continue
                file = f"{library.stem.lower()}-{number:03}.ply"
                (target / file).write_bytes(trimesh.PointCloud(cloud).export(file_type="ply"))
                words = {"name": facts["name"], "category": facts["category"], "by": facts.get("creator", "")}
                rows.append({"id": file.removesuffix(".ply"), "path": file, "label": type_of(facts["name"]), **words})
    for row in rows:
        row["group"] = row["id"]
    write(FACTS, rows, target)


def type_of(name: str) -> str | None:
    """The type of thing that a name names, None if none of TYPES."""
    words = re.findall(r"[a-z]+", name.lower())
    return next((kind for kind, known in TYPES.items() if set(words) & set(known)), None)


def surface(model: bytes, facts: Mapping[str, str]) -> np.ndarray:
    """Points drawn evenly from a model's surface, float32 [N, 3]. Raises BadItem for one without any."""
    found: Any = trimesh.load(
        trimesh.util.wrap_as_stream(model), file_type="obj", process=False, skip_materials=True, split_object=False
    )
    mesh = found.to_geometry() if isinstance(found, trimesh.Scene) else found
    if not len(getattr(mesh, "faces", ())):
        raise BadItem("the model has no surface")
    mesh.vertices = stood(np.asarray(mesh.vertices), facts)
    if not mesh.area > 0:
        raise BadItem("the model's surface has no area")
    points, _ = trimesh.sample.sample_surface(mesh, POINTS, seed=0)
    return upright(points).astype(np.float32)


def stood(vertices: np.ndarray, facts: Mapping[str, str]) -> np.ndarray:
    """A model's vertices [V, 3] as the catalogue turns and sizes it, in centimetres: to the right, upwards, front."""
    vertices = vertices @ turn_of(facts).T
    size = np.array([float(facts[side]) for side in ("width", "height", "depth")])
    sized: np.ndarray = (vertices - vertices.min(0)) * size / np.maximum(np.ptp(vertices, axis=0), 1e-9)
    return sized


def turn_of(facts: Mapping[str, str]) -> np.ndarray:
    """What stands a model up, [3, 3]."""
    return np.array(facts.get("modelRotation", "1 0 0 0 1 0 0 0 1").split(), float).reshape(3, 3)


def upright(points: np.ndarray) -> np.ndarray:
    """To the right, upwards, front -> to the right, back, upwards."""
    return np.stack([points[:, 0], -points[:, 2], points[:, 1]], 1)


def models(archive: zipfile.ZipFile) -> Iterator[tuple[dict[str, str], bytes]]:
    """What the catalogue says of each thing, and its model (.obj)."""
    facts: dict[int, dict[str, str]] = {}
    for name, number, value in _LINE.findall(archive.read(_CATALOGUE).decode("latin-1")):
        facts.setdefault(int(number), {})[name] = value
    for number in sorted(facts):
        yield facts[number], archive.read(facts[number]["model"].removeprefix("/"))
