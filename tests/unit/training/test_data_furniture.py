"""The furniture: turned and sized as its catalogue says, sampled evenly, called by what its name names."""

import zipfile

import numpy as np
import pytest
import trimesh

from enfold import modalities
from enfold.errors import BadItem
from training.data.builders import furniture
from training.data.sources import open_dataset

BOX = trimesh.creation.box((1, 1, 1)).export(file_type="obj").encode()
CATALOGUE = """id#1=Test#box
name#1=Garden chair
category#1=Exterior
model#1=/test/box.obj
width#1=40
depth#1=20
height#1=80
creator#1=Somebody
name#2=Rug
category#2=Living room
model#2=/test/empty.obj
width#2=100
depth#2=100
height#2=1
"""


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Garden chair", "chair"),
        ("Armchair", "armchair"),
        ("Desk lamp", "lamp"),
        ("Glass table", "table"),
        ("Sitting female", "person"),
        ("Palm tree", "plant"),
        ("Oriental rug", None),
        ("Chairman", None),
    ],
)
def test_a_type_is_a_word_of_the_name(name, kind):
    assert furniture.type_of(name) == kind


def test_a_model_becomes_points_on_its_surface(tmp_path):
    folder = tmp_path / "package" / "usr/share/sweethome3d/furniture"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "Test.sh3f", "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", CATALOGUE)
        archive.writestr("test/box.obj", BOX)
        archive.writestr("test/empty.obj", "v 0 0 0\nv 1 0 0\n")
    target = tmp_path / "built"
    target.mkdir()
    furniture.build({"sweethome3d-furniture": tmp_path / "package"}, target)
    dataset = open_dataset(str(target), data=tmp_path / "data")
    assert [(record.label, record.payload["name"]) for record in dataset.records] == [("chair", "Garden chair")]
    cloud = dataset.read(0, modalities.get("points")(None))
    assert len(cloud) == furniture.POINTS
    np.testing.assert_allclose(np.ptp(cloud, axis=0), (40, 20, 80), atol=0.5)  # to the right, back, upwards
    on_a_side = [np.isclose(cloud[:, axis], cloud[:, axis].min(), atol=0.2).mean() for axis in range(3)]
    area = np.array([20 * 80, 40 * 80, 40 * 20])
    np.testing.assert_allclose(on_a_side, area / area.sum() / 2, atol=0.03)


def test_a_rotation_of_the_catalogue_stands_a_model_up():
    facts = {"width": "10", "depth": "20", "height": "30"}
    long = trimesh.creation.box((1, 9, 1)).export(file_type="obj").encode()  # y is upwards in a model
    lying = furniture.surface(long, facts | {"modelRotation": "1 0 0 0 0 -1 0 1 0"})
    np.testing.assert_allclose(np.ptp(lying, axis=0), (10, 20, 30), atol=0.5)
    with pytest.raises(BadItem, match="no surface"):
        furniture.surface(b"v 0 0 0\nv 1 0 0\nv 1 1 0\n", facts)
