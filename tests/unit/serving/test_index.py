"""The contract of an index: what any engine behind `serving.index` must do."""

import threading
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pytest

from enfold import settings, wire
from enfold.errors import Conflict, SpaceMismatch, Unavailable, UnknownName, WrongUse
from serving.index import Points, arrow, collection, open_index
from tests.unit.serving.conftest import new_collection, points, uuid


def nested(levels):
    payload = {}
    for _ in range(levels):
        payload = {"in": payload}
    return payload


@pytest.fixture
def things(index):
    kept = index.create(new_collection())
    kept.upsert(points())
    return kept


def test_a_point_is_found_by_its_own_vector(things):
    [hit, *_] = things.query(points().vectors[3], limit=2)
    assert hit.id == uuid(3)
    assert hit.score == pytest.approx(1, abs=1e-5)
    assert hit.payload["label"] == "green"


def test_a_search_by_id_leaves_out_the_point_itself(things):
    hits = things.query(uuid(2), limit=10)
    assert len(hits) == 5
    assert uuid(2) not in [hit.id for hit in hits]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_exact_search_agrees_with_numpy(things):
    vectors = points().vectors
    expected = np.argsort(-(vectors @ vectors[0]))[1:]
    assert [hit.payload["row"] for hit in things.query(uuid(0), exact=True)] == expected.tolist()


def test_upserting_again_replaces(things):
    assert things.upsert(points(seed=1)) == 6
    assert things.info().points == 6
    assert things.query(points(seed=1).vectors[3], limit=1)[0].id == uuid(3)


@pytest.mark.parametrize(
    ("conditions", "rows"),
    [
        ([("label", ["red"])], [0, 2, 4]),
        ([("label", ["red", "green"]), ("row", [1, 2])], [1, 2]),
        ([("even", [True])], [0, 2, 4]),
        ([("even", [False])], [1, 3, 5]),
        ([("row", [1])], [1]),
        ([("nothing", ["x"])], []),
    ],
)
def test_a_filter_keeps_what_fulfils_every_condition(things, conditions, rows):
    asked = [wire.Condition(field=field, any=values) for field, values in conditions]
    found = things.query(points().vectors[0], limit=10, filter=asked)
    assert sorted(hit.payload["row"] for hit in found) == rows


def test_facets_count_values_most_frequent_first(things):
    things.upsert(Points([uuid(9)], points(1).vectors, [{"label": "red"}], "sp_a"))
    assert [(facet.value, facet.count) for facet in things.facet("label")] == [("red", 4), ("green", 3)]
    assert {facet.value: facet.count for facet in things.facet("even")} == {True: 3, False: 3}
    assert len(things.facet("row")) == 6
    assert things.facet("nothing") == []


def test_a_field_with_dots_and_spaces_is_one_field(things):
    things.upsert(Points([uuid(8)], points(1).vectors, [{"a.b c": "x"}], "sp_a"))
    assert [(facet.value, facet.count) for facet in things.facet("a.b c")] == [("x", 1)]
    asked = [wire.Condition(field="a.b c", any=["x"])]
    assert [hit.id for hit in things.query(points().vectors[0], filter=asked)] == [uuid(8)]


@pytest.mark.parametrize("field", ["", '"', "a[0]", "[]", "a..b", ".", "\x00", "ä", "x" * 5000])
def test_no_field_name_breaks_filter_or_facets(things, field):
    with suppress(WrongUse):
        assert things.query(points().vectors[0], filter=[wire.Condition(field=field, any=[1])]) == []
        assert things.facet(field) == []


def test_deleting_by_source_and_id_counts_what_went(things):
    things.upsert(points(2, source="there", seed=2))  # rows 0 and 1 move there
    assert things.delete(source="there") == 2
    assert things.delete(ids=[uuid(2), uuid(2), uuid(77)]) == 1
    assert things.delete() == 0
    assert things.info().points == 3


def test_scrolling_brings_every_point_once(things):
    pages = list(things.scroll(4))
    assert [len(page.ids) for page in pages] == [4, 2]
    np.testing.assert_allclose(np.concatenate([page.vectors for page in pages]), points().vectors, atol=1e-6)
    assert [payload["row"] for page in pages for payload in page.payloads] == list(range(6))


def test_thumbnails_come_back_and_go_with_their_point(things):
    assert things.thumbnail(uuid(0)) == b"webp"
    with pytest.raises(UnknownName, match="no thumbnail"):
        things.thumbnail(uuid(1))
    things.delete(ids=[uuid(0)])
    with pytest.raises(UnknownName):
        things.thumbnail(uuid(0))


def test_the_layout_carries_the_payload_of_points_that_still_exist(things):
    with pytest.raises(UnknownName, match="no layout yet"):
        things.layout()
    places = pa.table([[uuid(i) for i in range(6)], np.arange(6.0), np.zeros(6)], names=["id", "x", "y"])
    things.set_layout(places)
    things.delete(ids=[uuid(5)])
    table = things.layout()
    assert table.num_rows == 5
    assert {"id", "x", "y", "label", "source", "row"} <= set(table.column_names)
    assert table["x"].to_pylist() == [0, 1, 2, 3, 4]
    assert things.info().has_layout


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (pa.table({"id": ["a"]}), "lacks column 'x'"),
        (pa.table({"id": ["a"], "x": ["b"], "y": [1.0]}), "must be float32"),
        (pa.table({"id": ["a"], "x": [np.nan], "y": [1.0]}), "not finite"),
        (pa.table({"id": ["a"], "x": [1e300], "y": [1.0]}), "not finite"),
        (pa.table({"id": [1], "x": [1.0], "y": [1.0]}), "must be string"),
    ],
)
def test_a_layout_of_another_shape_is_refused(things, table, sentence):
    with pytest.raises(WrongUse, match=sentence):
        things.set_layout(table)
    assert not things.info().has_layout


@pytest.mark.parametrize(
    ("wrong", "error", "sentence"),
    [
        (points(space="sp_b"), SpaceMismatch, "holds vectors of space sp_a"),
        (points(dimensions=5), WrongUse, "vectors of 4 numbers"),
        (Points(["7"], points(1).vectors, [{}], "sp_a"), WrongUse, "not a UUID"),
        (Points([uuid(1)], points(1).vectors, [nested(40)], "sp_a"), WrongUse, "deeper than 32 levels"),
        (Points([uuid(1)], points(1).vectors, [{"a": 10**30}], "sp_a"), WrongUse, "cannot be kept"),
        (Points([uuid(1)], np.array([[1, 2, 3, np.nan]], np.float32), [{}], "sp_a"), WrongUse, "not finite"),
    ],
)
def test_points_that_cannot_be_kept_are_refused_as_a_whole(things, wrong, error, sentence):
    things.delete(ids=[uuid(i) for i in range(6)])
    with pytest.raises(error, match=sentence):
        things.upsert(wrong)
    assert things.info().points == 0


def test_a_query_of_another_length_is_refused(things):
    with pytest.raises(WrongUse, match="vectors of 4 numbers"):
        things.query(np.zeros(3, np.float32))
    with pytest.raises(UnknownName, match="no point"):
        things.query(uuid(99))


def test_a_space_is_one_collection_for_good(index, things):
    assert index.create(new_collection()).info().points == 6
    with pytest.raises(SpaceMismatch):
        index.create(new_collection(space="sp_b"))


def test_everything_is_there_after_opening_again(index, things):
    index.close()
    again = open_index(settings.load(), "")
    kept = again.collection("things")
    assert kept.info().points == 6
    assert kept.query(points().vectors[3], limit=1)[0].id == uuid(3)
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


def test_a_dropped_collection_is_gone_and_its_name_free(index, things):
    index.drop("things")
    assert index.names() == []
    with pytest.raises(UnknownName, match="Known: none yet"):
        index.collection("things")
    assert index.create(new_collection(space="sp_b")).info().points == 0


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
    assert kept.query(first.vectors[100], limit=1)[0].id == first.ids[100]
    building.join()
    kept.optimize()
    info = kept.info()
    assert info.points == 3990
    assert info.indexed >= 3000
    assert kept.query(first.vectors[3999], limit=1)[0].id == first.ids[3999]
    assert first.ids[3] not in [hit.id for hit in kept.query(first.vectors[3], limit=5)]
    assert sum(facet.count for facet in kept.facet("label")) == 3990


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
