"""Where items come from: folders and manifests, each item with the same key in every run."""

import json
from itertools import chain

import pyarrow as pa
import pytest
from pyarrow import parquet

from enfold.errors import WrongUse
from serving.jobs.source import Item, open_source
from tests.examples import tar
from tests.unit.serving.conftest import pictures


def items(name, tmp_path, modality="image"):
    return list(open_source(str(name), modality=modality, data=tmp_path / "data").items())


def test_a_folder_gives_its_files_with_the_first_folder_as_label(tmp_path):
    folder = pictures(tmp_path / "photos", 3)
    (folder / "loose.PNG").touch()
    (folder / "notes.txt").touch()
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "no.png").touch()
    assert [(item.key, item.fields.get("label")) for item in items(folder, tmp_path)] == [
        ("blue/0002.png", "blue"),
        ("green/0001.png", "green"),
        ("loose.PNG", None),
        ("red/0000.png", "red"),
    ]


def test_folders_named_after_splits_are_splits(tmp_path):
    pictures(tmp_path / "photos" / "train", 1)
    pictures(tmp_path / "photos" / "test", 1)
    found = items(tmp_path / "photos", tmp_path)
    assert [item.fields for item in found] == [{"split": "test", "label": "red"}, {"split": "train", "label": "red"}]


def test_a_file_name_that_is_no_unicode_is_still_an_item(tmp_path):
    (tmp_path / "photos").mkdir()
    with open(bytes(tmp_path / "photos") + b"/caf\xe9.png", "wb"):
        pass
    [item] = items(tmp_path / "photos", tmp_path)
    assert item.key == "caf\\xe9.png"
    assert item.raw.exists()


def test_shards_and_cells_give_items_with_their_fields(tmp_path):
    folder = pictures(tmp_path / "photos", 3)
    files = [(path.stem, path.parent.name, path.read_bytes()) for path in sorted(folder.rglob("*.png"))]
    (tmp_path / "shards").mkdir()
    pairs = [((f"{stem}.png", content), (f"{stem}.cls", label.encode())) for stem, label, content in files]
    tar(tmp_path / "shards" / "train-0.tar", dict(chain.from_iterable(pairs)))
    stems, labels, contents = zip(*files, strict=True)
    parquet.write_table(pa.table({"id": stems, "label": labels, "image": contents}), tmp_path / "a.parquet")
    shards, cells = items(tmp_path / "shards", tmp_path), items(tmp_path / "a.parquet", tmp_path)
    assert [item.key for item in shards] == [f"train-0.tar/{stem}" for stem in stems]
    assert [item.fields for item in shards] == [{"split": "train", "label": label} for label in labels]
    assert [(item.key, item.fields) for item in cells] == [
        (s, {"label": n}) for s, n in zip(stems, labels, strict=True)
    ]
    assert [item.raw.read_bytes() for item in (*shards, *cells)] == [*contents, *contents]
    assert len({item.state() for item in (*shards, *cells)}) == 6
    with pytest.raises(WrongUse, match="hold no text files"):
        items(tmp_path / "shards", tmp_path, modality="text")


@pytest.mark.parametrize("place", [".", "data"])
def test_parquet_in_shards_is_one_table(tmp_path, place):
    folder = tmp_path / "reviews"
    (folder / place).mkdir(parents=True)
    names = ("test-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002")
    for name in names:
        parquet.write_table(pa.table({"text": [f"{name} {i}" for i in range(2)]}), folder / place / f"{name}.parquet")
    found = items(folder, tmp_path, modality="text")
    assert [item.raw for item in found] == [f"{name} {i}" for name in names for i in range(2)]
    assert [item.key for item in found] == [f"{number:06d}" for number in range(1, 7)]
    assert [item.fields["split"] for item in found] == ["test"] * 2 + ["train"] * 4
    parquet.write_table(pa.table({"words": ["other"]}), folder / place / "train-00002-of-00003.parquet")
    with pytest.raises(WrongUse, match=r"train-00002-of-00003.parquet has other columns than .*test-00000-of-00001"):
        items(folder, tmp_path, modality="text")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_manifest_gives_ids_paths_and_payload(tmp_path, suffix):
    rows = [
        {"id": "a", "path": "x.png", "label": "cat", "price": 2},
        {"id": "b", "path": "y.png", "label": "dog", "price": 3},
    ]
    manifest = tmp_path / f"list.{suffix}"
    if suffix == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), manifest)
    elif suffix == "csv":
        manifest.write_text("id,path,label,price\na,x.png,cat,2\nb,y.png,dog,3\n")
    else:
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert items(manifest, tmp_path) == [
        Item("a", tmp_path / "x.png", {"label": "cat", "price": 2}),
        Item("b", tmp_path / "y.png", {"label": "dog", "price": 3}),
    ]


def test_a_fetched_data_set_goes_by_its_name(tmp_path):
    (tmp_path / "data" / "emoji").mkdir(parents=True)
    parquet.write_table(
        pa.table({"path": ["x.png"], "split": ["train"]}), tmp_path / "data" / "emoji" / "manifest.parquet"
    )
    source = open_source("emoji", modality="image", data=tmp_path / "data")
    assert source.uri == "data:emoji"
    assert [item.key for item in source.items()] == ["x.png"]


def test_texts_stand_in_the_manifest_itself(tmp_path):
    (tmp_path / "texts.jsonl").write_text('{"text": "a cat", "year": 1999}\n{"text": "a dog", "year": null}\n')
    found = items(tmp_path / "texts.jsonl", tmp_path, "text")
    assert [(item.key, item.raw, item.fields) for item in found] == [
        ("000001", "a cat", {"year": 1999}),
        ("000002", "a dog", {}),
    ]


def test_the_state_changes_with_the_file_and_with_its_fields(tmp_path):
    file = tmp_path / "x.png"
    file.write_bytes(b"1")
    before = Item("x", file, {"label": "cat"}).state()
    assert Item("x", file, {"label": "cat"}).state() == before
    assert Item("x", file, {"label": "dog"}).state() != before
    file.write_bytes(b"22")
    assert Item("x", file, {"label": "cat"}).state() != before
    file.unlink()
    assert Item("x", file, {"label": "cat"}).state() != before


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("nowhere", None, "there is no source"),
        ("empty", "", "holds no image files"),
        ("bad.csv", "", "cannot be read as "),
        ("bad.parquet", "no parquet", "cannot be read as "),
        ("bad.jsonl", "{", "cannot be read as "),
        ("other.csv", "a,b\n1,2\n", "has columns a, b; image items need path"),
        ("none.csv", "path\n", "has no rows"),
    ],
)
def test_a_source_without_items_is_refused(tmp_path, name, content, sentence):
    if name == "empty":
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(WrongUse, match=sentence):
        open_source(str(tmp_path / name), modality="image", data=tmp_path / "data")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_rows_of_a_table_are_items_with_their_cells_as_payload(tmp_path, suffix):
    rows = [{"age": 61, "sex": "f", "label": "ill"}, {"age": 30, "sex": None, "label": "well"}]
    manifest = tmp_path / f"rows.{suffix}"
    if suffix == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), manifest)
    elif suffix == "csv":
        manifest.write_text("age,sex,label\n61,f,ill\n30,,well\n")
    else:
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = items(manifest, tmp_path, modality="table")
    assert json.loads(found[0].raw) == {"age": 61, "sex": "f"}
    assert json.loads(found[1].raw)["sex"] in (None, "")  # a CSV cell that is empty is a text of nothing
    assert [(item.key, item.fields["age"], item.fields["label"]) for item in found] == [
        ("000001", 61, "ill"),
        ("000002", 30, "well"),
    ]
    assert len({item.state() for item in found}) == 2


def test_rows_may_stand_in_a_column_of_their_own_and_items_of_files_stay_files(tmp_path):
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text('{"id": "a", "table": {"age": 61}, "study": "x"}\n')
    [item] = items(manifest, tmp_path, modality="table")
    assert (item.key, json.loads(item.raw), item.fields) == ("a", {"age": 61}, {"study": "x"})
    manifest.write_text('{"path": "a.json", "study": "x"}\n')
    [item] = items(manifest, tmp_path, modality="table")
    assert item.raw == tmp_path / "a.json"


def test_two_columns_of_one_name_and_two_encodings_are_refused(tmp_path):
    (tmp_path / "twice.csv").write_text("age,age\n1,2\n")
    with pytest.raises(WrongUse, match="two columns 'age': give each a name of its own"):
        items(tmp_path / "twice.csv", tmp_path, modality="table")
    (tmp_path / "mixed.csv").write_bytes("note,age\né,1\n".encode() + b"\xe9,2\n")
    with pytest.raises(WrongUse, match="item 1: column 'note' is not UTF-8: save the whole file in one encoding"):
        items(tmp_path / "mixed.csv", tmp_path, modality="table")
