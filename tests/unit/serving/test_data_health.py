"""What the job `health` finds: against brute force on small sets, and through command and server."""

import numpy as np
import pytest

from enfold import settings
from enfold.errors import UnknownName, WrongUse
from serving.index import Points, arrow, open_index
from serving.jobs.health import copies_of, cover, examine, health, labels_in_doubt, neighbours, oddity
from tests.servers import until
from tests.unit.serving.conftest import new_collection, pictures, points, uuid

RNG = np.random.default_rng(0)


def units(count: int, dimensions: int = 8) -> np.ndarray:
    vectors = RNG.normal(size=(count, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_neighbours_are_those_of_brute_force(monkeypatch):
    monkeypatch.setattr("serving.jobs.health._ROWS", 7)
    vectors = units(40)
    near, likeness = neighbours(vectors, 5)
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    np.testing.assert_array_equal(near, np.argsort(-scores, axis=1)[:, :5])
    np.testing.assert_allclose(likeness, np.sort(scores, axis=1)[:, ::-1][:, :5], atol=1e-6)


def test_a_chain_of_copies_is_one_group():
    near = np.array([[1], [2], [1], [4], [3], [0]])
    likeness = np.array([[0.99], [0.99], [0.99], [0.5], [0.5], [0.2]])
    assert copies_of(near, likeness, 0.98).tolist() == [0, 0, 0, 3, 4, 5]
    backwards = copies_of(np.array([[3], [0], [1], [2]]), np.full((4, 1), 0.99), 0.98)
    assert backwards.tolist() == [0, 0, 0, 0]


def test_the_farthest_from_its_neighbours_is_the_oddest():
    centre = np.array([1, 0, 0, 0], np.float32)
    vectors = np.concatenate([centre + 0.05 * RNG.normal(size=(30, 4)), [[-1, 0.2, 0, 0]]]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = oddity(neighbours(vectors, 5)[1])
    assert found.argmax() == 30
    assert found.min() == 0
    assert found.max() == pytest.approx(30 / 31)


def test_a_wrong_label_is_told_by_its_neighbours():
    vectors = np.concatenate([units(12) * 0.1 + axis for axis in np.eye(8, dtype=np.float32)[:2]])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = ["left"] * 12 + ["right"] * 12
    labels[3], labels[20] = "right", None
    agreement, suggested = labels_in_doubt(neighbours(vectors, 5)[0], labels)
    assert min((one, row) for row, one in enumerate(agreement) if one is not None)[1] == 3
    assert suggested[3] == "left"
    assert agreement[20] is suggested[20] is None


def test_the_cover_goes_to_the_farthest_and_leaves_out_copies():
    vectors = units(20)
    vectors[7] = vectors[4]
    order = cover(vectors, 10)
    ranks = sorted(rank for rank in order if rank is not None)
    assert ranks == list(range(1, 11))
    chosen = [order.index(rank) for rank in ranks]
    for step in range(1, 10):
        nearest = (vectors @ vectors[chosen[:step]].T).max(1)
        assert nearest[chosen[step]] == pytest.approx(nearest.min(), abs=1e-6)
    whole = cover(vectors, 100)
    assert [whole[4], whole[7]].count(None) == 1


def test_fewer_than_two_points_are_refused():
    with pytest.raises(WrongUse, match="takes two or more"):
        examine(points(1))


def test_the_command_keeps_what_it_finds_beside_the_points(home):
    index = open_index(settings.load(), "")
    kept = index.create(new_collection())
    sent = points(40, seed=3)
    vectors = np.concatenate([sent.vectors, sent.vectors[:1]])
    kept.upsert(Points([*sent.ids, uuid(40)], vectors, [*sent.payloads, sent.payloads[0]], "sp_a"))
    with pytest.raises(UnknownName, match="enfold index health things"):
        kept.notes("health")
    index.close()
    done = health("things", alike=0.9999)
    assert (done["points"], done["copies"], done["labelled"]) == (41, 1, 41)
    index = open_index(settings.load(), "")
    kept = index.collection("things")
    assert kept.info().has_health
    rows = {row["id"]: row for row in kept.notes("health").to_pylist()}
    assert rows[uuid(40)]["copy_of"] == uuid(0)
    assert rows[uuid(40)]["nearest"] == uuid(0)
    assert {"label", "row", "source"} <= rows[uuid(0)].keys()
    kept.delete(ids=[uuid(40)])
    assert kept.notes("health").num_rows == 40
    with pytest.raises(WrongUse, match="lacks column 'nearest'"):
        kept.set_notes("health", kept.notes("health").drop_columns("nearest"))
    index.close()


def test_over_http_it_is_a_job_and_an_arrow_stream(server, tmp_path):
    pictures(tmp_path / "photos", 12)
    with server.client() as client:
        done = server.enfold("embed", tmp_path / "photos", "--model", "tiny", "--to", "index://seen")
        assert done.returncode == 0, done.stderr
        job = client.start_job("health", collection="seen", alike=0.9)
        until(lambda: client.job(job.id).state == "done", 60)
        table = client.health("seen")
        assert table.num_rows == 12
        assert set(arrow.HEALTH.names) < set(table.column_names)
        client.drop_collection("seen")
