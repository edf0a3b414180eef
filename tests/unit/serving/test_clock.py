"""A server whose clock jumps a day ahead and back under requests, a key with a rate and a job: nothing notices."""

import json
import math
import threading
import time
from datetime import datetime

import pytest
from pyarrow import parquet

from serving import keys
from tests import bundles
from tests.clock import Clock
from tests.servers import start, stop, until

OWN, PER_MINUTE, TEXTS = "a key that only the tests know", 12, 60
JUMPS, STAY_SECONDS = ("+1d", "-1d", "+0"), 1.5  # a day ahead, two back, and right again


@pytest.fixture
def clock(tmp_path):
    return Clock(tmp_path / "off")


def test_requests_rates_and_a_job_go_on_over_the_jumps(clock, home, tmp_path):
    bundles.slow_bundle(home / "bundles", milliseconds=30)
    (tmp_path / "texts.csv").write_text("id,text\n" + "".join(f"{n},red cat {n}\n" for n in range(TEXTS)))
    reader = {"authorization": f"Bearer {keys.new_key('reports', 'read', per_minute=PER_MINUTE)['key']}"}
    server = start(home, "slow", ENFOLD_API_KEY=OWN, ENFOLD_RUNTIME="onnxruntime", **clock.settings)
    statuses, over = [], threading.Event()

    def ask():
        with server.http() as http:
            while not over.is_set():
                statuses.append(http.post("/embed", json={"items": [{"text": "a dog"}]}).status_code)

    asking = threading.Thread(target=ask)
    try:
        with server.client() as client, server.http() as http:
            until(client.ready, 60)
            began = time.monotonic()
            asked = [http.get("/limits", headers=reader).status_code for _ in range(PER_MINUTE)]
            asking.start()
            what = {"source": str(tmp_path / "texts.csv"), "model": "slow", "to": f"parquet://{tmp_path}/out"}
            job = client.start_job("embed", **what)
            until(lambda: client.job(job.id).progress.get("phase") == "embed", 60)
            for jump in JUMPS:
                clock.jump(jump)
                told = http.get("/limits", headers=reader)
                asked.append(told.status_code)
                assert told.status_code == 200 or int(told.headers["retry-after"]) <= 60 / PER_MINUTE
                time.sleep(STAY_SECONDS)
            assert asked.count(200) <= PER_MINUTE + math.ceil((time.monotonic() - began) * PER_MINUTE / 60)
            assert until(lambda: http.get("/limits", headers=reader).status_code == 200, 2 * 60 / PER_MINUTE)
            clock.jump("-1d")
            first = until(lambda: (found := client.job(job.id)).state != "running" and found, 60)
            assert first.state == "done", first.log
            assert len(parquet.read_table(tmp_path / "out")) == json.loads(first.log)["vectors"] == TEXTS
            client.start_job("embed", **what)
            again = until(lambda: (found := client.job(job.id)).state not in ("queued", "running") and found, 60)
            assert json.loads(again.log)["skipped"] == TEXTS
            over.set()
            asking.join()
            assert client.ready()
    finally:
        over.set()
        stop(server)
    assert set(statuses) == {200}
    days = {datetime.fromtimestamp(line["time"]).date() for line in _lines(server.log)}
    assert len(days) == 3, "the clock did not jump"


def _lines(log):
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith('{"request"')]
