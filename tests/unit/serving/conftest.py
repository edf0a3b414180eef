"""A real server in a process of its own, shared by every test of this folder, and an empty index."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from enfold import ports, settings, wire
from enfold.client import Client
from serving.index import Index, Points, open_index
from tests import bundles

KEY = "a key that only the tests know"
_START_SECONDS = 30


@dataclass(frozen=True)
class Running:
    """A server that was started with `enfold serve`."""

    url: str
    home: Path
    process: "subprocess.Popen[bytes]"
    log: Path

    def client(self) -> Client:
        return Client(self.url, api_key=KEY)

    def http(self, **options) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {KEY}"}, timeout=20, **options)

    def enfold(self, *words) -> "subprocess.CompletedProcess[str]":
        return enfold(*words, home=self.home, ENFOLD_API_KEY=KEY)


def environment(home: Path, **settings: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ENFOLD_")}
    return clean | {"ENFOLD_HOME": str(home), "ENFOLD_THREADS": "1"} | settings


def enfold(*words, home: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a command as a user would."""
    command = [sys.executable, "-m", "enfold.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(home, **settings), timeout=60)


def start(home: Path, *words: str, **settings: str) -> Running:
    """`enfold serve` on a free port, answering but perhaps not ready."""
    port, log = ports.free(), home / "server.log"
    command = [sys.executable, "-m", "enfold.cli", "serve", *words, "--port", str(port)]
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env=environment(home, **settings), start_new_session=True
        )
    server = Running(f"http://127.0.0.1:{port}", home, process, log)
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(server.url):
        if process.poll() is not None or time.monotonic() > deadline:
            stop(server)
            raise AssertionError(log.read_text())
        time.sleep(0.05)
    return server


def stop(server: Running) -> None:
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(timeout=20)


def until(holds, seconds: float = 15):
    """Wait for the condition and return what it returned."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[Running]:
    """Bundles tiny (image) and words (text), a key, and small limits."""
    home = tmp_path_factory.mktemp("server")
    bundles.image_bundle(home / "bundles")
    bundles.text_bundle(home / "bundles")
    limits = {"ENFOLD_MAX_ITEMS": "8", "ENFOLD_MAX_BODY_BYTES": "400000"}
    running = start(home, "tiny", "words", ENFOLD_API_KEY=KEY, **limits)
    with running.client() as client:
        until(client.ready)
    yield running
    stop(running)


@pytest.fixture
def http(server) -> Iterator[httpx.Client]:
    with server.http() as client:
        yield client


@pytest.fixture
def client(server) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def index(home) -> Iterator[Index]:
    opened = open_index(settings.load(), "")
    yield opened
    opened.close()


def new_collection(name: str = "things", *, space: str = "sp_a", dimensions: int = 4) -> wire.NewCollection:
    return wire.NewCollection(
        name=name, model="tiny@1", entry="image", modality="image", space=space, dimensions=dimensions
    )


def points(count: int = 6, *, space: str = "sp_a", dimensions: int = 4, seed: int = 0, source: str = "here") -> Points:
    """Points of ids 0…, labels in turn, unit vectors."""
    vectors = np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    payloads = [
        {"source": source, "label": ("red", "green")[i % 2], "row": i, "even": i % 2 == 0} for i in range(count)
    ]
    return Points([uuid(i) for i in range(count)], vectors, payloads, space, {uuid(0): b"webp"} if count else {})


def uuid(number: int) -> str:
    return f"00000000-0000-0000-0000-{number:012}"


def pictures(folder: Path, count: int, *, side: int = 20, first: int = 0) -> Path:
    """PNG files of one colour each, in a folder per label."""
    for number in range(first, first + count):
        label = ("red", "green", "blue")[number % 3]
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (side, side), (number % 256, 90, 200 - number % 200)).save(folder / label / f"{number:04}.png")
    return folder
