"""The embedded index and its Arrow tables; what every engine must do is in tests/contract/test_index.py."""

import os
import shutil
import threading

import numpy as np
import pyarrow as pa
import pytest

from enfold import settings
from enfold.errors import Conflict, Unavailable, WrongUse
from serving.index import Points, Query, arrow, collection, open_index
from tests.unit.serving.conftest import near, nested, new_collection, points, uuid


def test_everything_is_there_after_opening_again(index, things):
    index.close()
    again = open_index(settings.load(), "")
    kept = again.collection("things")
    assert kept.info().points == 6
    assert near(kept, 3, limit=1)[0].id == uuid(3)
    assert kept.thumbnail(uuid(0)) == b"webp"
    again.close()


def test_the_deepest_payload_survives_opening_again(index, things):
    things.upsert(Points([uuid(7)], points(1).vectors, [nested(32)], "sp_a"))
    index.close()
    again = open_index(settings.load(), "")
    assert again.collection("things").retrieve([uuid(7)])[0].payload == nested(32)
    again.close()


def test_a_damaged_collection_hides_no_other_and_can_be_dropped(index, things, home):
    index.create(new_collection("other"))
    index.close()
    for file in (home / "index" / "things" / "shard-1").rglob("*"):
        if file.is_file():
            file.write_bytes(b"\xff" * 64)
    again = open_index(settings.load(), "")
    assert [kept.facts.name for kept in again.all()] == ["other"]
    with pytest.raises(Unavailable, match="collection 'things' cannot be opened"):
        again.collection("things")
    again.drop("things")
    assert again.names() == ["other"]
    again.close()


def test_an_index_is_open_in_one_place(index):
    with pytest.raises(Conflict, match="in use by process"):
        open_index(settings.load(), "")


def test_a_creation_that_was_killed_leaves_nothing(index, home):
    index.close()
    (home / "index" / ".half").mkdir()
    again = open_index(settings.load(), "")
    assert again.names() == []
    assert not (home / "index" / ".half").exists()
    again.close()


def test_a_graph_is_built_while_others_read_and_write(index, monkeypatch):
    """What is written, changed and deleted during the build is there after it, and found through the graph."""
    monkeypatch.setattr(collection, "GRAPH_KIB", 500)
    kept = index.create(new_collection("big", dimensions=64))
    first = points(4000, dimensions=64)
    kept.upsert(Points(first.ids[:3000], first.vectors[:3000], first.payloads[:3000], "sp_a"))
    building = threading.Thread(target=kept.optimize)
    kept.facet("label")
    building.start()
    kept.upsert(Points(first.ids[3000:], first.vectors[3000:], first.payloads[3000:], "sp_a"))
    kept.delete(ids=first.ids[:10])
    assert kept.query(Query(first.vectors[100], limit=1))[0].id == first.ids[100]
    building.join()
    kept.optimize()
    info = kept.info()
    assert info.points == 3990
    assert info.indexed >= 3000
    assert kept.query(Query(first.vectors[3999], limit=1))[0].id == first.ids[3999]
    assert first.ids[3] not in [hit.id for hit in kept.query(Query(first.vectors[3], limit=5))]
    assert sum(facet.count for facet in kept.facet("label")) == 3990


def test_a_collection_tells_how_it_is_searched(index, things, monkeypatch):
    assert (things.info().graph, things.info().indexed) == ("small", 0)
    things.optimize()  # nothing to do
    assert things.info().indexed == 0
    monkeypatch.setattr(collection, "GRAPH_KIB", 500)
    kept = index.create(new_collection("big", dimensions=64))
    monkeypatch.setattr(kept, "_graph_is_due", lambda: False)  # as after a stop before the graph was built
    kept.upsert(points(3000, dimensions=64))
    assert kept.info().graph == "lacking"
    kept.optimize()
    assert (kept.info().graph, kept.info().indexed) == ("built", 3000)


def test_arrow_carries_points_both_ways():
    sent = points()
    stream = b"".join(arrow.write_stream([arrow.to_table(sent, "tiny@1")], arrow.schema("sp_a", 4, "tiny@1")))
    came = arrow.to_points(arrow.read_stream(stream))
    assert came.ids == sent.ids
    assert came.space == "sp_a"
    assert came.payloads == sent.payloads
    assert came.thumbnails == sent.thumbnails
    np.testing.assert_array_equal(came.vectors, sent.vectors)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda table: table.drop_columns("payload"), "lacks column 'payload'"),
        (lambda table: table.replace_schema_metadata({}), "lacks 'space'"),
        (lambda table: table.set_column(1, "vector", pa.array([[1.0]] * 6)), r"must be fixed_size_list<float32>\[D\]"),
        (lambda table: table.set_column(2, "payload", pa.array(["no JSON"] * 6)), "a payload is a JSON object"),
        (lambda table: table.set_column(2, "payload", pa.array(["[1]"] * 6)), "a payload is a JSON object"),
        (lambda table: table.set_column(0, "id", pa.array([None] * 6, pa.string())), "6 nulls"),
    ],
)
def test_a_table_of_another_shape_is_refused(change, sentence):
    with pytest.raises(WrongUse, match=sentence):
        arrow.to_points(change(arrow.to_table(points())))


@pytest.mark.parametrize("body", [b"", b"nothing of the sort", b"\xff" * 64, b"ARROW1\0\0" + b"\0" * 64])
def test_bytes_that_are_no_arrow_are_refused(body):
    with pytest.raises(WrongUse, match="no Arrow IPC stream"):
        arrow.read_stream(body)


def test_a_cut_stream_is_refused():
    whole = b"".join(arrow.write_stream([arrow.to_table(points())], arrow.schema("sp_a", 4)))
    for length in range(8, len(whole) - 16, 97):
        with pytest.raises(WrongUse):
            arrow.to_points(arrow.read_stream(whole[:length]))


def test_a_damaged_file_is_a_sentence_and_hides_no_other_collection(index, things, home):
    """Its files cut and overwritten with noise in turns; the engine itself notices not all of it."""
    index.create(new_collection("other")).upsert(points())
    index.close()
    folder, whole, refused = home / "index" / "things", home / "whole", 0
    shutil.copytree(folder, whole)
    for number, file in enumerate(sorted(path for path in whole.rglob("*") if path.is_file() and path.stat().st_size)):
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
        hurt = folder / file.relative_to(whole)
        if number % 2:
            os.truncate(hurt, hurt.stat().st_size // 2)
        else:
            noise = np.random.default_rng(0).bytes(min(hurt.stat().st_size, 2**16))
            hurt.write_bytes(noise + hurt.read_bytes()[len(noise) :])
        opened = open_index(settings.load(), "")
        try:
            kept = opened.collection("things")
            assert len([id for page in kept.scroll(thumbnails=True) for id in page.ids]) <= 6
            near(kept, 0)
        except Unavailable:
            refused += 1
        assert "other" in [one.facts.name for one in opened.all()]
        opened.close()
    assert refused > 5
