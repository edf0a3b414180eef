"""Laws of data sets and of the sources they are opened from."""

import json
import os
import shutil
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from enfold import modalities
from enfold.errors import BadItem, UnknownName, WrongUse
from enfold.listing import SPLITS
from tests.examples import tar
from tests.unit.training import tiny
from tests.unit.training.data_pictures import paint, picture
from training.data.sources import open_dataset


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "home" / "data"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of ten pictures."""
    for seed in range(20):
        paint(tmp_path / "photos" / ("cat" if seed < 10 else "dog") / f"{seed:02d}.png", seed)
    return tmp_path / "photos"


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def sentence(source: Path, data: Path) -> str:
    with pytest.raises(WrongUse) as refused:
        open_dataset(str(source), data=data)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_sub_folders_are_classes(photos, data):
    dataset = open_dataset(str(photos), data=data)
    assert (dataset.name, dataset.modality, dataset.classes, len(dataset)) == ("photos", "image", ("cat", "dog"), 20)
    assert [record.id for record in dataset.records[:2]] == ["cat/00.png", "cat/01.png"]
    assert dataset.labels().dtype == np.int64
    assert dataset.labels().tolist() == [0] * 10 + [1] * 10


def test_a_part_keeps_the_classes_of_the_whole(photos, data):
    dataset = open_dataset(str(photos), data=data)
    parts = [dataset.split(name) for name in SPLITS]
    assert sum(map(len, parts)) == len(dataset)
    assert {part.classes for part in parts} == {("cat", "dog")}
    dogs = dataset.subset(np.flatnonzero(dataset.labels() == 1))
    assert dogs.labels().tolist() == [1] * 10
    assert len({dataset.fingerprint, dogs.fingerprint, *(part.fingerprint for part in parts)}) == 5


def test_an_unknown_split_is_named(photos, data):
    with pytest.raises(UnknownName, match=r"unknown split 'validation'.*test, train, val"):
        open_dataset(str(photos), data=data).split("validation")


def test_shortening_keeps_val_and_test_and_the_same_items_every_time(photos, data):
    dataset = open_dataset(str(photos), data=data)
    short = dataset.shortened(5)
    assert len(short.split("train")) == 5
    assert len(short.split("test")) == len(dataset.split("test"))
    assert {record.id for record in dataset.shortened(4).records} < {record.id for record in short.records}
    assert dataset.shortened(None) is dataset.shortened(1000) is dataset.shortened(None, 1000) is dataset
    few = dataset.shortened(None, 1)
    assert [len(few.split(name)) for name in ("val", "test")] == [1, 1]
    assert len(few.split("train")) == len(dataset.split("train"))


def test_training_items_of_a_list_are_left_out_and_no_others(photos, data, tmp_path):
    dataset = open_dataset(str(photos), data=data)
    doubtful, held_out = dataset.split("train").records[0].id, dataset.split("test").records[0].id
    listed = tmp_path / "list.csv"
    listed.write_text(f'"id","item"\n"x","{doubtful}"\n"y","{held_out}"\n"z","of another set"\n')
    left = dataset.without(str(listed))
    assert {record.id for record in dataset.records} - {record.id for record in left.records} == {doubtful}
    assert left.fingerprint != dataset.fingerprint
    assert dataset.without(None) is dataset
    for content, words in ((f"item\n{held_out}\n", "names no training item"), ("id\nx\n", "names no training item")):
        listed.write_text(content)
        with pytest.raises(WrongUse, match=words):
            dataset.without(str(listed))
    with pytest.raises(WrongUse, match="cannot be read"):
        dataset.without(str(tmp_path / "nowhere.csv"))


def test_items_are_decoded_by_their_modality(photos, data):
    image = modalities.get("image")(None)
    read = open_dataset(str(photos), data=data).read(3, image)
    assert (read == np.asarray(picture(3))).all()


def test_items_at_the_top_have_no_label(photos, data):
    paint(photos / "stray.png", 99)
    dataset = open_dataset(str(photos), data=data)
    assert dataset.classes == ("cat", "dog")
    assert dataset.labels()[-1] == -1
    assert dataset.records[-1].label is None


def test_folders_named_as_splits_are_splits(tmp_path, data):
    for seed, split in enumerate(SPLITS):
        paint(tmp_path / "set" / split / "cat" / "1.png", seed)
    dataset = open_dataset(str(tmp_path / "set"), data=data)
    assert dataset.classes == ("cat",)
    assert {record.id: record.split for record in dataset.records} == {f"{s}/cat/1.png": s for s in SPLITS}


def test_copies_share_group_and_split(photos, data):
    for seed in range(20):
        picture(seed).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photos / "cat" / f"copy{seed:02d}.jpg")
    dataset = open_dataset(str(photos), data=data)
    places = {record.group: record.split for record in dataset.records}
    assert len(places) == 20
    assert all(places[record.group] == record.split for record in dataset.records)


def test_what_cannot_be_read_is_skipped_with_the_reason(photos, data):
    (photos / "cat" / "empty.png").touch()
    (photos / "dog" / "cut.png").write_bytes((photos / "dog" / "15.png").read_bytes()[:300])
    (photos / "notes.txt").write_text("taken in May")
    (photos / ".DS_Store").write_bytes(b"\0")
    dataset = open_dataset(str(photos), data=data)
    assert len(dataset) == 20
    assert [item for item, _ in dataset.skipped] == ["cat/empty.png", "dog/cut.png", "notes.txt"]
    assert "0 bytes" in dict(dataset.skipped)["cat/empty.png"]
    assert dict(dataset.skipped)["notes.txt"] == "a text among image items"


def test_items_are_looked_at_once_until_a_file_changes(photos, data, monkeypatch):
    first = open_dataset(str(photos), data=data)
    image = modalities.get("image")
    read = []
    monkeypatch.setattr(image, "read", lambda self, item, plain=image.read: read.append(item) or plain(self, item))
    again = open_dataset(str(photos), data=data)
    assert read == []
    assert again == first
    paint(photos / "cat" / "00.png", 77)
    os.utime(photos / "cat" / "00.png", ns=(1, 1))
    changed = open_dataset(str(photos), data=data)
    assert len(read) == 20
    assert changed.fingerprint != first.fingerprint


def test_moving_a_folder_keeps_its_fingerprint(photos, data):
    before = open_dataset(str(photos), data=data).fingerprint
    shutil.move(photos, photos.parent / "elsewhere")
    assert open_dataset(str(photos.parent / "elsewhere"), data=data).fingerprint == before


def test_a_file_that_vanished_is_a_bad_item_with_its_name(photos, data):
    dataset = open_dataset(str(photos), data=data)
    (photos / "cat" / "00.png").unlink()
    with pytest.raises(BadItem, match=r"cat/00\.png: the file cannot be read \(No such file"):
        dataset.read(0, modalities.get("image")(None))


def test_a_manifest_says_the_same_in_csv_parquet_and_jsonl(photos, data):
    rows = [
        {
            "id": f"00{i}",
            "path": f"cat/0{i}.png",
            "label": str(i % 2),
            "group": f"g{i}",
            "split": "train",
            "size": i + 0.5,
        }
        for i in range(4)
    ]
    parquet.write_table(pa.Table.from_pylist(rows), photos / "list.parquet")
    write_jsonl(photos / "list.jsonl", rows)
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    (photos / "list.csv").write_text("\n".join(lines))
    opened = [open_dataset(str(photos / f"list.{suffix}"), data=data) for suffix in ("csv", "parquet", "jsonl")]
    assert opened[0] == opened[1] == opened[2]
    assert opened[0].records[0].id == "000"
    assert opened[0].classes == ("0", "1")
    assert opened[0].records[3].payload == {"size": 3.5}
    assert opened[0].records[0].path == photos / "cat" / "00.png"


def test_a_column_of_text_makes_a_text_data_set(tmp_path, data):
    rows = [{"text": "A cat sat."}, {"text": "a  cat SAT."}, {"text": "dogs, in\nrain", "label": "", "year": 1961}]
    dataset = open_dataset(str(write_jsonl(tmp_path / "texts.jsonl", rows)), data=data)
    assert dataset.modality == "text"
    assert dataset.classes == ()
    assert dataset.labels().tolist() == [-1, -1, -1]
    assert [record.group for record in dataset.records] == ["000001", "000001", "000003"]
    assert dataset.records[2].payload == {"year": 1961}
    assert dataset.read(2, modalities.get("text")(None)) == "dogs, in\nrain"


def test_a_caption_beside_a_path_is_payload(photos, data):
    rows = [{"path": "cat/00.png", "text": "a cat"}]
    dataset = open_dataset(str(write_jsonl(photos / "captions.jsonl", rows)), data=data)
    assert dataset.modality == "image"
    assert dataset.records[0].payload == {"text": "a cat"}


def test_given_splits_are_kept(photos, data):
    rows = [{"path": f"cat/0{i}.png", "split": SPLITS[i % 3]} for i in range(9)]
    dataset = open_dataset(str(write_jsonl(photos / "list.jsonl", rows)), data=data)
    assert [record.split for record in dataset.records] == [SPLITS[i % 3] for i in range(9)]


def test_a_table_without_anything_that_names_items_is_its_rows(tmp_path, data):
    (tmp_path / "rows.csv").write_text("," + "age,sex,id,label\n" + "".join(f"{i},{i},f,r{i},x\n" for i in range(9)))
    dataset = open_dataset(str(tmp_path / "rows.csv"), data=data)
    assert (dataset.modality, len(dataset), dataset.classes) == ("table", 9, ("x",))
    assert dataset.read(3, modalities.get("table")(None)) == {"age": 3.0, "sex": "f"}
    assert dataset.records[3].payload["age"] == 3
    assert dataset.records[3].id == "r3"


def test_copies_of_a_row_share_a_split_and_a_column_may_hold_rows(tmp_path, data):
    rows = [{"table": {"a": i % 30, "b": "x"}, "study": str(i % 2), "label": "even" * (1 - i % 2)} for i in range(60)]
    dataset = open_dataset(str(write_jsonl(tmp_path / "rows.jsonl", rows)), data=data)
    assert dataset.modality == "table"
    assert len({record.group for record in dataset.records}) == 30
    assert len(dataset.only({"study": ["1"]})) == 30
    assert dataset.only({}) is dataset
    assert len(dataset.only({"label": ["even"]})) == 30
    with pytest.raises(WrongUse, match=r"no item of 'rows' has study \['9'\]"):
        dataset.only({"study": ["9"]})


def test_what_is_wrong_with_a_manifest_is_said(photos, data):
    def refusal(*rows: dict) -> str:
        return sentence(write_jsonl(photos / "list.jsonl", list(rows)), data)

    good = {"path": "cat/00.png"}
    assert "Empty JSON file" in refusal()
    without = write_jsonl(photos / "list.jsonl", [{"image": "x", "label": "y"}])
    with pytest.raises(
        WrongUse, match="needs a column 'path' or 'text', or in Parquet one of bytes; it has: image, label"
    ):
        open_dataset(str(without), data=data, modality="image")
    assert "item 2: there is no file" in refusal(good, {"path": "cat/none.png"})
    assert "item 2: column 'path' is empty" in refusal(good, {"path": None})
    assert "split 'dev' is none of train, val, test" in refusal({**good, "split": "dev"})
    assert "some items a split and some none" in refusal({**good, "split": "val"}, {"path": "cat/01.png"})
    assert "lists 'cat/00.png' more than once" in refusal(good, good)
    (photos / "song.unknown").touch()
    assert "of no known kind; accepted suffixes: .wav" in refusal({"path": "song.unknown"})
    (photos / "a.txt").write_text("a")
    assert "mixes kinds of items: image (00.png), text (a.txt)" in refusal(good, {"path": "a.txt"})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.csv", b""),
        ("m.csv", b"path,label\na,b,c\n"),
        ("m.csv", b"path\n\xff\xfe\n"),
        ("m.parquet", b"PAR1"),
        ("m.jsonl", b"{"),
        ("m.jsonl", b"[1]\n"),
    ],
)
def test_a_broken_manifest_is_one_sentence(tmp_path, data, name, content):
    (tmp_path / name).write_bytes(content)
    assert "cannot be read as" in sentence(tmp_path / name, data)


def test_a_folder_without_items_names_the_accepted_suffixes(tmp_path, data):
    (tmp_path / "void").mkdir()
    (tmp_path / "void" / "song.unknown").touch()
    assert "holds no readable files; accepted suffixes: " in sentence(tmp_path / "void", data)


def test_a_folder_of_damaged_items_says_what_ails_the_first(tmp_path, data):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no picture")
    assert "none of the 1 items of 'bad' can be read; the first is a.png: these bytes" in sentence(
        tmp_path / "bad", data
    )


def test_a_source_that_is_nothing_lists_what_there_is(tmp_path, data):
    with pytest.raises(
        UnknownName,
        match=r"unknown data set 'emojis'\. Did you mean 'emoji'\? Known: bandits, brain_.*brown, .*emoji, ",
    ):
        open_dataset("emojis", data=data)
    (tmp_path / "one.png").touch()
    assert "is no manifest (.csv, .parquet, .jsonl)" in sentence(tmp_path / "one.png", data)


def test_a_built_in_set_that_is_not_here_names_the_command(data):
    with pytest.raises(WrongUse, match="enfold data fetch emoji"):
        open_dataset("emoji", data=data)


def test_a_folder_of_scans_opens_and_copies_share_a_group(tmp_path, data):
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(4, 4, 4)))
    (tmp_path / "copy_of_a.npy").write_bytes((tmp_path / "a.npy").read_bytes())
    dataset = open_dataset(str(tmp_path), data=data)
    assert (dataset.modality, len(dataset)) == ("volume", 4)
    groups = {record.id: record.group for record in dataset.records}
    assert groups["a.npy"] == groups["copy_of_a.npy"] != groups["b.npy"]


def test_files_of_several_kinds_are_read_as_what_is_asked_for(photos, data):
    with pytest.raises(WrongUse, match=r"holds no text files; accepted suffixes: \.txt"):
        open_dataset(str(photos), data=data, modality="text")


def test_a_webdataset_and_a_parquet_of_bytes_open_as_the_folder_they_were_made_of(photos, data, tmp_path):
    folder = open_dataset(str(photos), data=data)
    files = [(record.id, record.label, record.path.read_bytes()) for record in folder.records]
    (tmp_path / "shards").mkdir()
    pairs = [((f"{i:03}.png", content), (f"{i:03}.cls", label.encode())) for i, (_, label, content) in enumerate(files)]
    tar(tmp_path / "shards" / "all-000.tar", dict(chain.from_iterable(pairs)))
    ids, labels, contents = zip(*files, strict=True)
    parquet.write_table(pa.table({"id": ids, "label": labels, "image": contents}), tmp_path / "all.parquet")
    (tmp_path / "parts").mkdir()
    for number, part in enumerate((slice(0, 7), slice(7, None))):
        cells = pa.table({"id": ids[part], "label": labels[part], "image": contents[part]})
        parquet.write_table(cells, tmp_path / "parts" / f"part-{number:05}.parquet")
    image = modalities.get("image")(None)
    shards = tmp_path / "shards"
    for source in (shards, shards / "all-000.tar", tmp_path / "all.parquet", tmp_path / "parts"):
        found = open_dataset(str(source), data=data, modality="image")
        assert (found.modality, found.classes, len(found)) == ("image", folder.classes, len(folder))
        assert found.labels().tolist() == folder.labels().tolist()
        np.testing.assert_array_equal(found.read(5, image), folder.read(5, image))
        groups = [sorted(Counter(record.group for record in one.records).values()) for one in (found, folder)]
        assert groups[0] == groups[1]
    with pytest.raises(WrongUse, match="holds files in column 'image': say what they are to be read as"):
        open_dataset(str(tmp_path / "all.parquet"), data=data)


def pairs(photos: Path, **changed: object) -> Path:
    """Twenty pictures with captions, of which the fourth is other than the rest."""
    rows: list[dict] = [
        {"path": f"{'cat' if n < 10 else 'dog'}/{n:02d}.png", "caption": f"animal {n}"} for n in range(20)
    ]
    rows[3] |= changed
    return write_jsonl(photos / "pairs.jsonl", rows)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"caption": None}, "column 'caption' holds nothing: fill it, or leave the item out"),
        ({"caption": " "}, "column 'caption'"),
        ({"caption": ""}, "column 'caption'"),
    ],
)
def test_a_picture_without_its_caption_is_named(photos, data, tmp_path, changed, words):
    found, reader = open_dataset(str(pairs(photos, **changed)), data=data, modality="image"), tiny.captions(tmp_path)
    with pytest.raises(BadItem, match=f"03.png.*{words}") as refused:
        [found.side(i, "caption", reader) for i in range(len(found))]
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"path": "cat/gone.png"}, "there is no file"), ({"path": None}, "column 'path' is empty")],
)
def test_a_caption_without_its_picture_is_named_before_anything_is_read(photos, data, changed, words):
    told = sentence(pairs(photos, **changed), data)
    assert "item 4" in told
    assert words in told


def test_a_file_beside_an_item_that_is_gone_is_named(photos, data):
    found = open_dataset(str(pairs(photos, caption="masks/03.png")), data=data, modality="image")
    with pytest.raises(BadItem, match=r"03.png: .*masks/03.png cannot be read|03.png: column 'caption'"):
        found.side(3, "caption", modalities.get("image")(None))
