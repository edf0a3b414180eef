"""Rooms: things stand apart and inside, views have the colours of textures, fields those of views."""

import io
import json
import zipfile

import numpy as np
import pytest
import trimesh
from PIL import Image

from enfold import modalities
from enfold.errors import BadItem
from training.data import fields, meshes
from training.data.builders import rooms
from training.data.sources import open_dataset

BOX = trimesh.creation.box((1, 1, 1)).export(file_type="obj").encode()
UNIT = meshes.Mesh(
    np.asarray(trimesh.creation.box((1, 1, 1)).triangles) + 0.5,
    np.zeros((12, 3, 2)),
    np.zeros(12, np.int64),
    (np.array([[[200, 40, 20]]], np.uint8),),
)
KINDS = ("bed", "chair", "table", "cabinet", "sofa", "armchair")


def thing(kind: str, size: tuple[float, float, float], name: str = "a") -> rooms.Thing:
    return rooms.Thing(f"{kind}-{name}", kind, UNIT.moved(np.diag(size), np.zeros(3)))


def pool() -> list[rooms.Thing]:
    sizes = ((1.6, 2.1, 0.8), (0.5, 0.5, 0.9), (1.2, 0.7, 0.75), (0.9, 0.4, 1.8), (2.0, 0.9, 0.8), (0.8, 0.8, 1.0))
    return [thing(kind, size) for kind, size in zip(KINDS, sizes, strict=True)]


@pytest.mark.parametrize("kind", rooms.KINDS)
def test_things_stand_on_the_floor_inside_and_apart(kind):
    for seed in range(8):
        walls, placed = rooms.furnished(kind, pool(), np.random.default_rng(0), np.random.default_rng(seed))
        low, high = (np.array([one.mesh.bounds[end] for one in placed]) for end in (0, 1))
        assert len(placed) >= 1
        np.testing.assert_allclose(low[:, 2], 0, atol=1e-9)
        assert (low[:, :2] > 0).all()
        assert (high < walls.bounds[1]).all()
        for i in range(len(placed)):
            for j in range(i):
                assert ((high[i] <= low[j]) | (low[i] >= high[j]))[:2].any()
        for one in placed:
            own = rooms.box_of(one)
            np.testing.assert_allclose(
                sorted(own["size"][:2]), sorted(np.ptp(one.thing.mesh.bounds, axis=0)[:2]), atol=1e-3
            )


def test_what_stands_at_walls_has_its_back_to_one():
    """The back of a thing is its highest y before it is turned."""
    size = np.array([4.0, 4, 2.4])
    marked = thing("sofa", (2.0, 0.9, 0.8))
    for seed in range(8):
        placed = rooms._place(marked, size, [], np.random.default_rng(seed))
        assert placed is not None
        back = placed.mesh.corners[marked.mesh.corners[..., 1] > 0.89]
        assert min(np.ptp(back[:, 0]), np.ptp(back[:, 1])) < 1e-6
        axis = int(np.argmin([np.ptp(back[:, 0]), np.ptp(back[:, 1])]))
        assert min(back[0, axis], size[axis] - back[0, axis]) == pytest.approx(0.05)


def test_walls_of_one_house_have_one_colour():
    one, other, elsewhere = (
        rooms.furnished("office", pool(), np.random.default_rng(house), np.random.default_rng(seed))[0]
        for house, seed in ((0, 1), (0, 2), (1, 1))
    )
    colours = [[texture.mean((0, 1)) for texture in walls.textures] for walls in (one, other, elsewhere)]
    np.testing.assert_allclose(colours[0], colours[1], atol=6)
    assert np.abs(np.array(colours[0]) - colours[2]).max() > 12


def test_a_camera_sees_textures_where_they_are_and_what_stands_in_front():
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[0, 0], picture[0, 1], picture[1, 0], picture[1, 1] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
    wall = meshes.quad(np.array([[-1, 2, -1], [1, 2, -1], [1, 2, 1], [-1, 2, 1.0]]), picture)
    starts, ways = meshes.view(np.array([0.0, 0, 0]), np.array([0.0, 2, 0]), 8, 50)
    seen = meshes.Eye(wall).colours(starts, ways).reshape(8, 8, 3)
    light = seen[1, 1].max()
    np.testing.assert_allclose(seen[1, 1], np.array([1, 0, 0]) * light, atol=1e-6)  # up and left
    np.testing.assert_allclose(seen[1, 6], np.array([0, 1, 0]) * light, atol=1e-6)
    np.testing.assert_allclose(seen[6, 1], np.array([0, 0, 1]) * light, atol=1e-6)
    cube = UNIT.moved(np.eye(3) * 0.4, np.array([-0.2, 1, -0.2]))
    both = meshes.Eye(meshes.join([wall, cube])).colours(starts, ways).reshape(8, 8, 3)
    assert both[4, 4, 0] > 3 * both[4, 4, 1]
    np.testing.assert_allclose(both[0, 0], seen[0, 0])
    away = meshes.Eye(wall).colours(starts, -ways)
    assert not away.any()


def test_a_model_brings_its_materials(tmp_path):
    image = io.BytesIO()
    Image.new("RGB", (2, 2), (10, 200, 30)).save(image, "PNG")
    corners = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\n"
    faces = b"usemtl green\nf 1/1 2/2 3/3\nusemtl red\nf 3/3 2/2 1/1\n"
    library = b"newmtl green\nmap_Kd a.png\nnewmtl red\nKd 1 0 0\n"
    found = meshes.load(b"mtllib a.mtl\n" + corners + faces, {"a.mtl": library, "a.png": image.getvalue()})
    colours = {tuple(found.textures[number].reshape(-1, 3)[0].tolist()) for number in found.texture}
    assert colours == {(10, 200, 30), (255, 0, 0)}
    with pytest.raises(BadItem, match="no surface"):
        meshes.load(b"v 0 0 0\nv 1 0 0\n", {})


def test_a_field_is_dense_where_views_met_something_and_has_its_colour(monkeypatch):
    monkeypatch.setattr(fields, "STEPS", 120)
    rng = np.random.default_rng(0)
    walls = rooms._shell(np.array([3.0, 3, 2.4]), np.full(3, 200.0), np.full(3, 90.0), rng)
    eye = meshes.Eye(meshes.join([walls, UNIT.moved(np.eye(3), np.array([1.0, 1, 0]))]))
    views = [meshes.view(*rooms._stand(np.array([3.0, 3, 2.4]), rng), 32, 80) for _ in range(16)]
    starts, ways = (np.concatenate(column) for column in zip(*views, strict=True))
    bounds = np.array([[-0.1, -0.1, -0.1], [3.1, 3.1, 2.5]])
    density, rgb = fields.fit(starts, ways, eye.colours(starts, ways), bounds, (16, 16, 13), 0)
    assert density.shape == (16, 16, 13)
    assert density.min() >= 0
    top = density[5:10, 5:10, 4:7].max(2)  # the cube ends at 1 m, in voxels of 0.2 m from -0.1
    assert np.median(top) > 5 * np.median(density[5:10, 5:10, 8:11])
    colour = rgb[5:10, 5:10, 4:7][density[5:10, 5:10, 4:7] > 3]
    assert (colour[:, 0] > 2 * colour[:, 1]).mean() > 0.9


def test_a_house_lies_in_one_split_and_so_does_every_model(tmp_path, monkeypatch):
    monkeypatch.setattr(rooms, "HOUSES", {"train": 2, "val": 1, "test": 1})
    monkeypatch.setattr(rooms, "VIEWS", 2)
    monkeypatch.setattr(fields, "STEPS", 2)
    folder = tmp_path / "package" / "usr/share/sweethome3d/furniture"
    folder.mkdir(parents=True)
    lines, names = [], [*(kind for kind in KINDS for _ in range(10)), "Lamp", "Bed far too long", "Shelf cabinet"]
    for number, name in enumerate(names, 1):
        size = (300, 60, 60) if "long" in name else (60, 55, 80)
        facts = {"name": name.capitalize(), "category": "Living room", "model": "/test/box/box.obj"}
        facts |= dict(zip(("width", "depth", "height"), size, strict=True)) | (
            {"elevation": 150} if "Shelf" in name else {}
        )
        lines += [f"{key}#{number}={value}" for key, value in facts.items()]
    with zipfile.ZipFile(folder / "Test.sh3f", "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", "\n".join(lines))
        archive.writestr("test/box/box.obj", BOX)
    target = tmp_path / "built"
    target.mkdir()
    rooms.build({"sweethome3d-furniture": tmp_path / "package"}, target)
    dataset = open_dataset(str(target), data=tmp_path / "data")
    assert len(dataset) == 4 * 3
    assert dataset.classes == ("bedroom", "living_room", "office")
    split_of: dict[str, str] = {}
    for i, record in enumerate(dataset.records):
        assert record.group == record.id.partition("-")[0]
        for name in [record.group, *str(record.payload["things"]).split(", ")]:
            assert split_of.setdefault(name, record.split) == record.split
        grid = dataset.read(i, modalities.get("radiance")(None))
        boxes = json.loads(str(record.payload["boxes"]))
        assert {box["label"] for box in boxes} <= set(rooms.TYPES)
        for box in boxes:
            assert (np.array(box["centre"]) > grid.bounds[0]).all()
            assert (np.array(box["centre"]) < grid.bounds[1]).all()
            np.testing.assert_allclose(sorted(box["size"]), [0.55, 0.6, 0.8], atol=1e-3)
    assert not any("long" in str(record.payload) for record in dataset.records)
    models = {name for record in dataset.records for name in str(record.payload["things"]).split(", ")}
    assert not models & {"test-061", "test-062", "test-063"}  # a lamp, what is too long, what hangs on a wall
