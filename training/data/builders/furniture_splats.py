"""furniture_splats: 319 things in and around a house as 3-D Gaussians, fitted to synthetic views of real models.

The textured models of Sweet Home 3D's catalogue whose type is known by name (`furniture`), each as 512 Gaussians that
are fitted to 12 pictures of it. Light falls from above, from the left and the front, the same on all, and a colour is
that of the model's texture or material. Lengths are in centimetres, x to the right, y to the back, z upwards.
"""

import zipfile
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from trimesh.resolvers import ZipResolver
from trimesh.visual.material import SimpleMaterial

from enfold.errors import BadItem
from enfold.modalities.splats import COLUMNS, ply
from training.data.builders import Facts, furniture, write
from training.data.splatting import Surface, fitted

SPLATS = 512
SAMPLES = 60_000  # of a surface, from which pictures are made
TOGETHER = 8  # surfaces that are fitted at a time
LIGHT = np.array([-0.4, -0.6, 0.7]) / np.linalg.norm([-0.4, -0.6, 0.7])
AMBIENT = 0.6  # of the light, from all sides

FACTS = Facts(
    name="furniture_splats",
    modality="splats",
    title="Furniture splats: 319 things in and around a house as 512 Gaussians each, fitted to synthetic views",
    licence=furniture.FACTS.licence,
    packages=furniture.FACTS.packages,
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write a .ply of splats for each model of a known type, and the manifest, into `target`."""
    rows = []
    things = _things(packages["sweethome3d-furniture"] / "usr/share/sweethome3d/furniture")
    while some := list(islice(things, TOGETHER)):
        found = fitted([surface for _, surface, _, _ in some], SPLATS)
        for (row, _, middle, radius), splats in zip(some, found, strict=True):
            splats[:, COLUMNS["xyz"]] = splats[:, COLUMNS["xyz"]] * radius + middle
            splats[:, COLUMNS["scale"]] *= radius
            (target / row["path"]).write_bytes(ply(splats))
            rows.append(row)
    write(FACTS, rows, target)


def _things(folder: Path) -> Iterator[tuple[dict[str, Any], Surface, np.ndarray, float]]:
    """The manifest's row of each model, its lit surface within 1 of 0, and its middle and radius in centimetres."""
    for library in sorted(folder.glob("*.sh3f")):
        with zipfile.ZipFile(library) as archive:
            for number, (facts, model) in enumerate(furniture.models(archive), 1):
                label = furniture.type_of(facts["name"])
                if label is None:
                    continue
                try:
                    found = surface(model, facts, archive)
                except BadItem:
                    continue
                middle = (found.points.max(0) + found.points.min(0)) / 2
                radius = float(np.linalg.norm(found.points - middle, axis=1).max())
                # Models do not agree on which side of a face is outside, so both are lit alike.
                light = AMBIENT + (1 - AMBIENT) * np.abs(found.normals @ LIGHT)
                lit = Surface((found.points - middle) / radius, found.normals, found.shades * light[:, None])
                name = f"{library.stem.lower()}-{number:03}"
                words = {"name": facts["name"], "category": facts["category"], "by": facts.get("creator", "")}
                row = {"id": name, "path": f"{name}.ply", "label": label, "group": name, **words}
                yield row, lit, middle, radius


def surface(model: bytes, facts: Mapping[str, str], archive: zipfile.ZipFile) -> Surface:
    """Samples of a model's surface in centimetres, to the right, back and upwards. Raises BadItem without any."""
    found: Any = trimesh.load(
        trimesh.util.wrap_as_stream(model),
        file_type="obj",
        resolver=_beside(facts["model"].removeprefix("/"), archive),
        process=False,
        group_material=True,
        split_object=False,
    )
    meshes = list(found.geometry.values()) if isinstance(found, trimesh.Scene) else [found]
    meshes = [mesh for mesh in meshes if len(getattr(mesh, "faces", ()))]
    if not meshes:
        raise BadItem("the model has no surface")
    ends = np.cumsum([len(mesh.vertices) for mesh in meshes])[:-1]
    together = furniture.upright(furniture.stood(np.concatenate([mesh.vertices for mesh in meshes]), facts))
    for mesh, vertices in zip(meshes, np.split(together, ends), strict=True):
        mesh.vertices = vertices
    area = np.array([mesh.area for mesh in meshes])
    if not area.sum() > 0:
        raise BadItem("the model's surface has no area")
    counts = np.round(area / area.sum() * SAMPLES).astype(int)
    parts = [_sampled(mesh, count) for mesh, count in zip(meshes, counts, strict=True) if count]
    return Surface(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _sampled(mesh: Any, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of one material's faces, their normals, and its texture's or its own colour there."""
    material = getattr(mesh.visual, "material", None) or SimpleMaterial()  # grey, where the model names none
    textured = getattr(mesh.visual, "uv", None) is not None and material.image is not None
    points, face, *colours = trimesh.sample.sample_surface(mesh, count, sample_color=textured, seed=0)
    shades = np.asarray(colours[0]) if textured else np.tile(material.main_color, (count, 1))
    normals = np.cross(*np.moveaxis(mesh.triangles[face][:, 1:] - mesh.triangles[face][:, :1], 1, 0))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    return points, normals, shades[:, :3] / 255


def _beside(path: str, archive: zipfile.ZipFile) -> ZipResolver:
    """Materials and textures that lie beside a model in its library."""
    folder = path.rpartition("/")[0] + "/"
    names = [name for name in archive.namelist() if name.startswith(folder) and not name.endswith(("/", ".obj"))]
    return ZipResolver({name.removeprefix(folder): trimesh.util.wrap_as_stream(archive.read(name)) for name in names})
