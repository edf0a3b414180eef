"""Many bundles in one server: opened when needed, closed to make room, switched without dropping a request."""

import threading

import pytest

from enfold import store
from enfold.errors import BundleInvalid, Unavailable, UnknownName
from enfold.settings import Settings
from serving.models import Models
from tests import bundles
from tests.servers import start, stop, until


@pytest.fixture
def closed():
    return []


def budgeted(home, names, budget_bytes, monkeypatch, closed):
    found = Models(Settings(models=",".join(names), memory_mb=1), closed=closed.append)
    monkeypatch.setattr(Models, "_fits", lambda self, model: self._bytes() + model.bytes <= budget_bytes)
    return found


def test_what_there_is_room_for_is_opened_and_the_longest_unused_makes_room(home, closed, monkeypatch):
    for name in ("a", "b", "c"):
        bundles.image_bundle(home / "bundles", name)
    one = Models(Settings(models="a"), closed=closed.append)
    one.load()
    size = one.all()[0].bytes
    models = budgeted(home, ("a", "b", "c"), 2 * size, monkeypatch, closed)
    models.load()
    a, b, c = models.all()
    assert (a.loaded, b.loaded, c.loaded) == (True, True, False)
    models.used(a)  # b is now the longest unused
    assert models.variant(c, "fp32", None) is c
    assert (a.loaded, b.loaded, c.loaded) == (True, False, True)
    assert b.check() > 0.999  # and is opened again when it is needed
    with pytest.raises(Unavailable, match="ENFOLD_MEMORY_MB"):
        budgeted(home, ("a",), size - 1, monkeypatch, closed)._ready(a.__class__(a.bundle))


def test_a_name_follows_its_newest_version_and_an_alias_where_it_points(home, closed):
    for seed in (0, 1):
        bundles.image_bundle(home / "bundles", "a", seed=seed)
    store.promote_bundle("a@1", "live")
    models = Models(Settings(models="a@live"), closed=closed.append)
    models.load()
    assert models.select("a@live").bundle.ref == "a@1"
    store.promote_bundle("a@2", "live")
    old = models.select("a@live")
    models.follow()
    assert models.select("a@live").bundle.ref == "a@2"
    assert models.select(None).bundle.ref == "a@2"
    assert not closed
    models.follow()
    assert closed == [old]
    with pytest.raises(UnknownName):
        models.select("a@1")


def test_a_version_that_fails_its_check_is_not_taken_up(home, closed, monkeypatch):
    for seed in (0, 1):
        bundles.image_bundle(home / "bundles", "a", seed=seed)
    store.promote_bundle("a@1", "live")
    models = Models(Settings(models="a@live"), closed=closed.append)
    models.load()
    store.promote_bundle("a@2", "live")
    kept = models.select("a@live")

    def fails(self):
        raise BundleInvalid("moved")

    monkeypatch.setattr(type(kept), "check", fails)
    models.follow()
    models.follow()
    assert models.select("a@live") is kept
    assert not closed


def test_no_request_is_dropped_while_an_alias_is_switched(tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("switch")
    for seed in (0, 1):
        bundles.text_bundle(home / "bundles", "words", seed=seed)
    monkeypatch.setenv("ENFOLD_HOME", str(home))
    store.promote_bundle("words@1", "live")
    running = start(home, "words@live", ENFOLD_ACCESS_LOG="0")
    seen, ending = [], threading.Event()

    def ask():
        with running.http() as http:
            while not ending.is_set():
                answer = http.post("/embed", json={"items": [{"text": "red cat"}]})
                seen.append((answer.status_code, answer.json().get("model")))

    with running.client() as client:
        until(client.ready)
    callers = [threading.Thread(target=ask) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        until(lambda: len(seen) > 5)
        store.promote_bundle("words@2", "live")
        until(lambda: seen[-1][1] == "words@2", seconds=60)
    finally:
        ending.set()
        for caller in callers:
            caller.join()
        stop(running)
    assert {status for status, _ in seen} == {200}
    assert {model for _, model in seen} == {"words@1", "words@2"}
