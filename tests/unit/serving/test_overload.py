"""A real server with a slow model: refused early, answered by the deadline; callers who left cost nothing."""

import asyncio
import json
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from enfold import wire
from tests import bundles
from tests.servers import start, stop, until

BODY = json.dumps({"items": [{"text": "red cat"}]}).encode()
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """About 80 ms an item on one core of any machine; half a second of work may wait. The last test stops it."""
    home = tmp_path_factory.mktemp("slow")
    bundles.slow_bundle(home / "bundles")
    running = start(home, "slow", ENFOLD_QUEUE_SECONDS="0.5", ENFOLD_RUNTIME="onnxruntime")
    with running.client() as client:
        until(client.ready)
        client.embed(["a cat"] * 4, modality="text")  # the pace is known
    yield running
    if running.process.poll() is None:
        stop(running)


def ask(url, count, **options):
    """So many requests at once: (status, seconds, retry-after)."""

    async def one(http):
        started = time.monotonic()
        answer = await http.post("/embed", content=BODY, headers=JSON | options)
        return answer.status_code, time.monotonic() - started, answer.headers.get("retry-after")

    async def all_of_them():
        limits = httpx.Limits(max_connections=count)
        async with httpx.AsyncClient(base_url=url, timeout=30, limits=limits) as http:
            return await asyncio.gather(*(one(http) for _ in range(count)))

    return asyncio.run(all_of_them())


def metric(running, name):
    with running.http() as http:
        lines = http.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))


def test_past_the_bound_requests_are_refused_early_and_the_rest_is_answered_in_time(slow):
    found = ask(slow.url, 60)
    served, refused = ([row for row in found if row[0] == status] for status in (200, 429))
    assert len(served) + len(refused) == 60
    assert len(served) >= 2
    assert len(refused) >= 20
    assert all(int(after) >= 1 for _, _, after in refused)
    assert metric(slow, "enfold_shed_total") >= len(refused)
    time.sleep(1)
    assert ask(slow.url, 1)[0][0] == 200


def test_a_refusal_does_not_wait_for_the_body(slow):
    """The head alone of a large request gets its 429 while the model is busy."""
    head = b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999\r\n\r\n"
    body = json.dumps({"items": [{"text": "red cat"}] * 40}).encode()

    def refused():
        with socket.create_connection(("127.0.0.1", int(slow.url.rpartition(":")[2])), timeout=0.3) as line:
            line.sendall(head)
            try:
                return line.recv(1000).startswith(b"HTTP/1.1 429")
            except TimeoutError:  # it waits for the body: the list is not there yet
                return False

    with slow.http() as http:
        busy = threading.Thread(target=http.post, args=["/embed"], kwargs={"content": body, "headers": JSON})
        busy.start()
        until(refused, seconds=3)
        busy.join()


def test_an_answer_that_is_late_is_a_problem_at_the_deadline_and_its_work_is_dropped(slow):
    body, before = json.dumps({"items": [{"text": "red cat"}] * 30}).encode(), metric(slow, "enfold_dropped_total")
    with slow.http() as http:
        started = time.monotonic()
        answer = http.post("/embed", content=body, headers=JSON | {"enfold-timeout": "0.3"})
        assert 0.3 <= time.monotonic() - started < 1
    assert answer.status_code == 504
    assert wire.Problem.model_validate_json(answer.content).code == "expired"
    until(lambda: ask(slow.url, 1)[0][0] == 200)
    assert metric(slow, "enfold_dropped_total") > before


def test_work_of_a_caller_who_left_is_dropped(slow):
    body, before = json.dumps({"items": [{"text": "red cat"}] * 40}).encode(), metric(slow, "enfold_dropped_total")
    head = b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    with socket.create_connection(("127.0.0.1", int(slow.url.rpartition(":")[2]))) as line:
        line.sendall(head + body)
        time.sleep(0.3)
    until(lambda: metric(slow, "enfold_callers_left_total") >= 1)
    until(lambda: ask(slow.url, 1)[0][0] == 200)
    assert metric(slow, "enfold_dropped_total") > before


def test_on_sigterm_what_was_let_in_is_answered_and_open_connections_end_in_order(slow):
    results = []
    body = json.dumps({"items": [{"text": "red cat"}] * 10}).encode()
    with slow.http() as idle, slow.http() as busy, ThreadPoolExecutor(1) as pool:
        assert idle.get("/limits").headers.get("connection") != "close"
        early = pool.submit(busy.post, "/embed", content=body, headers=JSON)
        time.sleep(0.05)
        work = threading.Thread(target=lambda: results.extend(ask(slow.url, 6)))
        work.start()
        time.sleep(0.1)
        slow.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        answer = idle.get("/limits")  # on the connection that uvicorn alone would have closed under it
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert idle.get("/readyz").status_code == 503
        answer = early.result()  # let in before: its connection ends with it too, or the next request would be lost
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    work.join()
    statuses = [status for status, _, _ in results]  # some find the queue full, none is lost
    assert len(statuses) == 6
    assert set(statuses) <= {200, 429}
    assert slow.process.wait(timeout=20) is not None
