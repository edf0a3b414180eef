"""Splats of furniture: they look as their surfaces do, and fitting them brings them nearer to that."""

import zipfile

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from enfold import modalities
from enfold.errors import BadItem
from enfold.modalities.splats import COLUMNS, SHADE, rendered
from tests.examples import splats
from training.data import splatting
from training.data.builders import furniture_splats
from training.data.sources import open_dataset
from training.data.splatting import Surface, directions, fitted, pictured, placed, powers, render

MATERIALS = "newmtl red\nKd 1 0 0\nnewmtl blue\nKd 0 0 1\n"
CATALOGUE = """name#1=Garden chair
category#1=Exterior
model#1=/test/box.obj
width#1=40
depth#1=20
height#1=80
name#2=Rug
category#2=Living room
model#2=/test/box.obj
width#2=100
depth#2=100
height#2=1
name#3=Empty chair
category#3=Living room
model#3=/test/empty.obj
width#3=1
depth#3=1
height#3=1
"""


def ball(count: int = 4000, shade: float = 0.3) -> Surface:
    normals = np.random.default_rng(0).normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return Surface(normals * 0.6, normals, np.where(normals[:, 2:] > 0, [[1, shade, shade]], [[shade, shade, 1.0]]))


def two_boxes() -> str:
    """A red box below a blue one, y upwards."""
    lines, before = ["mtllib box.mtl"], 0
    for name, height in (("red", 0.0), ("blue", 1.0)):
        box = trimesh.creation.box((1, 1, 1))
        lines += [f"v {x} {y + height} {z}" for x, y, z in box.vertices]
        lines += [f"usemtl {name}", *("f " + " ".join(str(i + 1 + before) for i in face) for face in box.faces)]
        before += len(box.vertices)
    return "\n".join(lines) + "\n"


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(furniture_splats, "SPLATS", 64)
    monkeypatch.setattr(furniture_splats, "SAMPLES", 4000)
    monkeypatch.setattr(splatting, "STEPS", 12)


def test_a_model_of_a_known_type_becomes_splats_in_its_colours(tmp_path, few):
    folder = tmp_path / "package" / "usr/share/sweethome3d/furniture"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "Test.sh3f", "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", CATALOGUE)
        archive.writestr("test/box.obj", two_boxes())
        archive.writestr("test/box.mtl", MATERIALS)
        archive.writestr("test/empty.obj", "v 0 0 0\nv 1 0 0\n")
    target = tmp_path / "built"
    target.mkdir()
    furniture_splats.build({"sweethome3d-furniture": tmp_path / "package"}, target)
    dataset = open_dataset(str(target), data=tmp_path / "data", modality="splats")
    assert [(record.id, record.label, record.payload["name"]) for record in dataset.records] == [
        ("test-001", "chair", "Garden chair")
    ]
    found = dataset.read(0, modalities.get("splats")(None))
    assert found.shape == (64, 14)
    np.testing.assert_allclose(np.ptp(found[:, :3], axis=0), (40, 20, 80), rtol=0.25)  # to the right, back, upwards
    lower, upper = (found[side, COLUMNS["sh"]].mean(0) for side in (found[:, 2] < 35, found[:, 2] > 45))
    assert lower[0] > lower[2] + 0.5
    assert upper[2] > upper[0] + 0.5


def test_textures_are_looked_up_where_they_lie(tmp_path):
    picture = Image.new("RGB", (2, 2), (0, 255, 0))
    with zipfile.ZipFile(tmp_path / "library.zip", "w") as archive:
        archive.writestr("a/leaf.mtl", "newmtl leaf\nKd 1 1 1\nmap_Kd leaf.png\n")
        with archive.open("a/leaf.png", "w") as file:
            picture.save(file, "PNG")
    model = b"mtllib leaf.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl leaf\nf 1/1 2/2 3/3\n"
    facts = {"model": "/a/leaf.obj", "width": "1", "height": "1", "depth": "1"}
    with zipfile.ZipFile(tmp_path / "library.zip") as archive:
        found = furniture_splats.surface(model, facts, archive)
        with pytest.raises(BadItem, match="no area"):
            furniture_splats.surface(model.replace(b"v 0 1 0", b"v 2 0 0"), facts, archive)
    np.testing.assert_allclose(found.shades, [[0, 1, 0]] * len(found.shades))
    np.testing.assert_allclose(np.abs(found.normals), [[0, 1, 0]] * len(found.normals), atol=1e-9)  # z was the front


def test_what_is_learnt_by_is_what_is_drawn():
    rows = splats(60)
    rows[:, :7] /= [8, 8, 8, 1, 8, 8, 8]
    for view in directions()[:3]:
        seen = render(torch.tensor(rows[None]).float(), torch.tensor(view).float(), powers(splatting.SIDE))
        drawn = rendered(rows, view, splatting.SIDE)  # which leaves out what is farther than three deviations
        np.testing.assert_allclose(seen[0].numpy().reshape(drawn.shape), drawn, atol=0.03)


def test_fitted_splats_look_more_like_the_surface_than_those_they_began_with():
    surface, views = ball(), directions()
    pictures = [pictured(surface, view, splatting.SIDE) for view in views]

    def apart(rows: np.ndarray) -> float:
        seen = [rendered(rows, view, splatting.SIDE) for view in views]
        return float(np.mean([np.abs(one - other).mean() for one, other in zip(seen, pictures, strict=True)]))

    [found] = fitted([surface], 100)
    assert apart(found) < 0.5 * apart(placed(surface, 100))


def test_fitting_several_is_fitting_each(monkeypatch):
    monkeypatch.setattr(splatting, "STEPS", 4)
    one, two = ball(), ball(shade=0.6)
    together = fitted([one, two], 40)
    for own, surface in zip(together, (one, two), strict=True):
        np.testing.assert_allclose(own, fitted([surface], 40)[0], atol=1e-4)


def test_splats_begin_flat_on_the_surface():
    surface = ball()
    rows = placed(surface, 50)
    thin = np.einsum("nij,j->ni", splatting.rotations(torch.tensor(rows[:, COLUMNS["rotation"]])).numpy(), [0, 0, 1])
    outwards = rows[:, :3] / np.linalg.norm(rows[:, :3], axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs((thin * outwards).sum(1)), 1, atol=1e-6)
    assert set(np.round(0.5 + SHADE * rows[:, 12], 6)) == {0.3}


def test_views_are_of_all_sides_and_right_handed():
    views = directions()
    np.testing.assert_allclose(views.transpose(0, 2, 1) @ views, np.tile(np.eye(3), (12, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(views[:, :, 2].sum(0), 0, atol=1e-12)
    assert (views[:, 2, 1] > 0).all()  # upwards is up
    assert len(np.unique(views[:, :, 2].round(6), axis=0)) == 12
