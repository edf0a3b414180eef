"""Sources and outputs in an object store."""

import numpy as np
import pytest
from pyarrow import parquet

import enfold
from enfold import ports, settings
from enfold.errors import Conflict, MissingExtra, Unavailable, WrongUse
from serving.index import open_index
from serving.jobs import pipeline, places
from serving.jobs.embed import Embedding, embed
from serving.jobs.places import Place
from serving.jobs.source import open_source
from serving.jobs.upgrade import upgrade
from tests import bundles
from tests.examples import tar
from tests.servers import object_store
from tests.unit.serving.conftest import pictures

s3fs = pytest.importorskip("s3fs")
pytest.importorskip("moto")


@pytest.fixture(scope="module")
def store():
    with object_store() as found:
        yield found


@pytest.fixture
def bucket(store, monkeypatch, request):
    for name, value in store.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    name = f"bucket-{abs(hash(request.node.name))}"
    s3fs.S3FileSystem().mkdir(name)
    return name


def put(folder, address):
    files = s3fs.S3FileSystem()
    for path in folder.rglob("*"):
        if path.is_file():
            files.pipe_file(f"{address.removeprefix('s3://')}/{path.relative_to(folder)}", path.read_bytes())


def test_a_folder_of_a_store_is_embedded_as_one_of_this_machine(image_bundle, bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "SHARD_ITEMS", 4)
    folder, address = pictures(tmp_path / "photos", 10), f"s3://{bucket}/photos"
    (folder / ".hidden.png").write_bytes(b"no")
    put(folder, address)
    done = embed(address, model="tiny", to=f"parquet://s3://{bucket}/out")
    assert (done["items"], done["failed"], done["vectors"]) == (10, 0, 10)
    names = sorted(name.rpartition("/")[2] for name in s3fs.S3FileSystem().ls(f"{bucket}/out"))
    assert names == ["part-00001.parquet", "part-00002.parquet", "part-00003.parquet"]
    with s3fs.S3FileSystem().open(f"{bucket}/out/part-00001.parquet") as file:
        written = parquet.ParquetFile(file)
        rows = written.read().to_pylist()
        assert written.metadata.row_group(0).column(0).compression == "ZSTD"
        assert str(written.schema_arrow.field("vector").type) == "fixed_size_list<element: float>[8]"
    for row in rows:
        assert (row["source"], row["label"]) == (address, row["item"].split("/")[0])
        np.testing.assert_allclose(
            row["vector"], enfold.open("tiny").embed([folder / row["item"]]).vectors[0], atol=1e-5
        )
    # again nothing, then what changed alone
    assert embed(address, model="tiny", to=f"parquet://s3://{bucket}/out")["skipped"] == 10
    put(pictures(tmp_path / "more", 1, side=30, first=4), address)
    assert embed(address, model="tiny", to=f"parquet://s3://{bucket}/out")["skipped"] == 9
    with pytest.raises(Conflict, match="of another job"):
        embed(str(folder), model="tiny", to=f"parquet://s3://{bucket}/out")


def test_manifests_and_shards_of_a_store_are_read(image_bundle, bucket, tmp_path):
    folder = pictures(tmp_path / "photos", 3)
    (folder / "list.csv").write_text("path,note\nred/0000.png,a\ngreen/0001.png,b\ngone.png,c\n")
    put(folder, f"s3://{bucket}/set")
    done = embed(f"s3://{bucket}/set/list.csv", model="tiny", to="index://things")
    assert (done["items"], done["failed"]) == (2, 1)
    assert embed(f"s3://{bucket}/set/list.csv", model="tiny", to="index://things")["skipped"] == 2
    (tmp_path / "shards").mkdir()
    tar(tmp_path / "shards" / "train-0.tar", {"x.png": (folder / "red/0000.png").read_bytes(), "x.cls": b"red"})
    put(tmp_path / "shards", f"s3://{bucket}/shards")
    [item] = open_source(f"s3://{bucket}/shards", modality="image", data=settings.load().data).items()
    assert (item.key, item.fields) == ("train-0.tar/x", {"split": "train", "label": "red"})
    [again] = open_source(f"s3://{bucket}/shards", modality="image", data=settings.load().data).items()
    assert again.state() == item.state()
    [one] = open_source(f"s3://{bucket}/set/red/0000.png", modality="image", data=settings.load().data).items()
    assert one.raw.read_bytes() == (folder / "red/0000.png").read_bytes()


def test_a_dry_run_reads_a_store_and_writes_nothing(image_bundle, bucket, tmp_path):
    put(pictures(tmp_path / "photos", 3), f"s3://{bucket}/photos")
    told = embed(f"s3://{bucket}/photos", model="tiny", to=f"parquet://s3://{bucket}/out", dry_run=True)
    assert (told["items"], told["vectors_about"]) == (3, 3)
    assert not s3fs.S3FileSystem().exists(f"{bucket}/out")


def test_a_collection_of_a_store_is_upgraded_from_it(home, bucket, tmp_path):
    for seed in (0, 1):
        bundles.image_bundle(home / "bundles", seed=seed)
    put(pictures(tmp_path / "photos", 4), f"s3://{bucket}/photos")
    embed(f"s3://{bucket}/photos", model="tiny@1", to="index://photos")
    done = upgrade("photos", to="tiny@2")
    assert (done["items"], done["from_thumbnails"]) == (4, 0)
    index = open_index(settings.load(), "")
    assert [facet.value for facet in index.collection("photos").facet("source")] == [f"s3://{bucket}/photos"]
    index.close()


def test_what_is_not_there_is_one_sentence(image_bundle, bucket, monkeypatch):
    with pytest.raises(WrongUse, match="nothing lies there"):
        embed(f"s3://{bucket}/nowhere", model="tiny", to="index://things")
    with pytest.raises(WrongUse, match="nothing lies there"):
        embed("s3://no-such-bucket-anywhere/photos", model="tiny", to="index://things")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{ports.free()}")
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(Unavailable, match="cannot be read or written"):
        embed(f"s3://{bucket}/photos", model="tiny", to="index://things")


@pytest.mark.parametrize(
    "address",
    ["http://host/x", "memory://x", "ftp://x/y", "s3://", "s3://x::http://y", "s3://key:secret@bucket/x", "github://a"],
)
def test_other_places_are_refused(address):
    with pytest.raises(WrongUse, match="is no place for files"):
        Place.at(address)
    with pytest.raises(WrongUse, match="is no place for files"):
        Embedding.checked(source="x", model="tiny", to=f"parquet://{address}").id(settings.load())


def test_a_driver_that_is_missing_names_its_extra(monkeypatch):
    def missing(_):
        raise ImportError

    monkeypatch.setattr(places.fsspec, "filesystem", missing)
    with pytest.raises(MissingExtra, match=r"pip install 'enfold\[gs\]'"):
        Place.at("gs://bucket/x")
