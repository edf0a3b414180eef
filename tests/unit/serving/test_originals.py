"""The item behind a point: only what a job has read, and only while it is as it was."""

import pytest

from enfold import settings
from enfold.errors import UnknownName
from serving.jobs.embed import embed
from serving.originals import original
from tests.unit.serving.conftest import pictures


@pytest.fixture
def folder(image_bundle, tmp_path, home, monkeypatch):
    found = pictures(tmp_path / "photos", 3)
    monkeypatch.chdir(tmp_path)
    embed("photos", model="tiny", to="index://things")
    monkeypatch.chdir(home)
    return found


def test_an_item_comes_as_it_lies_in_its_source(folder):
    payload = {"source": folder.as_uri(), "item": "red/0000.png"}
    assert original(settings.load(), "things", "image", payload) == (
        (folder / "red" / "0000.png").read_bytes(),
        "image/png",
    )


@pytest.mark.parametrize(
    ("collection", "source", "item"),
    [
        ("things", "photos", "../secret.png"),
        ("things", "photos", "red/added_later.png"),
        ("things", "", "photos/red/0000.png"),
        ("other", "photos", "red/0000.png"),
        ("things", "photos", None),
    ],
)
def test_payloads_lead_to_no_other_file(folder, collection, source, item):
    (folder.parent / "secret.png").write_bytes(b"secret")
    (folder / "red" / "added_later.png").write_bytes(b"secret")
    payload = {"source": (folder.parent / source).as_uri(), "item": item}
    with pytest.raises(UnknownName, match="is not kept here"):
        original(settings.load(), collection, "image", payload)


def test_an_item_that_changed_or_went_is_not_shown_as_it_is_now(folder):
    file, payload = folder / "red" / "0000.png", {"source": folder.as_uri(), "item": "red/0000.png"}
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(UnknownName, match="has changed or gone since it was embedded"):
        original(settings.load(), "things", "image", payload)
    file.unlink()
    with pytest.raises(UnknownName, match="has changed or gone"):
        original(settings.load(), "things", "image", payload)
