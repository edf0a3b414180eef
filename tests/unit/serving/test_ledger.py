"""What a job has done, kept so that a kill at any moment loses nothing and doubles nothing."""

import sqlite3
from contextlib import closing

import pyarrow as pa
import pytest
from pyarrow import parquet

from enfold.errors import Conflict
from serving import lock
from serving.jobs.ledger import Ledger
from serving.jobs.shards import Shards
from tests.unit.serving.conftest import points


@pytest.fixture
def ledger(tmp_path):
    with closing(Ledger(tmp_path / "ledger.sqlite")) as opened:
        opened.add(1, {"a": "s1", "b": "s2"}, {"b": "broken"}, 1)
        opened.add(2, {"c": "s3"}, {}, 5)
        yield opened


def test_a_ledger_remembers_states_failures_and_counts(ledger, tmp_path):
    with closing(Ledger(tmp_path / "ledger.sqlite")) as again:
        assert [again.state(key) for key in "abcd"] == ["s1", "s2", "s3", None]
        assert again.counts() == {"items": 2, "failed": 1, "vectors": 6}
        assert again.failures() == [("b", "broken")]
        assert again.next_shard() == 3


def test_a_ledger_of_a_later_version_is_refused_and_left_as_it_is(ledger, tmp_path):
    file = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(file)) as later:
        later.execute("PRAGMA user_version = 2")
    with pytest.raises(Conflict, match="is a ledger of version 2; this enfold reads up to 1: upgrade enfold"):
        Ledger(file)
    with closing(sqlite3.connect(file)) as later:
        assert later.execute("PRAGMA user_version").fetchone() == (2,)


def test_shards_are_sent_once(ledger):
    assert ledger.shards(indexed=False) == [1, 2]
    ledger.set_indexed([1], True)
    assert ledger.shards(indexed=False) == [2]
    assert ledger.shards() == [1, 2]


def test_an_item_that_changed_is_taken_out_of_its_shard(ledger):
    assert ledger.holding(["a", "c"]) == {1: ["a"], 2: ["c"]}
    ledger.forget(1, ["a"], 0)
    assert ledger.state("a") is None
    assert ledger.shards() == [2]


def test_a_lost_shard_is_done_again(ledger):
    ledger.lose(2)
    assert ledger.state("c") is None
    assert ledger.next_shard() == 2


def test_a_shard_comes_back_as_it_was_written(tmp_path):
    shards, sent = (
        Shards(tmp_path / "out", "job", {"label": pa.string(), "row": pa.int64(), "even": pa.bool_()}),
        points(),
    )
    shards.write(1, sent, "tiny@1")
    came = shards.read(1)
    assert (came.ids, came.payloads, came.space) == (sent.ids, sent.payloads, sent.space)
    assert came.thumbnails == sent.thumbnails
    assert (came.vectors == sent.vectors).all()


def test_shards_of_another_job_are_left_alone(tmp_path):
    Shards(tmp_path, "one", {}).write(1, points(), "tiny@1")
    with pytest.raises(Conflict, match="of another job"):
        Shards(tmp_path, "two", {})
    parquet.write_table(pa.table({"a": [1]}), tmp_path / "part-00001.parquet")
    with pytest.raises(Conflict, match="of another job"):
        Shards(tmp_path, "one", {})


def test_half_done_files_go(tmp_path):
    shards = Shards(tmp_path, "one", {})
    shards.write(1, points(), "tiny@1")
    shards.write(2, points(), "tiny@1")
    (tmp_path / "part-00003.draft").touch()
    shards.keep_only([1])
    assert [file.name for file in tmp_path.iterdir()] == ["part-00001.parquet"]


def test_a_lock_names_its_holder_and_is_free_again(tmp_path):
    held = lock.hold(tmp_path / "lock", "the thing", url="http://here")
    assert lock.holder(tmp_path / "lock")["url"] == "http://here"
    with pytest.raises(Conflict, match=r"the thing is in use by process .* at http://here"):
        lock.hold(tmp_path / "lock", "the thing")
    held.close()
    assert lock.holder(tmp_path / "lock") is None
    lock.hold(tmp_path / "lock", "the thing").close()
