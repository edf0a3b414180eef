"""Embedding a collection again while it is searched: real servers, real processes, killed at every step."""

import base64
import json
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import nullcontext, suppress

import numpy as np
import pytest
from PIL import Image
from qdrant_client import QdrantClient

import enfold
from enfold import settings
from enfold.errors import Conflict, GateRefused, UnknownName, WrongUse
from enfold.points import point_id
from serving.index import Points, open_index
from serving.index.server import ServerIndex
from serving.jobs import pipeline
from serving.jobs import upgrade as room
from serving.jobs.embed import embed
from serving.jobs.upgrade import Kept, Upgrade, upgrade
from tests import bundles, faults
from tests.servers import environment, start, stop, until
from tests.unit.serving.conftest import new_collection, pictures, uuid


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(pipeline, "SHARD_ITEMS", 4)
    monkeypatch.setattr(room, "SETTLE_SECONDS", 0)


@pytest.fixture
def two(home):
    """tiny@1 and tiny@2, of two spaces."""
    return [bundles.image_bundle(home / "bundles", seed=seed).manifest.entries["image"].space for seed in (0, 1)]


@pytest.fixture
def photos(two, tmp_path):
    folder = pictures(tmp_path / "photos", 10)
    embed(str(folder), model="tiny@1", to="index://photos")
    return folder


class Opened:
    """The index for a moment."""

    def __enter__(self):
        self.index = open_index(settings.load(), "")
        return self.index

    def __exit__(self, *_):
        self.index.close()


def content(name="photos"):
    """id -> (vector, payload) of what a name means."""
    with Opened() as index:
        pages = list(index.collection(name).scroll())
    return {
        id: (vector, payload)
        for page in pages
        for id, vector, payload in zip(page.ids, page.vectors, page.payloads, strict=True)
    }


def is_of(model, folder, name="photos"):
    """Every picture once, with the vectors of a model and the payload that it had."""
    found, encoder = content(name), enfold.open(model)
    files = sorted(folder.rglob("*.png"))
    assert set(found) == {point_id(folder.as_uri(), file.relative_to(folder).as_posix()) for file in files}
    for file in files:
        vector, payload = found[point_id(folder.as_uri(), file.relative_to(folder).as_posix())]
        np.testing.assert_allclose(vector, encoder.embed([file]).vectors[0], atol=1e-5)
        assert (payload["bundle"], payload["label"]) == (model, file.parent.name)


def generations(name="photos"):
    with Opened() as index:
        return index.generations(name)


def test_a_collection_moves_to_another_bundle_and_back(photos, two):
    done = upgrade("photos", to="tiny@2")
    assert {key: done[key] for key in ("model", "generation", "items", "left_behind", "from_thumbnails")} == {
        "model": "tiny@2", "generation": 2, "items": 10, "left_behind": 0, "from_thumbnails": 0,
    }  # fmt: skip
    assert (done["recall"], done["canary"]) == (1, pytest.approx(1, abs=1e-4))
    assert 0 < done["overlap"] <= 1
    is_of("tiny@2", photos)
    is_of("tiny@1", photos, "photos@1")
    with Opened() as index:
        assert index.collection("photos").info().has_layout
        assert index.collection("photos").thumbnail(next(iter(index.collection("photos").scroll())).ids[0])[8:12] == (
            b"WEBP"
        )
    assert upgrade("photos", to="tiny@2") == {"collection": "photos", "model": "tiny@2", "generation": 2}
    assert upgrade("photos", back=True)["generation"] == 1
    is_of("tiny@1", photos)
    assert generations().all == [1]
    with pytest.raises(WrongUse, match="no generation to go back to"):
        upgrade("photos", back=True)


def test_what_is_begun_can_be_given_up(two, tmp_path, monkeypatch):
    """Of noise two random maps keep few neighbours."""
    monkeypatch.setattr(room, "NEIGHBOURS", 3)
    photos, rng = tmp_path / "photos", np.random.default_rng(0)
    (photos / "noise").mkdir(parents=True)
    for number in range(30):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(photos / "noise" / f"{number}.png")
    embed(str(photos), model="tiny@1", to="index://photos")
    with pytest.raises(GateRefused, match="the overlap of 'photos@2' is 0"):
        upgrade("photos", to="tiny@2", overlap=1.0)
    assert (generations().live, generations().all) == (1, [1, 2])
    is_of("tiny@1", photos)
    assert upgrade("photos", back=True)["generation"] == 1
    assert generations().all == [1]


@pytest.mark.parametrize("way", [{"to": "tiny@2"}, {"back": True}])
def test_every_write_can_be_the_last(photos, home, tmp_path, monkeypatch, way):
    """Stopped before each of its writes in turn, the same command goes on: nothing lost, nothing twice."""

    class Killed(BaseException):
        pass

    last, left = "", 0

    def tell(name):
        nonlocal last, left
        left -= 1
        if left == 0:
            last = name
            raise Killed

    if "back" in way:
        upgrade("photos", to="tiny@2")
    shutil.copytree(home, tmp_path / "before")
    faults.before_each(tell, monkeypatch.setattr)
    stopped = []
    for number in range(1, 100):
        shutil.rmtree(home)
        shutil.copytree(tmp_path / "before", home)
        left = number
        try:
            upgrade("photos", **way)
        except Killed:
            stopped.append(last)
            assert len(content("photos")) == 10
            with suppress(WrongUse) if last == "write" else nullcontext():  # all but its record was done
                upgrade("photos", **way)
            is_of("tiny@2" if "to" in way else "tiny@1", photos)
        else:
            break
    assert set(stopped) >= (
        {"next_generation", "upsert", "written", "set_layout", "switch", "settle", "write"}
        if "to" in way
        else {"switch", "settle", "drop_collection", "write"}
    )
    assert generations().leaving is None


def test_what_is_erased_and_written_on_the_way_arrives(photos, monkeypatch, two):
    """Between the rounds, and between the last of them and the switch."""
    with Opened() as index:
        kept = index.collection("photos")
        first = next(iter(kept.scroll()))
    one = Points(first.ids[:1], first.vectors[1:2], [{**first.payloads[0], "note": "changed"}], two[0])
    more = pictures(photos, 2, first=10)
    carry, calls = room.Way._carry, []

    def interrupted(way):
        done = carry(way)
        calls.append(way.to)
        index = way.move.home._index
        if len(calls) == 1:
            for kept in (index.collection("photos"), index.collection("photos@2")):
                kept.delete(ids=[first.ids[5]])
            index.collection("photos").upsert(one)
        return done

    def late(home, name, to):
        """After the last round, just before the switch."""
        file = more / "green" / "0010.png"
        vector = enfold.open("tiny@1").embed([file]).vectors
        payload = {"source": photos.as_uri(), "item": "green/0010.png", "label": "green"}
        home._index.collection("photos").upsert(
            Points([point_id(payload["source"], payload["item"])], vector, [payload], two[0])
        )
        return switch(home, name, to)

    switch = room.reach.Local.switch
    monkeypatch.setattr(room.Way, "_carry", interrupted)
    monkeypatch.setattr(room.reach.Local, "switch", late)
    done = upgrade("photos", to="tiny@2")
    found = content()
    assert (done["items"], len(found)) == (9, 10)
    assert first.ids[5] not in found
    assert found[first.ids[0]][1]["note"] == "changed"
    late_one = found[point_id(photos.as_uri(), "green/0010.png")]
    np.testing.assert_allclose(
        late_one[0], enfold.open("tiny@2").embed([more / "green/0010.png"]).vectors[0], atol=1e-5
    )


def test_what_was_written_since_goes_along_on_the_way_back(photos, two):
    upgrade("photos", to="tiny@2")
    file = pictures(photos, 1, first=10) / "green" / "0010.png"
    embed(str(photos), model="tiny@2", to="index://photos")
    assert file.exists()
    with Opened() as index:
        doomed = point_id(photos.as_uri(), "red/0000.png")
        for number in (1, 2):
            index.collection(f"photos@{number}").delete(ids=[doomed])
    (photos / "red" / "0000.png").unlink()
    assert upgrade("photos", back=True)["left_behind"] == 0
    is_of("tiny@1", photos)


def test_files_that_are_gone_are_carried_by_their_thumbnails(photos):
    for file in (photos / "red").iterdir():
        file.unlink()
    assert upgrade("photos", to="tiny@2")["from_thumbnails"] == 4
    assert len(content()) == 10


def test_what_cannot_be_carried_over_refuses_and_changes_nothing(photos, two):
    with Opened() as index:
        vector = np.ones((1, 8), np.float32)
        index.collection("photos").upsert(Points([uuid(9)], vector, [{"note": "a vector alone"}], two[0]))
    with pytest.raises(GateRefused, match="1 items of 'photos' cannot be carried over, first index://photos"):
        upgrade("photos", to="tiny@2")
    assert generations().live == 1
    with Opened() as index:
        index.collection("photos").delete(ids=[uuid(9)])
    assert upgrade("photos", to="tiny@2")["items"] == 10


def test_texts_are_carried_by_what_was_kept_of_them(home, tmp_path):
    for seed in (0, 1):
        bundles.text_bundle(home / "bundles", seed=seed)
    file = tmp_path / "long.txt"
    file.write_text(" ".join(["a red cat sat"] * 20))
    embed(str(file), model="words@1", to="index://passages", parts=True)
    before = content("passages")
    file.unlink()
    assert upgrade("passages", to="words@2")["items"] == 1
    after = content("passages")
    assert {id: payload["text"] for id, (_, payload) in after.items()} == {
        id: payload["text"] for id, (_, payload) in before.items()
    }
    assert {payload["bundle"] for _, payload in after.values()} == {"words@2"}


def test_a_text_is_put_together_of_windows():
    assert Kept("s", "i", {}, texts=[(6, "world!"), (0, "hello w"), (5, " wor")]).text == "hello world!"
    assert Kept("s", "i", {}, texts=[(6, "c"), (0, "ab")]).text == "ab    c"
    assert Kept("s", "i", {}).text is None


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"collection": "none", "to": "tiny@2"}, UnknownName, "unknown collection 'none'"),
        ({"collection": "photos@1", "to": "tiny@2"}, WrongUse, "an upgrade is of the whole: 'photos'"),
        ({"collection": "photos", "to": "none"}, UnknownName, "unknown bundle 'none'"),
        ({"collection": "photos", "to": "words"}, WrongUse, "is of image items; words@1 takes text"),
        ({"collection": "photos"}, WrongUse, "either the bundle to go to, or to go back"),
        ({"collection": "photos", "to": "tiny@2", "back": True}, WrongUse, "either the bundle to go to, or to go back"),
    ],
)
def test_an_upgrade_that_makes_no_sense_is_refused(photos, text_bundle, arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        upgrade(**arguments)
    assert generations().all == [1]


def test_another_bundle_waits_until_what_is_begun_is_given_up(photos, home, monkeypatch):
    bundles.image_bundle(home / "bundles", seed=2)
    monkeypatch.setattr(room, "RECALL", 1.1)
    with pytest.raises(GateRefused, match=r"the recall of 'photos@2' is 1\.000, at least 1\.1"):
        upgrade("photos", to="tiny@2")
    monkeypatch.setattr(room, "RECALL", 0.95)
    with pytest.raises(Conflict, match="to tiny@2 is begun"):
        upgrade("photos", to="tiny@3")
    upgrade("photos", back=True)
    assert upgrade("photos", to="tiny@3")["model"] == "tiny@3"
    assert upgrade("photos", to="tiny@2")["generation"] == 3
    assert generations().all == [1, 2, 3]
    assert upgrade("photos", back=True)["model"] == "tiny@3"
    is_of("tiny@3", photos)


def test_it_is_the_same_on_a_qdrant_server(two, tmp_path, monkeypatch):
    index = ServerIndex(QdrantClient(":memory:"))
    monkeypatch.setattr(room.reach, "open_index", lambda *_: index)
    monkeypatch.setattr(index, "close", lambda: None)
    folder = pictures(tmp_path / "photos", 10)
    embed(str(folder), model="tiny@1", to="index://photos")
    assert upgrade("photos", to="tiny@2")["items"] == 10
    assert index.collection("photos").facts.space == two[1]
    assert index.collection("photos").info().points == 10
    assert upgrade("photos", back=True)["model"] == "tiny@1"
    assert index.collection("photos").facts.space == two[0]
    assert index.generations("photos").all == [1]


def test_one_upgrade_of_a_collection_runs_at_a_time(photos):
    from serving.jobs import record

    folder = settings.load().jobs / Upgrade.checked(collection="photos", back=True).id(settings.load())
    with record.running(folder, "upgrade", ["enfold"]), pytest.raises(Conflict, match="this job is in use"):
        upgrade("photos", to="tiny@2")


STEPS = [
    ("--to", "next_generation", 1),
    ("--to", "upsert", 2),
    ("--to", "written", 2),
    ("--to", "set_layout", 1),
    ("--to", "switch", 1),
    ("--to", "settle", 1),
    ("--to", "nothing", 1),
    ("--back", "switch", 1),
    ("--back", "settle", 1),
    ("--back", "drop_collection", 1),
    ("--back", "nothing", 1),
]


def test_searches_never_fail_while_it_is_killed_at_every_step(photos, home, two):
    server = start(home, "tiny@1", "tiny@2")
    failed, found, ended = [], [], threading.Event()
    picture = photos / "red" / "0003.png"

    def search():
        with server.client() as client:
            while not ended.is_set():
                try:
                    hits = client.search("photos", item=picture, modality="image", limit=3).hits
                    found.append((hits[0].payload["item"], hits[0].payload["bundle"]))
                except Exception as error:
                    failed.append(error)
                ended.wait(0.03)

    searching = threading.Thread(target=search)
    try:
        with server.client() as client:
            until(client.ready)
            searching.start()
            for way, write, number in STEPS:
                words = ["index", "upgrade", "photos", *(["--to", "tiny@2"] if way == "--to" else ["--back"]), "--json"]
                command = [sys.executable, "-m", "tests.faults", write, str(number), *words]
                child = subprocess.run(command, env=environment(home), capture_output=True, text=True, timeout=120)
                expected = 0 if write == "nothing" else -signal.SIGKILL
                assert child.returncode == expected, (way, write, child.stdout, child.stderr)
                if write == "nothing":
                    model = "tiny@2" if way == "--to" else "tiny@1"
                    assert json.loads(child.stdout)["model"] == model
                    assert client.collection("photos").points == 10
                    seen = len(found)
                    until(lambda seen=seen: len(found) > seen + 2)
                    assert {bundle for _, bundle in found[seen + 1 :]} == {model}
            # a raw item reaches both generations, an erasure too
            job = client.start_job("upgrade", collection="photos", to="tiny@2")
            until(lambda: client.job(job.id).state == "done", 60)
            with server.http() as http:
                item = {"image": base64.b64encode((photos / "green" / "0001.png").read_bytes()).decode()}
                added = http.post("/collections/photos/items", json={"items": [{"item": item}]})
            assert added.status_code == 200, added.text
            assert [client.collection(f"photos@{number}").points for number in (1, 2)] == [11, 11]
            client.delete("photos", source="api")
            assert [client.collection(f"photos@{number}").points for number in (1, 2)] == [10, 10]
    finally:
        ended.set()
        if searching.is_alive():
            searching.join()
        stop(server)
    assert not failed, failed[0]
    assert {item for item, _ in found} == {"red/0003.png"}
    assert {bundle for _, bundle in found} == {"tiny@1", "tiny@2"}


@pytest.mark.parametrize(
    ("method", "route", "body", "status", "words"),
    [
        ("GET", "/collections/none/generations", None, 404, "unknown collection 'none'"),
        ("GET", "/collections/asked@9/generations", None, 404, "Known: asked, asked@1"),
        ("PUT", "/collections/asked/generations", {"live": 7}, 404, "unknown collection 'asked@7'"),
        ("PUT", "/collections/asked/generations", {}, 422, "which generation is 'live'"),
        ("PUT", "/collections/asked/generations", {"live": 0}, 422, "greater than or equal to 1"),
        ("PUT", "/collections/asked/generations", {"live": 1, "settled": True}, 422, "which generation is 'live'"),
        ("POST", "/collections/asked/generations", {"name": "asked"}, 422, "model"),
        ("POST", "/collections/other/generations", "asked", 400, "name the same collection"),
        ("DELETE", "/collections/asked@1", None, 409, "'asked' means 'asked@1'"),
        ("POST", "/collections/none/optimize", None, 404, "unknown collection 'none'"),
    ],
)
def test_generations_that_make_no_sense_are_one_sentence(http, client, method, route, body, status, words):
    client.create_collection(new_collection("asked"))
    body = new_collection("asked").model_dump() if body == "asked" else body
    answer = http.request(method, route, json=body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
    assert client.generations("asked").all == [1]
    client.drop_collection("asked")


def test_a_server_must_serve_what_it_is_upgraded_to(photos, home, two):
    server = start(home, "tiny@1")
    try:
        with server.client() as client:
            until(client.ready)
            done = server.enfold("index", "upgrade", "photos", "--to", "tiny@2")
            assert done.returncode == 2
            assert "enfold serve tiny@1 tiny@2" in " ".join(done.stderr.split())
            assert client.generations("photos").all == [1]
    finally:
        stop(server)
