"""`enfold serve` and its end: what is wrong is said before anything starts, and nothing stays behind."""

import os
import signal
import socket
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from enfold import client, ports
from enfold.bundle import read_manifest, seal
from serving import commands, lock, reach
from tests.servers import enfold, start, stop, until
from tests.unit.serving.test_service import problem


def test_a_port_in_use_is_one_sentence(server, home, image_bundle):
    port = server.url.rpartition(":")[2]
    done = enfold("serve", "tiny", "--port", port, home=home)
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 cannot be had (Address already in use)" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["tinny"], 2, "unknown bundle 'tinny'. Did you mean 'tiny'?"),
        (["tiny@9"], 2, "unknown version or alias"),
        (["tiny", "--host", "0.0.0.0"], 2, "set ENFOLD_API_KEY first"),
        (["tiny", "--host", "no such host"], 2, "is no address of this machine"),
        (["tiny", "--host", "192.0.2.1"], 2, "set ENFOLD_API_KEY first"),
        (["tiny", "--port", "70000"], 2, "65535"),
        ([], 2, "Missing argument"),
    ],
)
def test_a_server_that_makes_no_sense_does_not_start(home, image_bundle, words, code, sentence):
    done = enfold("serve", *words, home=home)
    assert (done.returncode, sentence in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_server_of_one_home_is_refused(server):
    done = server.enfold("serve", "tiny", "--port", ports.free())
    assert done.returncode == 1
    assert "is in use by process" in done.stderr
    assert server.url in done.stderr


def test_ctrl_c_stops_everything_though_a_caller_hangs(home, image_bundle):
    server = start(home, "tiny")
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as idle:
        idle.sendall(b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")  # and never the rest
        os.killpg(server.process.pid, signal.SIGINT)
        assert server.process.wait(timeout=15) == 0
    assert not _answers(server.url)
    assert lock.holder(home / "index" / "lock") is None


def test_a_killed_server_leaves_no_worker_behind(home, image_bundle):
    server = start(home, "tiny")
    server.process.kill()
    server.process.wait()
    until(lambda: lock.holder(home / "index" / "lock") is None)
    assert not _answers(server.url)


def _answers(url):
    try:
        return httpx.get(f"{url}/healthz", timeout=2).status_code
    except httpx.TransportError:
        return False


def test_a_model_that_gives_other_vectors_never_gets_ready(home, image_bundle):
    """A bundle whose golden items do not come out: it lives, says why, and refuses."""
    folder = image_bundle.path
    golden = dict(np.load(folder / "golden.npz"))
    golden["image/fp32/out_embedding"] *= -1
    np.savez(folder / "golden.npz", **golden)
    manifest = read_manifest(folder)
    (folder / "manifest.json").unlink()
    seal(folder, manifest)
    server = start(home, "tiny")
    until(lambda: "not ready" in server.log.read_text())
    try:
        problem(httpx.get(f"{server.url}/readyz"), 503, "unavailable")
        answer = httpx.post(f"{server.url}/embed", json={"items": [{"image": ""}]})
        assert "gives other vectors here than at export" in problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert httpx.get(f"{server.url}/healthz").status_code == 200
    finally:
        stop(server)


def test_a_search_needs_one_thing_to_look_for(home, tmp_path):
    for words in ([], ["--item", "a.png", "--text", "b"]):
        done = enfold("search", "things", *words, home=home)
        assert (done.returncode, "say what to look for: --item FILE or" in done.stderr) == (2, True)
    (tmp_path / "latin.md").write_bytes(b"caf\xe9")
    assert "cannot be written as JSON" in enfold("search", "things", "--item", tmp_path / "latin.md", home=home).stderr
    assert "no modality reads" in enfold("search", "things", "--item", "a.unknown", home=home).stderr


@pytest.mark.parametrize(("held", "asked"), [("splats", "splats"), ("points", "points"), ("image", "points")])
def test_a_file_of_several_kinds_is_searched_for_as_the_kind_of_the_collection(monkeypatch, held, asked):
    seen = []

    class Server:
        def __init__(self, url):
            self.collection = lambda name: SimpleNamespace(modality=held)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def search(self, collection, *, modality, **_):
            seen.append(modality)
            return SimpleNamespace(hits=[])

    monkeypatch.setattr(client, "Client", Server)
    monkeypatch.setattr(reach, "address", lambda config: "http://127.0.0.1:1")
    assert commands.search("things", item=Path("chair.ply"), limit=3, model=None, text=None) == []
    assert seen == [asked]
