"""Requests made up from the server's own OpenAPI, sensible and not: none is answered by a failure of the server.

FUZZ is how many of each kind and route, at most.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import bundles, servers
from tests.fuzz import tally

COUNT = int(os.environ.get("FUZZ", "500")) // 20


@pytest.mark.slow
def test_requests_made_up_from_the_schema(tmp_path: Path):
    bundles.image_bundle(tmp_path / "bundles")
    bundles.text_bundle(tmp_path / "bundles")
    bundles.ranking_bundle(tmp_path / "bundles")
    bundles.points_bundle(tmp_path / "bundles")
    bundles.molecule_bundle(tmp_path / "bundles")
    server = servers.start(tmp_path, "tiny", "words", "ranks", "clouds", "formulas")
    try:
        with server.client() as client:
            servers.until(client.ready, 60)
        command = [Path(sys.executable).parent / "schemathesis", "run", f"{server.url}/openapi.json", "--seed=1"]
        command += [f"--max-examples={COUNT}", "--phases=coverage,fuzzing,stateful", "--checks=not_a_server_error"]
        command += ["--no-color"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert server.process.poll() is None
        with server.client() as client:
            assert client.ready()
    finally:
        servers.stop(server)
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith('{"request"')]
    failed = [line for line in lines if line["status"] >= 500 and line["status"] not in (501, 503, 504)]
    read = sum(line["status"] < 400 for line in lines)
    tally.tell("requests", mutants=len(lines), read=read, refused=len(lines) - read - len(failed), wrong=len(failed))
    assert len(lines) > 100, done.stdout
    assert failed == [], done.stdout
