"""What came from a source is gone from wherever it was kept."""

import json

import pytest

from enfold import settings
from enfold.errors import Conflict
from enfold.points import point_id
from serving.commands import create_collection, drop_collection, erase_source, optimize_collection, show_collection
from serving.index import open_index
from serving.jobs import record
from serving.jobs.embed import Embedding, embed
from serving.jobs.upgrade import upgrade
from tests import bundles
from tests.unit.serving.conftest import pictures


@pytest.fixture
def two_sources(home, tmp_path):
    for seed in (0, 1):
        bundles.image_bundle(home / "bundles", seed=seed)
    folders = [pictures(tmp_path / "mine", 4), pictures(tmp_path / "yours", 4, first=90)]
    (folders[0] / "red" / "my secret.png").touch()  # cannot be read: its name stands in the ledger alone
    for folder in folders:
        embed(str(folder), model="tiny@1", to="index://photos")
    return folders


def traces(home, word: bytes):
    """Files of jobs and the index that hold it."""
    files = [file for folder in ("jobs", "index") for file in (home / folder).rglob("*.*") if file.is_file()]
    return [file for file in files if "shard-" not in str(file) and word in file.read_bytes()]


def test_an_erased_source_is_in_no_shard_ledger_or_picture(two_sources, home):
    mine, yours = two_sources
    upgrade("photos", to="tiny@2")
    assert traces(home, b"my secret")
    id = point_id(mine.as_uri(), "red/0000.png")
    index = open_index(settings.load(), "")
    picture = index.collection("photos").thumbnail(id)
    index.close()
    assert erase_source("photos", source=mine.as_uri())["erased"] == 4
    assert not traces(home, b"my secret")
    assert not traces(home, mine.as_uri().encode())
    assert len(traces(home, yours.as_uri().encode())) > 0
    index = open_index(settings.load(), "")
    for name in ("photos@1", "photos@2"):
        assert [facet.value for facet in index.collection(name).facet("source")] == [yours.as_uri()]
    index.close()
    assert picture not in b"".join(file.read_bytes() for file in (home / "index").rglob("thumbnails.sqlite*"))


def test_it_does_not_come_back_but_by_its_own_command(two_sources):
    mine, yours = two_sources
    erase_source("photos", source=mine.as_uri())
    embed(str(yours), model="tiny@1", to="index://photos")
    assert show_collection("photos")["points"] == 4
    done = embed(str(mine), model="tiny@1", to="index://photos")
    assert (done["items"], done["skipped"]) == (4, 0)


def test_a_job_at_work_on_it_refuses(two_sources):
    mine, _ = two_sources
    asked = Embedding.checked(source=str(mine), model="tiny@1", to="index://photos")
    folder = settings.load().jobs / asked.id(settings.load())
    with (
        record.running(folder, "embed", ["enfold", *asked.words()]),
        pytest.raises(Conflict, match="in use by process"),
    ):
        erase_source("photos", source=mine.as_uri())
    assert show_collection("photos")["points"] == 8


def test_a_collection_is_made_told_and_dropped(image_bundle, server):
    made = create_collection("empty", model="tiny")
    assert (made["points"], made["model"], made["graph"], made["dimensions"]) == (0, "tiny@1", "small", 8)
    assert show_collection("empty") | made == show_collection("empty")
    assert show_collection("empty")["generations"] == [1]
    assert optimize_collection("empty")["graph"] == "small"
    assert drop_collection("empty") == {"dropped": "empty"}
    for words in (["create", "told", "--model", "tiny"], ["optimize", "told"], ["info", "told"]):
        done = server.enfold("index", *words, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["graph"] == "small"
    server.enfold("index", "drop", "told")
