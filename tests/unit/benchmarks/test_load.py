"""The clients count what a server answers, and time it from when it should have been asked."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import pytest

from benchmarks.harness import load

BODIES = [b'{"text": "one"}', b'{"text": "two"}', b'{"text": "three"}']
needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


@contextmanager
def server(status, seconds: float = 0.0) -> Iterator[tuple[str, list[bytes]]]:
    """Answers the n-th request with status(n), its own body and Retry-After: 1; keeps what it was sent."""
    seen: list[bytes] = []
    numbers = count()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            seen.append(body)
            time.sleep(seconds)
            found = status(next(numbers))
            if found == 0:
                self.close_connection = True
                return
            self.send_response(found)
            self.send_header("content-length", str(len(body)))
            self.send_header("retry-after", "1")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.handle_error = lambda *_: None  # wrk leaves without a word when its time is up
        thread = threading.Thread(target=running.serve_forever, args=[0.01])
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}/embed", seen
        finally:
            running.shutdown()
            thread.join()


@needs_wrk
def test_a_server_that_answers_500_is_not_fast():
    with server(lambda n: 500) as (url, _):
        found = load.wrk(url, BODIES, connections=2, seconds=1)
    assert found.good == 0
    assert found.per_second == 0
    assert found.failed == {"500": found.statuses["500"]}
    assert found.statuses["500"] > 10


@needs_wrk
def test_wrk_sends_every_body_in_turn_and_counts_by_status():
    with server(lambda n: 429 if n % 4 == 0 else 200) as (url, seen):
        found = load.wrk(url, BODIES, connections=1, seconds=1)
    assert seen[:6] == [*BODIES, *BODIES]
    assert found.statuses["429"] == pytest.approx(sum(found.statuses.values()) / 4, abs=1)
    assert found.per_second == pytest.approx(found.good / found.seconds)
    assert found.client_seconds > 0


def test_a_closed_loop_asks_each_body_and_keeps_its_answer():
    with server(lambda n: 200) as (url, _):
        client = load.Client(url, BODIES, keep_bodies=True)
        load.run(client.closed(2, requests=6))
    assert sorted(asked.body for asked in client.asked) == sorted([*BODIES, *BODIES])
    assert all(asked.body == BODIES[asked.index] for asked in client.asked)


def test_a_patient_client_waits_as_it_is_told():
    with server(lambda n: 429 if n == 0 else 200) as (url, _):
        client = load.Client(url, BODIES)
        load.run(client.closed(1, requests=2, pause=lambda asked: asked.retry_after if asked.status == 429 else 0))
    assert client.asked[1].sent - client.asked[0].answered >= 1


def test_an_open_loop_sends_at_its_rate_whatever_the_server_does():
    with server(lambda n: 200, seconds=0.3) as (url, _):
        client = load.Client(url, BODIES)
        load.run(client.open(rate=40, seconds=1))
    dues = [asked.due for asked in client.asked]
    assert len(client.asked) == 40
    assert dues[-1] - dues[0] == pytest.approx(1, abs=0.4)  # a server that takes 0.3 s would allow 3 in a closed loop
    assert load.statuses(client.asked) == {"200": 40}
    assert load.latencies(client.asked)["p50 ms"] >= 300


def test_an_answer_that_does_not_come_is_counted_as_broken():
    with server(lambda n: 0 if n == 1 else 200) as (url, _):
        client = load.Client(url, BODIES)
        load.run(client.closed(1, requests=3))
    assert load.statuses(client.asked) == {"broken": 1, "200": 2}
    assert client.asked[1].answered is None
