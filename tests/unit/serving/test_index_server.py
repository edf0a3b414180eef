"""A Qdrant server that is busy, ill or away, as a small HTTP server that answers what it is told to; what every engine
must do is in tests/contract/test_index.py."""

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import orjson
import pytest
from qdrant_client import QdrantClient

from enfold.errors import Unavailable, WrongUse
from serving.index import server
from serving.index.server import ServerCollection
from tests.unit.serving.conftest import new_collection, points, uuid


class Fake:
    """answers   status and headers of the next writes; once they are used up, every write is taken"""

    def __init__(self, answers=()):
        self.answers, self.writes, self.kept, self.turn = list(answers), [], {}, threading.Lock()

    def put(self, body):
        with self.turn:
            self.writes.append(time.monotonic())
            status, headers = self.answers.pop(0) if self.answers else (200, {})
            if status == 200:
                self.kept |= {point["id"]: point["payload"] for point in body["points"]}
        return status, headers


@contextmanager
def running(fake):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status, headers, result):
            told = "ok" if status == 200 else {"error": "told to"}
            content = orjson.dumps({"result": result, "status": told, "time": 0})
            self.send_response(status)
            for name, value in {**headers, "content-type": "application/json", "content-length": len(content)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content)

        def body(self):
            return orjson.loads(self.rfile.read(int(self.headers["content-length"])))

        def do_PUT(self):
            self.answer(*fake.put(self.body()), {"operation_id": 1, "status": "completed"})

        def do_POST(self):  # which of the points there are
            self.body()
            self.answer(200, {}, [])

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    client = QdrantClient(f"http://127.0.0.1:{served.server_port}", check_compatibility=False, timeout=5)
    try:
        yield ServerCollection(client, new_collection(), "things@1")
    finally:
        client.close()
        served.shutdown()
        served.server_close()


BUSY, TOLD, ILL = (429, {}), (429, {"retry-after": 1}), (503, {})


def test_what_a_busy_server_refused_is_written_in_the_end():
    fake = Fake([BUSY, ILL, BUSY])
    with running(fake) as kept:
        assert kept.upsert(points()) == 6
    assert set(fake.kept) == {uuid(row) for row in range(6)}
    pauses = np.diff(fake.writes)
    assert len(pauses) == 3
    assert (pauses >= server._FIRST_PAUSE * np.array([1, 2, 4])).all()


def test_a_server_that_names_a_time_is_left_alone_until_then():
    fake = Fake([TOLD])
    with running(fake) as kept:
        kept.upsert(points())
    assert fake.writes[1] - fake.writes[0] >= 1


def test_callers_who_were_refused_together_do_not_come_back_together():
    pauses = []
    for _ in range(2):
        fake = Fake([BUSY, BUSY])
        with running(fake) as kept:
            kept.upsert(points())
        pauses.append(fake.writes[2] - fake.writes[0])
    assert abs(pauses[0] - pauses[1]) > 1e-4


@pytest.mark.parametrize("answer", [BUSY, TOLD, ILL])
def test_a_server_that_stays_busy_is_given_up(monkeypatch, answer):
    monkeypatch.setattr(server, "_WRITING_PATIENCE", 0.5)
    fake = Fake([answer] * 1000)
    with running(fake) as kept, pytest.raises(Unavailable, match="see ENFOLD_QDRANT_URL") as told:
        kept.upsert(points())
    assert 1 <= len(fake.writes) < 5
    assert told.value.retry_after_seconds == 1


def test_what_a_server_will_never_take_is_sent_once():
    fake = Fake([(413, {})])
    with running(fake) as kept, pytest.raises(WrongUse, match="Qdrant refused it"):
        kept.upsert(points())
    assert len(fake.writes) == 1


def test_many_points_are_written_page_by_page(monkeypatch):
    monkeypatch.setattr(server, "_WRITTEN_PAGE", 2)
    fake = Fake([BUSY])
    with running(fake) as kept:
        kept.upsert(points(5))
    assert len(fake.writes) == 4
    assert len(fake.kept) == 5
