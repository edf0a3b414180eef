"""A network to Qdrant or Triton that fails: tried again a few times, then a sentence, and a 503 with when to come back.

What answers behind the proxy knows one question of each, so that no server program is needed (tests/e2e/test_triton.py
has the real Triton).
"""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest

from enfold import settings
from enfold.errors import Unavailable
from enfold.runtime import triton
from serving.index import open_index, server
from tests import bundles, proxy, servers
from tests.proxy import Proxy

_KNOWN = {
    "/aliases": {"result": {"aliases": []}, "status": "ok", "time": 0.0},
    "/v2/models/words.encode_text/versions/1": {"name": "words.encode_text", "inputs": [], "outputs": [{"name": "a"}]},
}


class _Behind(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps(_KNOWN[self.path]).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def network(monkeypatch) -> Iterator[Proxy]:
    behind = ThreadingHTTPServer(("127.0.0.1", 0), _Behind)
    threading.Thread(target=behind.serve_forever, daemon=True).start()
    with proxy.between(behind.server_address[1]) as found:
        monkeypatch.setenv("ENFOLD_QDRANT_URL", f"http://127.0.0.1:{found.port}")
        yield found
    behind.shutdown()
    behind.server_close()


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(triton, "_PAUSES", (0.01, 0.02, 0.04))
    monkeypatch.setattr(server, "_FIRST_PAUSE", 0.5)  # three tries in the three seconds of one who waits
    for one in (server, triton):
        monkeypatch.setattr(one, "_SECONDS", 1)


@pytest.mark.parametrize(
    ("fault", "tries", "words"),
    [("refuse", 3, "does not answer"), ("drop", 3, "does not answer"), ("blackhole", 1, "gave no answer in 1 s")],
)
def test_a_fault_that_stays_is_a_sentence_after_a_few_tries(network, fault, tries, words):
    index = open_index(settings.load(), "")
    network.fault, network.seen = fault, 0
    started = time.monotonic()
    with pytest.raises(Unavailable, match=words):
        index.names()
    assert time.monotonic() - started < 5
    assert tries - 1 <= network.seen <= tries  # the first may go over the connection that there was
    network.fault = "none"
    assert index.names() == []
    index.close()


@pytest.mark.parametrize("fault", ["refuse", "drop", "delay"])
def test_a_fault_that_passes_is_not_noticed(network, fault):
    network.fault, network.left = fault, 2
    index = open_index(settings.load(), "")
    assert index.names() == []
    index.close()


@pytest.mark.parametrize(
    ("fault", "tries", "words"),
    [("refuse", 4, "cannot be reached"), ("drop", 4, "cannot be reached"), ("blackhole", 1, "gave no answer in 1 s")],
)
def test_triton_behind_a_network_that_fails(network, fault, tries, words):
    url = f"http://127.0.0.1:{network.port}"
    network.fault = fault
    with pytest.raises(Unavailable, match=words):
        triton.TritonSession(url, "words.encode_text", 1)
    assert tries <= network.seen <= 3 * tries  # its client connects up to three times by itself
    network.fault, network.left = fault if tries > 1 else "delay", 2
    assert triton.TritonSession(url, "words.encode_text", 1).outputs == ("a",)


@pytest.mark.parametrize(
    ("code", "tries", "error"),
    [("UNAVAILABLE", 3, "does not answer"), ("INTERNAL", 3, "does not answer"), ("DEADLINE_EXCEEDED", 1, "in 1 s")],
)
def test_over_grpc_what_the_server_could_not_do_is_not_the_callers_fault(code, tries, error):
    class Failed(grpc.RpcError):
        def code(self):
            return grpc.StatusCode[code]

        def details(self):
            return "broken"

    asked = []

    def ask():
        asked.append(1)
        raise Failed

    with pytest.raises(Unavailable, match=error):
        server.answered(ask)
    assert len(asked) == tries


def test_callers_of_a_server_are_told_when_to_come_back(network, tmp_path):
    bundles.text_bundle(tmp_path / "bundles")
    running = servers.start(tmp_path, "words", ENFOLD_QDRANT_URL=f"http://127.0.0.1:{network.port}")
    try:
        with running.client() as client, running.http() as http:
            servers.until(client.ready, 60)
            assert http.get("/collections").status_code == 200
            network.fault = "refuse"
            answer = http.get("/collections")
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            assert http.post("/embed", json={"items": [{"text": "red"}]}).status_code == 200  # what needs no index
            network.fault = "none"
            assert http.get("/collections").status_code == 200
    finally:
        servers.stop(running)
