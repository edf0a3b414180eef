"""Textured triangles, and what a camera sees of them by casting a ray through each pixel.

Rays are cast by Embree (Wald et al. 2014, doi:10.1145/2601097.2601199). Light comes from everywhere, a little more from
above: what a camera sees of a surface does not depend on where it stands, as a field without directions needs it.
"""
# F faces, H x W pixels of a view, V views

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from enfold.errors import BadItem

_SKY = np.array([0.25, -0.35, 0.9])  # where most light comes from
_AMBIENT = 0.7  # share of the light that comes from everywhere


@dataclass(frozen=True)
class Mesh:
    """Triangles with a place in a texture each; a plain colour is a texture of one pixel."""

    corners: np.ndarray  # float64 [F, 3, 3]
    uv: np.ndarray  # float64 [F, 3, 2]
    texture: np.ndarray  # int64 [F], position in textures
    textures: tuple[np.ndarray, ...]  # uint8 [h, w, 3]

    def moved(self, turn: np.ndarray, by: np.ndarray) -> "Mesh":
        """Turned by a matrix [3, 3] about 0, then moved."""
        return Mesh(self.corners @ turn.T + by, self.uv, self.texture, self.textures)

    @property
    def bounds(self) -> np.ndarray:
        """Lowest and highest corner, [2, 3]."""
        return np.stack([self.corners.min((0, 1)), self.corners.max((0, 1))])


def load(model: bytes, files: dict[str, bytes]) -> Mesh:
    """A model (.obj) with the materials and textures beside it, by name. Raises BadItem for one without any surface."""
    beside = trimesh.resolvers.ZipResolver({name: BytesIO(content) for name, content in files.items()})
    found: Any = trimesh.load(
        BytesIO(model), file_type="obj", resolver=beside, process=False, split_object=False, group_material=True
    )
    pieces = [piece for piece in getattr(found, "geometry", {"": found}).values() if len(getattr(piece, "faces", ()))]
    if not pieces:
        raise BadItem("the model has no surface")
    return join([_piece(piece) for piece in pieces])


def quad(corners: np.ndarray, texture: np.ndarray, repeat: tuple[float, float] = (1, 1)) -> Mesh:
    """A flat piece of four corners [4, 3] in their order round it, its texture [h, w, 3] laid out so many times."""
    uv = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * repeat
    order = [[0, 1, 2], [0, 2, 3]]
    return Mesh(corners[order], uv[order], np.zeros(2, np.int64), (texture,))


def join(meshes: Sequence[Mesh]) -> Mesh:
    first = np.cumsum([0, *(len(mesh.textures) for mesh in meshes)])
    return Mesh(
        np.concatenate([mesh.corners for mesh in meshes]),
        np.concatenate([mesh.uv for mesh in meshes]),
        np.concatenate([mesh.texture + start for mesh, start in zip(meshes, first[:-1], strict=True)]),
        tuple(texture for mesh in meshes for texture in mesh.textures),
    )


class Eye:
    """What is seen of a mesh from anywhere."""

    def __init__(self, mesh: Mesh):
        self._mesh = mesh
        bare = trimesh.Trimesh(
            mesh.corners.reshape(-1, 3), np.arange(3 * len(mesh.corners)).reshape(-1, 3), process=False
        )
        self._rays = RayMeshIntersector(bare, scale_to_box=False)
        across = np.cross(mesh.corners[:, 1] - mesh.corners[:, 0], mesh.corners[:, 2] - mesh.corners[:, 0])
        self._normals = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
        # A model's faces look either way.
        facing = np.abs(self._normals @ (_SKY / np.linalg.norm(_SKY)))
        self._light = _AMBIENT + (1 - _AMBIENT) * facing

    def colours(self, starts: np.ndarray, ways: np.ndarray) -> np.ndarray:
        """Of the first thing that each ray [N, 3] meets, float32 [N, 3] in [0, 1]; black where it meets none."""
        face = self._rays.intersects_first(starts, ways)
        met = np.flatnonzero(face >= 0)
        face = face[met]
        normal, corner = self._normals[face], self._mesh.corners[face]
        slant = (normal * ways[met]).sum(1)
        far = (normal * (corner[:, 0] - starts[met])).sum(1) / np.where(np.abs(slant) < 1e-12, 1e-12, slant)
        points = starts[met] + far[:, None] * ways[met]
        weights = trimesh.triangles.points_to_barycentric(corner, points)
        uv = (self._mesh.uv[face] * np.nan_to_num(weights)[..., None]).sum(1)
        found = np.zeros((len(starts), 3), np.float32)
        found[met] = self._texels(self._mesh.texture[face], uv) * self._light[face, None]
        return found

    def _texels(self, which: np.ndarray, uv: np.ndarray) -> np.ndarray:
        """The nearest pixel of each one's texture, [N, 3] in [0, 1]; v runs upwards, and textures repeat."""
        found = np.empty((len(uv), 3))
        for number in np.unique(which):
            own, texture = which == number, self._mesh.textures[number]
            height, width = texture.shape[:2]
            column, row = (uv[own] * (width, height)).astype(int).T
            found[own] = texture[(height - 1 - row) % height, column % width]
        return found / 255


def view(place: np.ndarray, target: np.ndarray, side: int, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Rays through the pixels of a square picture, row by row: starts and unit ways [H W, 3]; z is upwards.

    place, target   where the camera stands and what it looks at
    degrees         how much it sees from side to side
    """
    ahead = (target - place) / np.linalg.norm(target - place)
    right = np.cross(ahead, (0, 0, 1))
    right /= np.linalg.norm(right)
    at = ((np.arange(side) + 0.5) / side * 2 - 1) * np.tan(np.deg2rad(degrees) / 2)
    x, y = np.meshgrid(at, -at)
    ways = ahead + x[..., None] * right + y[..., None] * np.cross(right, ahead)
    ways = (ways / np.linalg.norm(ways, axis=-1, keepdims=True)).reshape(-1, 3)
    return np.broadcast_to(place, ways.shape).copy(), ways


def _piece(piece: Any) -> Mesh:
    faces = np.asarray(piece.faces)
    corners = np.asarray(piece.vertices, np.float64)[faces]
    material, uv = getattr(piece.visual, "material", None), getattr(piece.visual, "uv", None)
    colour = np.asarray(getattr(material, "main_color", (180, 180, 180)), np.uint8)[:3]
    texture = colour[None, None]
    image = getattr(material, "image", None)
    if image is not None and uv is not None:
        texture = np.asarray(image.convert("RGB"))
    mapped = np.zeros((len(faces), 3, 2)) if uv is None else np.nan_to_num(np.asarray(uv, np.float64))[faces]
    return Mesh(corners, mapped, np.zeros(len(faces), np.int64), (texture,))
