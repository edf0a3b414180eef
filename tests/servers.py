"""Real servers for tests: processes of their own on free ports."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx

from enfold import ports
from enfold.client import Client

T = TypeVar("T")
_START_SECONDS = 60


@dataclass(frozen=True)
class Running:
    """A server that was started with `enfold serve`."""

    url: str
    home: Path
    process: "subprocess.Popen[bytes]"
    log: Path
    key: str | None = None

    def client(self) -> Client:
        return Client(self.url, api_key=self.key)

    def http(self, **options) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20, **options)

    def enfold(self, *words) -> "subprocess.CompletedProcess[str]":
        return enfold(*words, home=self.home, **({"ENFOLD_API_KEY": self.key} if self.key else {}))


def environment(home: Path, **settings: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ENFOLD_")}
    return clean | {"ENFOLD_HOME": str(home), "ENFOLD_THREADS": "1"} | settings


def enfold(*words, home: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a command as a user would."""
    command = [sys.executable, "-m", "enfold.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(home, **settings), timeout=600)


def start(home: Path, *words: str, own_session: bool = True, **settings: str) -> Running:
    """`enfold serve` on a free port, answering but perhaps not ready.

    own_session   or else it is killed with the group of whoever starts it
    """
    port, log = ports.free(), home / "server.log"
    command = [sys.executable, "-m", "enfold.cli", "serve", *words, "--port", str(port)]
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env=environment(home, **settings), start_new_session=own_session
        )
    server = Running(f"http://127.0.0.1:{port}", home, process, log, settings.get("ENFOLD_API_KEY"))
    deadline = time.monotonic() + _START_SECONDS
    while not answers(f"{server.url}/healthz"):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(log.read_text())
        time.sleep(0.05)
    return server


def stop(server: Running) -> None:
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(timeout=20)


@contextmanager
def object_store() -> Iterator[dict[str, str]]:
    """A real S3 server of moto in a process of its own; gives the environment by which a driver finds it."""
    port = ports.free()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(f"{url}/moto-api/"), 60)
        keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
        yield {"AWS_ENDPOINT_URL": url, **keys}
    finally:
        server.kill()
        server.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def until(holds: Callable[[], T], seconds: float = 15) -> T:
    """Wait for the condition and return what it returned."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found
