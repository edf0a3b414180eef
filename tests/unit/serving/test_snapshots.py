"""Snapshots: a collection comes back as it was, from and to either engine; what was changed is refused."""

import json
import shutil

import numpy as np
import pytest
from qdrant_client import QdrantClient

from enfold import settings
from enfold.errors import Conflict, Unavailable, UnknownName, WrongUse
from serving import reach, snapshots
from serving.index import Query, open_index
from serving.index.server import ServerIndex
from serving.jobs.health import health
from serving.jobs.layout import layout
from serving.snapshots import restore, snapshot
from tests.unit.serving.conftest import new_collection, points, uuid


@pytest.fixture
def written(home, tmp_path):
    index = open_index(settings.load(), "")
    index.create(new_collection()).upsert(points(40))
    index.close()
    layout("things")
    health("things")
    assert snapshot("things", tmp_path / "kept") == {"collection": "things", "points": 40, "to": str(tmp_path / "kept")}
    return tmp_path / "kept"


def as_it_was(kept):
    [found] = list(kept.scroll(100, thumbnails=True))
    np.testing.assert_allclose(found.vectors, points(40).vectors, atol=1e-6)
    assert list(found.payloads) == list(points(40).payloads)
    assert found.thumbnails == {uuid(0): b"webp"}
    assert kept.notes("layout").num_rows == kept.notes("health").num_rows == 40


def test_it_comes_back_under_another_name(written):
    assert restore(written, name="again") == {"collection": "again", "points": 40}
    index = open_index(settings.load(), "")
    as_it_was(index.collection("again"))
    index.close()


def test_a_drill_the_index_is_lost_and_searched_again_as_before(written, home):
    """Backup, loss of the whole index, restore: the same questions have the same answers, and writing goes on."""
    asked = [Query(points(40).vectors[row], limit=5) for row in range(8)]

    def answers():
        index = open_index(settings.load(), "")
        found = [
            [(hit.id, round(hit.score, 5), hit.payload) for hit in index.collection("things").query(one)]
            for one in asked
        ]
        assert index.collection("things").upsert(points(2)) == 2
        index.close()
        return found

    before = answers()
    shutil.rmtree(home / "index")
    with pytest.raises(UnknownName):
        answers()
    assert restore(written)["points"] == 40
    assert answers() == before


def test_it_is_the_way_to_a_server(written, monkeypatch):
    index = ServerIndex(QdrantClient(":memory:"))
    monkeypatch.setattr(reach, "open_index", lambda *_: index)
    monkeypatch.setattr(index, "close", lambda: None)
    restore(written)
    as_it_was(index.collection("things"))


def test_nothing_is_overwritten(written):
    with pytest.raises(Conflict, match="has points"):
        restore(written)
    with pytest.raises(Conflict, match="exists already"):
        snapshot("things", written)


def test_a_snapshot_of_a_later_version_is_refused(written):
    told = json.loads((written / "collection.json").read_bytes())
    (written / "collection.json").write_text(json.dumps({"version": 2, "shards": told["files"]}))
    with pytest.raises(WrongUse, match="is a snapshot of version 2; this enfold reads up to 1: upgrade it"):
        restore(written, name="other")


def test_a_name_that_is_none_is_refused(written):
    with pytest.raises(WrongUse, match="--name 'No Name'"):
        restore(written, name="No Name")


def test_what_was_changed_is_refused(written):
    whole = (written / "points.parquet").read_bytes()
    (written / "points.parquet").write_bytes(whole[:-1])
    with pytest.raises(WrongUse, match=r"'points.parquet' is not what was written"):
        restore(written, name="again")
    facts = json.loads((written / "collection.json").read_bytes())
    facts["files"]["../points.parquet"] = "0"
    (written / "collection.json").write_text(json.dumps(facts))
    (written / "points.parquet").write_bytes(whole)
    with pytest.raises(WrongUse, match="is not what was written"):
        restore(written, name="again")
    (written / "collection.json").unlink()
    with pytest.raises(WrongUse, match="is no snapshot"):
        restore(written, name="again")


def test_a_snapshot_that_fails_leaves_nothing(home, tmp_path, monkeypatch):
    index = open_index(settings.load(), "")
    index.create(new_collection()).upsert(points())
    index.close()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshots.parquet, "write_table", full)
    with pytest.raises(Unavailable, match="cannot be written: No space"):
        snapshot("things", tmp_path / "kept")
    assert not list(tmp_path.glob("*kept*"))
