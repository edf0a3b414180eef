"""New points against a reference: what has moved is found, what has not is left in peace."""

import json

import numpy as np
import pytest

from enfold import settings
from enfold.errors import SpaceMismatch, UnknownName, WrongUse
from serving.index import Points, open_index
from serving.jobs.drift import SURE, Drift, beyond, compare, discrepancy, drift
from serving.jobs.health import units
from tests.servers import until
from tests.unit.serving.conftest import new_collection, pictures, uuid


def cloud(count, seed, shift=0.0):
    vectors = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    vectors[:, 0] += shift
    return units(vectors)


def sample(count, seed, shift=0.0, first=0):
    vectors = cloud(count, seed, shift)
    return Points([uuid(first + i) for i in range(count)], vectors, [{}] * count, "sp_a")


def test_the_discrepancy_is_that_of_its_definition():
    old, now = cloud(7, 0).astype(np.float64), cloud(5, 1, 1.0).astype(np.float64)
    both = np.concatenate([old, now])
    squares = ((both[:, None] - both) ** 2).sum(2)
    kernel = np.exp(-squares / np.median(squares[np.triu_indices(12, 1)]))

    def mean_of_pairs(rows):
        return np.mean([kernel[a, b] for a in rows for b in rows if a != b])

    expected = mean_of_pairs(range(7)) + mean_of_pairs(range(7, 12)) - 2 * kernel[:7, 7:].mean()
    assert discrepancy(old, now)[0] == pytest.approx(expected, rel=1e-6)


def test_the_test_keeps_its_level_and_finds_a_shift():
    """Of 60 draws from one cloud about one in a hundred is called a drift; a shift of two deviations always is."""
    called = sum(discrepancy(cloud(40, 2 * seed), cloud(30, 2 * seed + 1))[1] < SURE for seed in range(60))
    assert called <= 3
    assert all(discrepancy(cloud(40, 2 * seed), cloud(30, 2 * seed + 1, 2.0))[1] < SURE for seed in range(20))


def test_a_stranger_among_the_new_lies_beyond_and_is_named():
    now = sample(50, 1, 4.0, first=500)
    centred = sample(400, 0, 4.0)
    now.vectors[7] = -now.vectors[7]
    found = compare(centred, now)
    assert found["farthest"][0] == uuid(507)
    assert 0.02 <= found["beyond"] <= 0.1
    assert not found["drifted"]
    distance, limit = beyond(centred.vectors, centred.vectors)
    assert (distance > limit).mean() <= 0.01


def test_too_few_are_refused():
    with pytest.raises(WrongUse, match="there are 4 new points"):
        compare(sample(10, 0), sample(4, 1))
    with pytest.raises(WrongUse, match="there are 0 reference points"):
        compare(sample(0, 0), sample(9, 1))


def test_vectors_that_are_all_alike_have_not_moved():
    same = Points([uuid(i) for i in range(9)], np.ones((9, 4), np.float32), [{}] * 9, "sp_a")
    found = compare(same, same)
    assert (found["drifted"], found["beyond"]) == (False, 0)


def test_the_command_tells_new_points_by_a_field_or_another_collection(home):
    index = open_index(settings.load(), "")
    old, new = sample(60, 0), sample(40, 1, 2.0, first=100)
    for name, points in (("all", [(old, 1), (new, 2)]), ("old", [(old, 1)]), ("other", [(old, 1)])):
        space = "sp_b" if name == "other" else "sp_a"
        kept = index.create(new_collection(name, dimensions=8, space=space))
        for one, month in points:
            kept.upsert(Points(one.ids, one.vectors, [{"month": month}] * len(one.ids), space))
    index.close()
    by_field, by_collection = drift("all", where="month=2"), drift("all", where="month=2", reference="old")
    assert (by_field["new"], by_field["reference"], by_field["drifted"]) == (40, 60, True)
    assert by_field == by_collection
    assert drift("old", reference="all")["new"] == 60
    with pytest.raises(SpaceMismatch):
        drift("all", reference="other")
    with pytest.raises(WrongUse, match="there are 0 new points"):
        drift("all", where="month=3")
    with pytest.raises(UnknownName):
        drift("none", where="month=3")


@pytest.mark.parametrize(
    ("told", "sentence"), [({}, "say which points are new"), ({"where": "month"}, "no FIELD=VALUE")]
)
def test_one_side_alone_is_refused(home, told, sentence):
    with pytest.raises(WrongUse, match=sentence):
        drift("all", **told)
    with pytest.raises(WrongUse, match="are said together"):
        Drift.checked(collection="all", field="month")


def test_over_http_it_is_a_job(server, client, tmp_path):
    pictures(tmp_path / "photos", 18)
    done = server.enfold("embed", tmp_path / "photos", "--model", "tiny", "--to", "index://drifting")
    assert done.returncode == 0, done.stderr
    job = client.start_job("drift", collection="drifting", field="label", value="red")
    until(lambda: client.job(job.id).state == "done", 60)
    assert json.loads(client.job(job.id).log)["new"] == 6
    client.drop_collection("drifting")
