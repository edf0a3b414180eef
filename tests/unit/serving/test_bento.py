"""A bundle, packed with its server, answers in a home where nothing else is."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

import enfold
from enfold import ports
from enfold.client import Client
from tests import bundles
from tests.servers import answers, environment, until
from tests.servers import enfold as run


def test_a_bento_brings_its_bundle_and_gives_the_same_vectors(home, tmp_path):
    bundles.text_bundle(home / "bundles")
    built = run("bundle", "bento", "words", "--json", home=home)
    assert built.returncode == 0, built.stderr
    told = json.loads(built.stdout)
    assert told["bento"] == "words:1"
    expected = enfold.open("words").embed(["red cat", "dog ran"]).vectors
    (home / "bundles").rename(tmp_path / "put away")

    empty, port = tmp_path / "empty", ports.free()
    clean = {name: value for name, value in environment(empty).items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "bentoml", "serve", told["bento"], "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=tmp_path, env=clean | {"BENTOML_HOME": told["bentoml_home"]}
        )
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: server.poll() is not None or answers(f"{url}/readyz"), 60)
        with Client(url) as client:
            found = client.embed(["red cat", "dog ran"], modality="text")
        np.testing.assert_allclose(np.array(found.vectors), expected, atol=1e-6)
        # The code that answers is the Bento's own.
        workers = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        assert any("words/1/src" in os.readlink(f"/proc/{worker}/cwd") for worker in workers)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=20)
