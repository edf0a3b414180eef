"""A job by the workers of a Ray cluster: real actor processes on this machine."""

import os
import signal
import threading
import time

import psutil
import pytest

import enfold
from enfold import settings
from enfold.errors import SpaceMismatch, Unavailable, WrongUse
from serving.jobs import pipeline
from serving.jobs.embed import embed
from serving.jobs.pipeline import Maker
from serving.jobs.source import Item
from serving.jobs.workers import workers
from tests import bundles
from tests.unit.serving.conftest import pictures

ray = pytest.importorskip("ray")


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(pipeline, "SHARD_ITEMS", 4)


def files(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def actors():
    return [one for one in psutil.process_iter(["cmdline"]) if "ray::Worker" in " ".join(one.info["cmdline"] or [])]


def kill_one_at_work(killed: list[int]) -> None:
    while not (found := [one for one in actors() if "make" in one.cmdline()[0]]):
        time.sleep(0.01)
    os.kill(found[0].pid, signal.SIGKILL)
    killed.append(found[0].pid)


def test_workers_make_what_one_process_makes_though_one_is_killed(image_bundle, tmp_path, small_shards):
    folder = pictures(tmp_path / "photos", 40)
    (folder / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    alone = embed(str(folder), model="tiny", to=f"parquet://{out}")
    made = files(out)
    for file in out.iterdir():
        file.unlink()
    killed: list[int] = []
    hunter = threading.Thread(target=kill_one_at_work, args=(killed,), daemon=True)
    hunter.start()
    done = embed(str(folder), model="tiny", to=f"parquet://{out}", engine="ray", workers=2)
    assert killed
    assert {name: done[name] for name in ("items", "failed", "vectors")} == {
        name: alone[name] for name in ("items", "failed", "vectors")
    }
    assert files(out) == made


def test_more_workers_than_there_is_room_for_are_refused(image_bundle, tmp_path):
    folder = pictures(tmp_path / "photos", 4)
    with pytest.raises(WrongUse, match=r"workers 4000: the cluster has room for \d+ of 1 CPUs"):
        embed(str(folder), model="tiny", to=f"parquet://{tmp_path / 'out'}", engine="ray", workers=4000)


class Deadly:
    """A maker in whose hands a worker dies."""

    def __init__(self, model):
        pass

    def make(self, items, threads):
        os._exit(1)


def test_a_worker_that_dies_again_and_again_stops_the_job_in_a_sentence(image_bundle, home):
    opening, space = (lambda: enfold.open("tiny")), image_bundle.manifest.entries["image"].space
    with (
        workers(opening, Deadly, space, 1, settings.load()) as make,
        pytest.raises(Unavailable, match=r"a worker was lost 3 times .* the same command goes on"),
    ):
        list(make([Item("a", b"no matter")]))


def test_a_worker_that_finds_another_bundle_refuses(image_bundle, home):
    other = bundles.image_bundle(home / "bundles", "other", seed=1)
    opening, space = (lambda: enfold.open("tiny")), other.manifest.entries["image"].space
    with (
        workers(opening, lambda model: Maker(model, "file:///x", False, False), space, 1, settings.load()) as make,
        pytest.raises(SpaceMismatch, match="the worker's tiny@1"),
    ):
        list(make([Item("a", b"no matter")]))
