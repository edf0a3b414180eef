"""Jobs over HTTP: each a child process of the server, known by its record; and the layout they end with."""

import json

import numpy as np
import pytest

from enfold import settings, wire
from enfold.errors import Conflict, UnknownName, WrongUse
from serving.jobs import record
from serving.jobs.layout import FEW, fit
from serving.jobs.queue import Jobs
from tests.servers import enfold, until
from tests.unit.serving.conftest import pictures

ENDED = ("done", "failed", "cancelled")


def ended(client, id):
    return until(lambda: (job := client.job(id)).state in ENDED and job, 40)


def test_a_job_over_http_fills_a_collection(client, tmp_path):
    folder = pictures(tmp_path / "photos", 7)
    (folder / "red" / "broken.png").touch()
    started = client.start_job("embed", source=str(folder), model="tiny", to="index://jobbed")
    assert (started.state, started.kind) == ("queued", "embed")
    job = ended(client, started.id)
    assert job.state == "done", job.log
    assert (job.progress["done"], job.progress["total"], job.progress["failed"]) == (8, 8, 1)
    assert json.loads(job.log)["items"] == 7
    assert client.collection("jobbed").points == 7
    assert client.layout("jobbed").num_rows == 7
    assert started.id in [job.id for job in client.jobs()]
    again = ended(client, client.start_job("embed", source=str(folder), model="tiny", to="index://jobbed").id)
    assert again.id == started.id
    assert json.loads(again.log)["skipped"] == 8
    placed = ended(client, client.start_job("layout", collection="jobbed").id)
    assert json.loads(placed.log)["points"] == 7
    client.drop_collection("jobbed")


def test_the_command_beside_a_server_fills_its_index(server, client, tmp_path):
    """The server holds the index; the command finds it by itself, without ENFOLD_URL."""
    folder = pictures(tmp_path / "photos" / "train", 6)
    pictures(tmp_path / "photos" / "test", 3)
    done = server.enfold("embed", tmp_path / "photos", "--model", "tiny", "--to", "index://beside", "--json")
    assert done.returncode == 0, done.stderr
    table = client.layout("beside")
    assert {"id", "x", "y", "label", "split"} <= set(table.column_names)
    query = next(row for row in table.to_pylist() if row["split"] == "test")
    only = [{"field": "split", "any": ["train"]}]
    hits = client.search("beside", id=query["id"], filter=only, limit=10).hits
    assert len(hits) == 6
    assert {hit.payload["split"] for hit in hits} == {"train"}
    found = server.enfold("search", "beside", "--item", folder / "red" / "0000.png", "--limit", "2", "--json")
    assert json.loads(found.stdout)[0]["item"] in ("train/red/0000.png", "test/red/0000.png")
    assert "beside" in [row["name"] for row in json.loads(server.enfold("index", "list", "--json").stdout)]
    assert server.enfold("index", "layout", "beside").returncode == 0
    assert json.loads(server.enfold("index", "drop", "beside", "--json").stdout) == {"dropped": "beside"}
    with pytest.raises(UnknownName):
        client.collection("beside")


def test_a_job_that_fails_says_why(client, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "empty.png").touch()
    job = client.start_job("embed", source=str(tmp_path / "photos"), model="tiny", to="index://failing")
    job = ended(client, job.id)
    assert job.state == "failed"
    assert "0 bytes" in job.progress["error"]
    pictures(tmp_path / "photos", 2)
    (tmp_path / "photos" / "empty.png").unlink()
    assert client.resume_job(job.id).id == job.id
    assert ended(client, job.id).state == "done"
    assert client.collection("failing").points == 2
    client.drop_collection("failing")


@pytest.mark.parametrize(
    ("kind", "arguments", "error", "sentence"),
    [
        ("sing", {}, UnknownName, "unknown job kind 'sing'"),
        ("embed", {}, WrongUse, "argument 'source'"),
        ("embed", {"source": "x", "model": "tiny", "to": "index://a", "colour": 1}, WrongUse, "argument 'colour'"),
        ("embed", {"source": "/nowhere", "model": "tiny", "to": "index://a"}, WrongUse, "there is no source"),
        ("embed", {"source": "/", "model": "none", "to": "index://a"}, UnknownName, "unknown bundle 'none'"),
        ("embed", {"source": "/", "model": "tiny", "to": "mail://a"}, WrongUse, "no place for vectors"),
        ("embed", {"source": "--help", "model": "tiny", "to": "index://a"}, WrongUse, "argument 'source'"),
        ("layout", {"collection": "--help"}, WrongUse, "argument 'collection'"),
    ],
)
def test_a_job_that_makes_no_sense_is_refused(client, kind, arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        client.start_job(kind, **arguments)


@pytest.fixture
def jobs(home, image_bundle, monkeypatch):
    queue = Jobs(settings.load(), "a key")
    yield queue
    queue.close()


def asked(folder, to):
    return wire.NewJob(kind="embed", arguments={"source": str(folder), "model": "tiny", "to": f"parquet://{to}"})


def test_a_second_job_waits_and_both_can_be_cancelled(jobs, tmp_path):
    folder = pictures(tmp_path / "photos", 3)
    first, second = jobs.start(asked(folder, tmp_path / "a")), jobs.start(asked(folder, tmp_path / "b"))
    with pytest.raises(Conflict, match="already at work"):
        jobs.start(asked(folder, tmp_path / "b"))
    jobs.cancel(second.id)
    until(lambda: jobs.get(first.id).state == "running")
    jobs.cancel(first.id)
    until(lambda: jobs.get(first.id).state == "cancelled")
    assert jobs.get(second.id).state == "cancelled"
    assert not (tmp_path / "b").exists()
    jobs.resume(second.id)
    assert until(lambda: jobs.get(second.id).state == "done", 30)
    jobs.cancel(second.id)
    assert jobs.get(second.id).state == "done"
    assert len(list((tmp_path / "b").glob("part-*"))) == 1


def test_a_job_of_a_terminal_is_not_resumed_by_a_server(jobs, home, tmp_path):
    folder = settings.load().jobs / "of-a-terminal"
    record.new(folder, "embed", ["enfold", "embed", "photos", "--model", "tiny", "--to", "index://a"])
    with pytest.raises(Conflict, match="give its command again where it ran"):
        jobs.resume("of-a-terminal")


def test_jobs_that_a_stopped_server_left_waiting_are_done_by_the_next(home, image_bundle, tmp_path):
    folder = pictures(tmp_path / "photos", 3)
    first = Jobs(settings.load(), "a key")
    started = [first.start(asked(folder, tmp_path / name)) for name in "ab"]
    until(lambda: first.get(started[0].id).state == "running")
    first.close()
    assert [first.get(job.id).state for job in started] == ["failed", "queued"]
    second = Jobs(settings.load(), "a key")
    assert until(lambda: second.get(started[1].id).state == "done", 30)
    assert not (tmp_path / "a" / "part-00001.parquet").exists()
    second.close()


def test_a_job_that_was_killed_is_seen_to_have_failed(home, tmp_path):
    job = record.new(tmp_path / "job", "embed", ["enfold"])
    job.state = "running"
    record.write(tmp_path / "job", job)
    assert record.read(tmp_path / "job").state == "failed"


@pytest.mark.parametrize(
    "vectors",
    [np.ones((1, 4)), np.zeros((3, 4)), np.ones((FEW + 9, 4)), np.random.default_rng(0).normal(size=(FEW + 9, 1))],
)
def test_whatever_the_vectors_every_point_has_a_place(vectors):
    placed = fit(vectors.astype(np.float32))
    assert placed.shape == (len(vectors), 2)
    assert np.isfinite(placed).all()


def test_neighbours_stay_neighbours_on_the_map():
    """Three clusters in 16 dimensions are three clusters in two."""
    rng = np.random.default_rng(0)
    centres = 5 * rng.normal(size=(3, 16))
    vectors = np.concatenate([centre + rng.normal(size=(30, 16)) for centre in centres]).astype(np.float32)
    placed = fit(vectors)
    means = placed.reshape(3, 30, 2).mean(1)
    nearest = np.linalg.norm(placed[:, None] - means, axis=2).argmin(1)
    assert (nearest == np.repeat(range(3), 30)).all()


def test_a_command_without_its_server_says_so(home, image_bundle, tmp_path):
    lost = enfold("index", "list", home=home, ENFOLD_URL="http://127.0.0.1:9")
    assert (lost.returncode, "no server answers at http://127.0.0.1:9" in lost.stderr) == (1, True)
    assert json.loads(enfold("index", "list", "--json", home=home).stdout) == []
