"""What any engine behind `serving.index` must do: the embedded one, qdrant-client's local mode, a server where one is.

QDRANT_URL names a real server without collections; the suite makes some there and drops them.
"""

import os
import re
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from qdrant_client import QdrantClient, models

from enfold import ports, settings, wire
from enfold.errors import Conflict, SpaceMismatch, Unavailable, UnknownName, WrongUse
from serving.index import Points, Query, open_index, server
from serving.index.server import ServerIndex
from tests.unit.serving.conftest import near, nested, new_collection, points, rows, things, uuid

__all__ = ["things"]
ENGINES = ["edge", "local", *(["server"] if os.environ.get("QDRANT_URL") else [])]


@pytest.fixture(params=ENGINES)
def engine(request):
    return request.param


@pytest.fixture
def index(engine, home, monkeypatch):
    if engine == "edge":
        opened = open_index(settings.load(), "")
    elif engine == "local":  # which knows no other way to tell words apart
        monkeypatch.setattr(server, "WORDS", models.TextIndexParams(type=models.TextIndexType.TEXT, scoring=True))
        opened = ServerIndex(QdrantClient(":memory:"))
    else:
        monkeypatch.setenv("ENFOLD_QDRANT_URL", os.environ["QDRANT_URL"])
        opened = open_index(settings.load(), "")
        if opened.names():
            pytest.fail(f"the server at QDRANT_URL holds collections ({', '.join(opened.names())}): give an empty one")
    yield opened
    if engine == "server":
        for name in opened.names():  # all of them are the test's own
            opened.drop(name)
    opened.close()


def test_a_point_is_found_by_its_own_vector(things):
    [hit, *_] = near(things, 3, limit=2)
    assert hit.id == uuid(3)
    assert hit.score == pytest.approx(1, abs=1e-5)
    assert hit.payload["label"] == "green"


def test_points_that_shall_not_be_found_are_left_out(things):
    np.testing.assert_allclose(things.vectors([uuid(2), uuid(0)]), points().vectors[[2, 0]], atol=1e-6)
    hits = near(things, 2, but=[uuid(2)])
    assert len(hits) == 5
    assert uuid(2) not in [hit.id for hit in hits]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_exact_search_agrees_with_numpy(things):
    vectors = points().vectors
    expected = np.argsort(-(vectors @ vectors[0]))[1:]
    assert [hit.payload["row"] for hit in near(things, 0, but=[uuid(0)], exact=True)] == expected.tolist()


def with_tokens(width=3):
    """Six points of one to four tokens each."""
    rng, few = np.random.default_rng(1), points()
    tokens = [rng.normal(size=(1 + row % 4, width)).astype(np.float32) for row in range(6)]
    return replace(few, tokens=[one / np.linalg.norm(one, axis=1, keepdims=True) for one in tokens])


@pytest.fixture
def worded(index):
    kept = index.create(new_collection("worded").model_copy(update={"tokens": 3}))
    kept.upsert(with_tokens())
    return kept


def max_sim(asked, tokens):
    """[T, W], [U, W] of unit vectors -> the sum over the first of the best cosine to one of the second"""
    return float((asked @ tokens.T).max(1).sum())


def test_late_interaction_is_the_sum_of_every_tokens_best_cosine(worded):
    own, asked = with_tokens(), with_tokens().tokens[2]
    scores = [max_sim(asked, one) for one in own.tokens]
    for exact in (True, False):
        hits = worded.query(Query(own.vectors[0], tokens=asked, exact=exact))
        assert rows(hits) == np.argsort(scores)[::-1].tolist()
        assert [hit.score for hit in hits] == pytest.approx(sorted(scores, reverse=True), rel=1e-4)


def test_late_interaction_orders_what_the_vector_finds_and_exact_all(worded):
    own, asked = with_tokens(), with_tokens().tokens[2]
    near_one = worded.query(Query(own.vectors[1], tokens=asked, depth=2, limit=2))
    assert sorted(rows(near_one)) == sorted(rows(worded.query(Query(own.vectors[1], limit=2))))
    assert rows(worded.query(Query(own.vectors[1], tokens=asked, depth=2, limit=2, exact=True)))[0] == 2


def test_late_interaction_keeps_to_filters_and_words(worded):
    own, asked = with_tokens(), with_tokens().tokens[2]
    red = [wire.Condition(field="label", any=["red"])]
    assert sorted(rows(worded.query(Query(own.vectors[0], tokens=asked, filter=red)))) == [0, 2, 4]
    found = worded.query(Query(own.vectors[0], tokens=asked, words="green", words_in="label", depth=1, limit=1))
    assert len(found) == 1


def test_tokens_come_back_as_they_went_in(worded):
    [plain] = worded.scroll()
    assert plain.tokens is None
    [page] = worded.scroll(tokens=True)
    own = with_tokens()
    for id, tokens, vector in zip(page.ids, page.tokens, page.vectors, strict=True):
        np.testing.assert_allclose(tokens, own.tokens[int(id[-2:])], atol=1e-6)
        np.testing.assert_allclose(vector, own.vectors[int(id[-2:])], atol=1e-6)
    np.testing.assert_allclose(worded.vectors([uuid(4)]), own.vectors[[4]], atol=1e-6)
    assert worded.info().tokens == 3


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        (None, "keeps the tokens of its points, of 3 numbers, and none came"),
        ([np.ones((2, 4), np.float32)] * 6, "one or more tokens of 3 numbers; these are of shape [2, 4]"),
        ([np.zeros((0, 3), np.float32)] * 6, "these are of shape [0, 3]"),
        ([np.full((1, 3), np.nan, np.float32)] * 6, "not finite"),
    ],
)
def test_points_without_fitting_tokens_are_refused(worded, tokens, sentence):
    with pytest.raises(WrongUse, match=re.escape(sentence)):
        worded.upsert(replace(points(), tokens=tokens))
    assert worded.info().points == 6


def test_tokens_are_refused_where_none_are_kept(index, things):
    with pytest.raises(WrongUse, match="keeps no tokens, and some came"):
        things.upsert(with_tokens())
    with pytest.raises(WrongUse, match="keeps no tokens"):
        things.query(Query(points().vectors[0], tokens=with_tokens().tokens[0]))
    with pytest.raises(Conflict, match="keeps no tokens, and some of 3 are asked for"):
        index.create(new_collection().model_copy(update={"tokens": 3}))


def test_late_interaction_goes_with_no_contrast(worded):
    with pytest.raises(WrongUse, match="of one item"):
        worded.query(Query(points().vectors[0], tokens=with_tokens().tokens[0], diversity=0.5))


def test_upserting_again_replaces(things):
    assert things.upsert(points(seed=1)) == 6
    assert things.info().points == 6
    assert things.query(Query(points(seed=1).vectors[3], limit=1))[0].id == uuid(3)


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
    found = near(things, 0, filter=asked)
    assert sorted(hit.payload["row"] for hit in found) == rows


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"gte": 2, "lt": 4}, [2, 3]),
        ({"gt": 3}, [4, 5]),
        ({"lte": 0}, [0]),
        ({"none": [0, 1, 2, 3]}, [4, 5]),
        ({"any": [1, 2], "none": [1]}, [2]),
        ({"exists": True}, [0, 1, 2, 3, 4, 5]),
        ({"exists": False}, []),
    ],
)
def test_a_condition_is_of_values_bounds_and_presence(things, said, expected):
    assert sorted(rows(near(things, 0, filter=[wire.Condition(field="row", **said)]))) == expected


def test_a_condition_that_says_nothing_is_refused():
    with pytest.raises(ValueError, match="say what the field must be"):
        wire.Condition(field="row")


@pytest.fixture
def places(index):
    """Six points with payloads of every type."""
    kept = index.create(new_collection())
    payloads = [
        {
            "row": row,
            "label": ["red", "green"][row % 2],
            "even": row % 2 == 0,
            "price": row * 1.5,
            "tags": ["a", "b", "c"][: row % 4],
            "when": f"202{row}-01-05T00:00:00Z",
            "at": {"lon": 10.0 + row, "lat": 50.0},
            "text": ["a red cat", "the blue dog", "a red dog runs", "x", "y z", "red"][row],
            "in": [{"k": row, "v": "x"}, {"k": 0, "v": "y"}],
            "gone": None,
        }
        for row in range(6)
    ]
    del payloads[1]["gone"]
    kept.upsert(Points([uuid(row) for row in range(6)], points().vectors, payloads, "sp_a"))
    return kept


def line(*pairs):
    return {"points": [{"lon": lon, "lat": lat} for lon, lat in pairs]}


SQUARE = line((9, 49), (9, 51), (12.5, 51), (12.5, 49), (9, 49))
RED, LATE = {"key": "label", "match": {"value": "red"}}, {"key": "row", "range": {"gte": 3}}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"must": RED}, [0, 2, 4]),
        ({"must": [RED, LATE]}, [4]),
        ({"should": [RED, LATE]}, [0, 2, 3, 4, 5]),
        ({"must_not": [RED], "must": [LATE]}, [3, 5]),
        ({"min_should": {"conditions": [RED, LATE, {"key": "row", "match": {"value": 5}}], "min_count": 2}}, [4, 5]),
        ({"must": [{"should": [RED, {"must_not": LATE}]}]}, [0, 1, 2, 4]),
        ({"must": {"key": "even", "match": {"value": True}}}, [0, 2, 4]),
        ({"must": {"key": "row", "match": {"any": [1, 4, 9]}}}, [1, 4]),
        ({"must": {"key": "label", "match": {"except": ["red"]}}}, [1, 3, 5]),
        ({"must": {"key": "text", "match": {"text": "dog red"}}}, [2]),
        ({"must": {"key": "text", "match": {"text_any": "dog cat"}}}, [0, 1, 2]),
        ({"must": {"key": "text", "match": {"phrase": "red dog"}}}, [2]),
        ({"must": {"key": "label", "match": {"prefix": "gr"}}}, [1, 3, 5]),
        ({"must": {"key": "label", "match": {"substring": "ree"}}}, [1, 3, 5]),
        ({"must": {"key": "price", "range": {"gt": 1.5, "lte": 4.5}}}, [2, 3]),
        ({"must": {"key": "when", "range": {"gte": "2022-01-05T00:00:00Z", "lt": "2024-06-01"}}}, [2, 3, 4]),
        ({"must": {"key": "tags", "values_count": {"gte": 2}}}, [2, 3]),
        ({"must": {"key": "at", "geo_radius": {"center": {"lon": 10, "lat": 50}, "radius": 1e5}}}, [0, 1]),
        ({"must": {"key": "at", "geo_polygon": {"exterior": SQUARE}}}, [0, 1, 2]),
        (
            {
                "must": {
                    "key": "at",
                    "geo_bounding_box": {"top_left": {"lon": 9.5, "lat": 51}, "bottom_right": {"lon": 12.5, "lat": 49}},
                }
            },
            [0, 1, 2],
        ),
        ({"must": {"key": "gone", "is_null": False}}, [1]),
        ({"must": {"is_null": {"key": "gone"}}}, [0, 2, 3, 4, 5]),
        ({"must": {"is_empty": {"key": "tags"}}}, [0, 4]),
        ({"must": {"has_id": [uuid(1), uuid(9)]}}, [1]),
        ({"must": {"has_vector": ""}}, [0, 1, 2, 3, 4, 5]),
        ({"must": {"key": "in[].k", "match": {"value": 3}}}, [3]),
        (
            {
                "must": {
                    "nested": {
                        "key": "in",
                        "filter": {
                            "must": [{"key": "k", "match": {"value": 0}}, {"key": "v", "match": {"value": "x"}}]
                        },
                    }
                }
            },
            [0],
        ),
    ],
)
def test_a_filter_may_be_said_in_qdrants_own_words(places, told, expected):
    assert sorted(rows(near(places, 0, filter=told))) == expected


def test_slices_of_a_collection_are_the_whole(places):
    slices = [rows(near(places, 0, filter={"must": {"slice": {"total": 3, "index": one}}})) for one in range(3)]
    assert sorted(row for part in slices for row in part) == [0, 1, 2, 3, 4, 5]


def test_a_phrase_is_found_in_a_field_that_was_searched_by_words(places):
    assert places.query(Query(words="red"))
    assert rows(near(places, 0, filter={"must": {"key": "text", "match": {"phrase": "red dog"}}})) == [2]


def test_a_filter_of_qdrants_holds_beside_ids_that_shall_not_be_found_and_words(places):
    assert sorted(rows(near(places, 0, filter={"must": RED}, but=[uuid(2)]))) == [0, 4]
    assert sorted(rows(near(places, 0, filter={"must": RED}, words="dog"))) == [0, 2, 4]


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"all": []}, "none of Qdrant's at all"),
        ({"must": [{"field": "label", "any": ["red"]}]}, "as Qdrant's REST API has it"),
        ({"must": [RED, {"key": "row", "match": {"value": 1.5}}]}, r"none of Qdrant's at must\.1\.match\.value"),
        ({"must": nested(40)}, "deeper than 32 levels"),
        ({"min_should": {"conditions": [RED], "min_count": 0}}, "min_count"),
        ({"must": {"slice": {"total": 0, "index": 0}}}, "total"),
    ],
)
def test_a_filter_that_is_none_is_refused(places, told, sentence):
    with pytest.raises(WrongUse, match=sentence):
        near(places, 0, filter=told)


@pytest.mark.parametrize(
    "told",
    [
        {"key": "row", "match": {"value": 2**70}},
        {"key": "row", "match": {"any": [2**70]}},
        {"key": "a..b[", "match": {"value": 1}},
        {"has_id": ["no uuid"]},
        {"has_id": [-1]},
        {"key": "at", "geo_radius": {"center": {"lon": 10, "lat": 5000}, "radius": -5}},
        {"key": "at", "geo_polygon": {"exterior": line((9, 49))}},
        {"key": "tags", "values_count": {"gte": -1}},
    ],
)
def test_no_filter_breaks_an_engine(places, told):
    with suppress(WrongUse):
        assert isinstance(near(places, 0, filter={"must": [told]}), list)


def test_what_the_embedded_engine_cannot_match_names_the_one_that_may(home, monkeypatch):
    monkeypatch.delattr("qdrant_edge.MatchSubstring")  # as an older or newer one might lack
    opened = open_index(settings.load(), "")
    kept = opened.create(new_collection())
    with pytest.raises(WrongUse, match="cannot match by 'substring': a Qdrant server"):
        near(kept, 0, filter={"must": {"key": "label", "match": {"substring": "e"}}})
    opened.close()


def test_pages_and_scores_cut_the_ranking(things):
    whole = near(things, 0, exact=True)
    assert near(things, 0, exact=True, limit=2, offset=3) == whole[3:5]
    assert near(things, 0, exact=True, min_score=whole[2].score - 1e-6) == whole[:3]


def test_diversity_brings_what_is_less_alike(index):
    kept = index.create(new_collection())
    vectors = np.array([[1, 0, 0, 0], [0.999, 0.04, 0, 0], [0.998, 0.06, 0, 0], [0.7, 0, 0.7, 0]], np.float32)
    kept.upsert(Points([uuid(i) for i in range(4)], vectors, [{"row": i} for i in range(4)], "sp_a"))
    assert rows(kept.query(Query(vectors[0], limit=2))) == [0, 1]
    assert rows(kept.query(Query(vectors[0], limit=2, diversity=0.7))) == [0, 3]
    with pytest.raises(WrongUse, match="by likeness alone"):
        kept.query(Query(vectors[0], words="red", diversity=0.7))


def test_a_context_prefers_the_side_of_its_first(things):
    vectors = points().vectors
    pair = [(vectors[1], -vectors[1])]
    found = things.query(Query(vectors[0], context=pair))
    sides = [vectors[row] @ vectors[1] > 0 for row in rows(found)]
    assert sides == sorted(sides, reverse=True)
    assert len(things.query(Query(context=pair))) == 6


@pytest.fixture
def documents(index):
    kept = index.create(new_collection())
    texts = ["a red cat", "the blue dog", "a red dog runs", "猫が好き", "قط أحمر", "Café au lait"]
    kept.upsert(
        Points(
            [uuid(i) for i in range(6)], points().vectors, [{"row": i, "text": t} for i, t in enumerate(texts)], "sp_a"
        )
    )
    return kept


@pytest.mark.parametrize(
    ("words", "expected"),
    [("red dog runs", [2]), ("猫", [3]), ("أحمر", [4]), ("CAFE", [5]), ("nowhere", []), ('"', []), ("a" * 9999, [])],
)
def test_words_rank_what_holds_them_in_any_script(documents, engine, words, expected):
    if engine == "local" and words in ("猫", "CAFE"):
        pytest.skip("local mode tells words apart by spaces and keeps their accents")
    found = documents.query(Query(words=words))
    assert rows(found)[: len(expected)] == expected
    assert (not found) == (not expected)


def test_scores_of_words_are_bm25(index):
    texts = ["one two three", "two two four five six", "seven", "one one one one two"]
    kept = index.create(new_collection())
    kept.upsert(Points([uuid(i) for i in range(4)], points().vectors[:4], [{"text": t} for t in texts], "sp_a"))
    words, k, b = [text.split() for text in texts], 1.2, 0.75
    mean = sum(map(len, words)) / 4

    def score(row):
        total = 0.0
        for word in ("one", "two"):
            having, times = sum(word in one for one in words), words[row].count(word)
            rarity = np.log(1 + (4 - having + 0.5) / (having + 0.5))
            total += rarity * times * (k + 1) / (times + k * (1 - b + b * len(words[row]) / mean))
        return total

    found = {hit.id: hit.score for hit in kept.query(Query(words="one two"))}
    assert found == pytest.approx({uuid(row): score(row) for row in (0, 1, 3)}, rel=1e-3)


def test_words_and_a_vector_are_fused_by_rank(documents):
    by_words, by_likeness = rows(documents.query(Query(words="red dog"))), rows(near(documents, 4))
    ranks = {row: 1 / (60 + by_likeness.index(row)) for row in by_likeness}
    for rank, row in enumerate(by_words):
        ranks[row] += 1 / (60 + rank)
    fused = near(documents, 4, words="red dog")
    assert [hit.score for hit in fused] == pytest.approx(sorted(ranks.values(), reverse=True), rel=1e-5)
    assert rows(near(documents, 4, words="red dog", filter=[wire.Condition(field="row", any=[0, 4])])) in (
        [4, 0],
        [0, 4],
    )
    assert len(near(documents, 4, words="red dog", fuse="dbsf")) == 6


def test_a_field_is_counted_and_searched_by_words_in_turns(documents):
    for _ in range(2):
        assert len(documents.facet("text")) == 6
        assert len(documents.query(Query(words="red"))) == 2
    assert documents.query(Query(words="red", words_in="nothing")) == []
    with pytest.raises(WrongUse, match="holds int values"):
        documents.query(Query(words="red", words_in="row"))


def test_what_a_collection_is_says_how_it_is_searched(things):
    info = things.info()
    assert (info.graph, info.quantised) == ("small", False)
    things.optimize()
    assert things.info() == info


def test_a_sample_is_of_points_each_once(things):
    drawn = things.sample(4)
    assert len({one.id for one in drawn}) == 4
    assert len(things.sample(100)) == 6


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
    assert [hit.id for hit in near(things, 0, filter=asked)] == [uuid(8)]


@pytest.mark.parametrize("field", ["", '"', "a[0]", "[]", "a..b", ".", "\x00", "ä", "x" * 5000])
def test_no_field_name_breaks_filter_or_facets(things, field):
    with suppress(WrongUse):
        assert near(things, 0, filter=[wire.Condition(field=field, any=[1])]) == []
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
        things.notes("layout")
    places = pa.table([[uuid(i) for i in range(6)], np.arange(6.0), np.zeros(6)], names=["id", "x", "y"])
    things.set_notes("layout", places)
    things.delete(ids=[uuid(5)])
    table = things.notes("layout")
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
        things.set_notes("layout", table)
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
        things.query(Query(np.zeros(3, np.float32)))
    with pytest.raises(UnknownName, match="no point"):
        things.vectors([uuid(0), uuid(99)])


def test_a_space_is_one_collection_for_good(index, things):
    assert index.create(new_collection()).info().points == 6
    with pytest.raises(SpaceMismatch):
        index.create(new_collection(space="sp_b"))


def test_a_dropped_collection_is_gone_and_its_name_free(index, things):
    index.drop("things")
    assert index.names() == []
    with pytest.raises(UnknownName, match="Known: none yet"):
        index.collection("things")
    assert index.create(new_collection(space="sp_b")).info().points == 0


@pytest.fixture
def second(index, things):
    """A generation of another space, empty, beside the first, which has six points."""
    assert index.next_generation(new_collection(space="sp_b", dimensions=5)).all == [1, 2]
    return index.collection("things@2")


def test_a_name_means_one_generation_until_it_is_switched(index, things, second):
    second.upsert(points(2, space="sp_b", dimensions=5))
    assert index.generations("things").model_dump() == {"name": "things", "live": 1, "all": [1, 2], "leaving": None}
    assert index.collection("things").facts.space == index.collection("things@1").facts.space == "sp_a"
    assert index.names() == [kept.facts.name for kept in index.all()] == ["things"]
    switched = index.switch("things", 2)
    assert (switched.live, switched.leaving) == (2, 1)
    assert index.collection("things").info().points == 2
    assert index.collection("things").facts.space == "sp_b"
    assert index.settle("things").leaving is None
    assert index.names() == ["things"]
    back = index.switch("things", 1)
    assert (back.live, back.leaving) == (1, 2)
    assert index.collection("things").info().points == 6
    assert index.switch("things", 1) == back  # again is nothing


def test_a_next_generation_is_begun_once(index, things, second):
    second.upsert(points(2, space="sp_b", dimensions=5))
    assert index.next_generation(new_collection(space="sp_b", dimensions=5)).all == [1, 2]
    assert index.collection("things@2").info().points == 2
    with pytest.raises(SpaceMismatch, match="'things@2' holds vectors of space sp_b"):
        index.next_generation(new_collection(space="sp_c"))


def test_every_generation_keeps_its_space(index, things, second):
    with pytest.raises(SpaceMismatch):
        second.upsert(points())
    index.switch("things", 2)
    with pytest.raises(SpaceMismatch):
        index.collection("things").upsert(points())
    with pytest.raises(SpaceMismatch):
        index.create(new_collection())


def test_what_a_name_means_cannot_be_dropped_alone(index, things, second):
    index.switch("things", 2)
    with pytest.raises(Conflict, match="'things' means 'things@2'"):
        index.drop("things@2")
    index.drop("things@1")
    assert index.generations("things").model_dump() == {"name": "things", "live": 2, "all": [2], "leaving": None}
    assert index.next_generation(new_collection(space="sp_c")).all == [2, 3]
    index.drop("things")
    assert index.names() == []
    assert index.create(new_collection()).info().points == 0
    assert index.generations("things").all == [1]


@pytest.mark.parametrize(
    "address", ["things@3", "things@", "things@x", "things@-1", "things@0", "others", "things@1@1"]
)
def test_a_generation_that_is_none_is_refused(index, things, address):
    for ask in (index.collection, index.generations, index.drop):
        with pytest.raises(UnknownName):
            ask(address)
    with pytest.raises(UnknownName):
        index.switch("things", 3)


QUERIES = [
    {"limit": 4},
    {"limit": 3, "offset": 2, "min_score": -0.5},
    {"filter": [wire.Condition(field="row", gte=2)], "but": [uuid(3)]},
    {"words": "red dog"},
    {"words": "red dog", "fuse": "dbsf"},
    {"diversity": 0.7, "limit": 3},
    {"context": [(points().vectors[1], points().vectors[2])]},
]


@pytest.mark.parametrize("asked", QUERIES)
def test_engines_agree(home, monkeypatch, asked):
    monkeypatch.setattr(server, "WORDS", models.TextIndexParams(type=models.TextIndexType.TEXT, scoring=True))
    texts = ["a red cat", "the big blue dog", "a red dog runs fast today", "dog", "nothing", "red red red"]
    sent = Points(
        [uuid(i) for i in range(6)], points().vectors, [{"row": i, "text": t} for i, t in enumerate(texts)], "sp_a"
    )
    found = []
    for opened in (open_index(settings.load(), ""), ServerIndex(QdrantClient(":memory:"))):
        kept = opened.create(new_collection())
        kept.upsert(sent)
        found.append(kept.query(Query(points().vectors[0], **asked)))
        opened.close()
    assert found[0]
    scores = [{hit.id: hit.score for hit in hits} for hits in found]  # of two that are equal either may come first
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)
    assert [hit.score for hit in found[0]] == pytest.approx([hit.score for hit in found[1]], rel=1e-4)


def test_a_server_that_is_not_there_is_one_sentence(monkeypatch):
    monkeypatch.setenv("ENFOLD_QDRANT_URL", f"http://127.0.0.1:{ports.free()}")
    monkeypatch.setattr(server, "_FIRST_PAUSE", server._PATIENCE)  # so that it is asked once
    with pytest.raises(Unavailable, match="see ENFOLD_QDRANT_URL"):
        open_index(settings.load(), "")


def test_an_address_of_another_kind_is_refused(monkeypatch):
    monkeypatch.setenv("ENFOLD_QDRANT_URL", "qdrant:6333")
    with pytest.raises(WrongUse, match="http://host:6333"):
        open_index(settings.load(), "")


def test_collections_of_others_are_left_alone():
    client = QdrantClient(":memory:")
    client.create_collection("theirs", models.VectorParams(size=4, distance=models.Distance.DOT))
    index = ServerIndex(client)
    assert index.names() == []
    with pytest.raises(UnknownName):
        index.drop("theirs")
    with pytest.raises(Conflict, match="not enfold's"):
        index.create(new_collection("theirs"))
