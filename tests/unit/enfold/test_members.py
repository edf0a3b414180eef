"""Items of many files: a folder, or a .zip of one, counted and weighed before anything is unpacked."""

import base64
import io
import zipfile
from pathlib import Path

import pytest

from enfold import listing, modalities
from enfold.client import json_item
from enfold.errors import BadItem, TooLarge, WrongUse

NAMES = ("frame10.png", "frame2.png", "frame1.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (*NAMES, "notes.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def members(item: bytes | Path, max_bytes: int = 100, max_files: int = 10) -> dict[str, bytes]:
    found = modalities.members(item, (".png",), max_bytes=max_bytes, max_files=max_files)
    return {name: read() for name, read in found.items()}


def test_a_folder_and_its_zip_hold_the_same_in_the_order_people_count(folder):
    packed = modalities.zipped(folder, (".png",))
    (folder / "whole.zip").write_bytes(packed)
    assert list(members(folder)) == ["frame1.png", "frame2.png", "frame10.png"]
    assert members(folder) == members(packed) == members(folder / "whole.zip")
    assert members(folder)["frame2.png"] == b"frame2.png"


def test_limits_hold_before_anything_is_unpacked(folder):
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", b"\0" * 10**7)
    assert len(bomb.getvalue()) < 20_000
    with pytest.raises(TooLarge, match="10,000,000 bytes; they may have 100"):
        members(bomb.getvalue())
    for item in (folder, modalities.zipped(folder, (".png",))):
        with pytest.raises(TooLarge, match="has 3 files; it may have 2"):
            members(item, max_files=2)


@pytest.mark.parametrize("damage", [lambda data: data[:40], lambda data: b"", lambda data: b"PK\x03\x04" + data[9:]])
def test_a_damaged_zip_is_refused(folder, damage):
    with pytest.raises(BadItem, match=r"zip"):
        members(damage(modalities.zipped(folder, (".png",))))


def test_an_item_without_such_files_is_refused(tmp_path):
    with pytest.raises(BadItem, match=r"there are no \.png files"):
        members(tmp_path)


def test_a_folder_with_members_is_listed_as_one_item(folder):
    scan = folder / "train" / "scan7"
    scan.mkdir(parents=True)
    for name in ("1.dcm", "2.dcm"):
        (scan / name).write_bytes(b"x")
    assert listing.find(folder, (".png",), (".dcm",)) == [*map(Path, sorted(NAMES)), Path("train/scan7")]
    before = listing.state(scan)
    (scan / "2.dcm").write_bytes(b"xy")
    assert listing.state(scan) != before
    assert listing.find(scan, (), (".dcm",)) == [Path(".")]
    assert listing.places([Path(".")]) == [{}]


def test_a_client_sends_a_folder_only_where_its_files_are_one_item(folder):
    sent = json_item(folder, "video")["video"]
    assert list(members(base64.b64decode(sent))) == ["frame1.png", "frame2.png", "frame10.png"]
    with pytest.raises(WrongUse, match="is a folder, which is no image: send the files in it"):
        json_item(folder, "image")
