"""The servers that are compared, each a process of its own: enfold as its users start it, and its peers.

A peer whose requirements are not ours lives in an environment of its own under ENFOLD_HOME/benchmarks.
"""

import http.client
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psutil

from enfold import ports
from enfold.errors import Unavailable
from enfold.settings import Settings

THREADS = 2  # of computation, in every system
_START_SECONDS = 180
_STOP_SECONDS = 30
_CHECKOUT = Path(__file__).parents[2]
_PROGRAMS = Path(__file__).parent / "programs"
_LIMITS = {name: str(THREADS) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1"}

Words = list[str | Path]


@dataclass(frozen=True)
class System:
    """How a server is started and spoken to.

    command   of a port
    ask       wire items of enfold -> the JSON of a request
    vectors   the JSON of an answer -> one vector per item
    """

    name: str
    command: Callable[[int], Words]
    path: str
    ready: str
    ask: Callable[[list[dict[str, str]]], Any] = lambda items: {"items": items}
    vectors: Callable[[Any], Any] = lambda answer: [row["vector"] for row in answer["vectors"]]
    environment: dict[str, str] = field(default_factory=dict)

    def bodies(self, items: list[dict[str, str]], per_request: int = 1) -> list[bytes]:
        groups = [items[at : at + per_request] for at in range(0, len(items), per_request)]
        return [orjson.dumps(self.ask(group)) for group in groups if len(group) == per_request]


@dataclass(frozen=True)
class Server:
    """A system that runs."""

    system: System
    port: int
    process: psutil.Popen

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.system.path}"

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body; status 0 if nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            found = connection.getresponse()
            return found.status, found.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def cpu_seconds(self) -> float:
        """CPU of the process and everything it started, so far."""
        return sum(times.user + times.system for times in _each(self.process, psutil.Process.cpu_times))

    def memory_bytes(self) -> int:
        """Resident memory of the process and everything it started."""
        return memory_bytes(self.process)

    def files(self) -> int:
        """That it has open, connections among them."""
        return sum(_each(self.process, lambda process: process.num_fds()))


def memory_bytes(process: psutil.Process) -> int:
    """Resident memory of a process and everything it started."""
    return sum(memory.rss for memory in _each(process, psutil.Process.memory_info))


def _each(process: psutil.Process, ask: Callable[[psutil.Process], Any]) -> Iterator[Any]:
    try:
        whole = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for one in whole:
        try:
            yield ask(one)
        except psutil.NoSuchProcess:
            continue


@contextmanager
def running(system: System, home: Path) -> Iterator[Server]:
    """The system, ready to answer, with its log in `home`. Raises Unavailable, with the log's end, if it is not."""
    port, log = ports.free(), home / f"{system.name.replace(' ', '-')}.log"
    started = time.monotonic()
    with log.open("wb") as file:
        process = psutil.Popen(
            [str(word) for word in system.command(port)],
            stdout=file,
            stderr=file,
            env=os.environ | _LIMITS | system.environment,
            cwd=_CHECKOUT,
            start_new_session=True,
        )
    server = Server(system, port, process)
    try:
        while server.get(system.ready)[0] != 200:
            if process.poll() is not None or time.monotonic() - started > _START_SECONDS:
                raise Unavailable(f"{system.name} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.01)
        yield server
    finally:
        stop(server)


def stop(server: Server) -> None:
    """As a supervisor does: ask, wait, and end what is left."""
    whole = [server.process, *server.process.children(recursive=True)] if server.process.is_running() else []
    if whole:
        server.process.send_signal(signal.SIGTERM)
    for process in psutil.wait_procs(whole, timeout=_STOP_SECONDS)[1]:
        process.kill()


def environment(cache: Path, name: str, *requirements: str, ours: bool = False) -> Path:
    """The Python of a peer's own environment, made on first use.

    ours   the packages of this environment lie behind its own: what pip finds there it does not install again
    """
    home = cache / name
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        if ours:
            site = next(home.glob("lib/python*/site-packages"))
            (site / "enfold_environment.pth").write_text(sysconfig.get_path("purelib") + "\n")
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        (home / "ready").touch()
    return python


def enfold(config: Settings, *bundles: str, threads: int = THREADS, runtime: str = "auto") -> System:
    """As its users start it, but for a line of log to each request: its peers write none either."""
    words: Words = [sys.executable, "-m", "enfold.cli", "serve", *bundles, "--port"]
    ours = _environment(config, threads, runtime) | {"ENFOLD_ACCESS_LOG": "false"}
    return System("enfold", lambda port: [*words, str(port)], "/embed", "/readyz", environment=ours)


def infinity(config: Settings, folder: Path) -> System:
    """infinity-emb on torch, in fp32 as all are."""
    python = environment(
        config.home / "benchmarks", "infinity", "infinity-emb[server,torch]==0.0.78", "torch>=2.10,<3", "numpy<2"
    )
    words: Words = [python.with_name("infinity_emb"), "v2", "--model-id", folder, "--served-model-name", "minilm"]
    words += ["--engine", "torch", "--device", "cpu", "--dtype", "float32", "--no-bettertransformer"]
    words += ["--batch-size", "32", "--log-level", "error", "--host", "127.0.0.1", "--port"]
    return System(
        "infinity",
        lambda port: [*words, str(port)],
        "/embeddings",
        "/health",
        ask=lambda items: {"model": "minilm", "input": [item["text"] for item in items]},
        vectors=lambda answer: [row["embedding"] for row in answer["data"]],
        environment=_OFFLINE | {"INFINITY_ANONYMOUS_USAGE_STATS": "0"},
    )


def bentoml(config: Settings, bundle: str, runtime: str) -> System:
    """BentoML's own adaptive batching around the same bundle in the same runtime."""
    ours = _environment(config, THREADS, runtime) | {"ENFOLD_MODELS": bundle}
    return _bentoml(config, "bentoml_embed:Embedder", lambda items: {"items": items}, ours)


def litserve(config: Settings) -> System:
    """A vector from a model of no cost, by LitServe."""
    python = environment(config.home / "benchmarks", "litserve", "litserve==0.2.19", "uvloop", "httptools")
    words: Words = [python, _PROGRAMS / "litserve_vector.py"]
    return System("litserve", lambda port: [*words, str(port)], "/predict", "/health", ask=_first)


def starlette() -> System:
    """A vector from a route of Starlette's under uvicorn."""
    words: Words = [sys.executable, "-m", "uvicorn", "--app-dir", _PROGRAMS, "starlette_vector:app", "--loop", "uvloop"]
    words += ["--http", "httptools", "--no-access-log", "--port"]
    return System("starlette", lambda port: [*words, str(port)], "/embed", "/ready", ask=_first)


def bentoml_vector(config: Settings) -> System:
    """A vector from a BentoML service of no cost."""
    return _bentoml(config, "bentoml_vector:Vector", _first, {})


def _bentoml(
    config: Settings, service: str, ask: Callable[[list[dict[str, str]]], Any], environment: dict[str, str]
) -> System:
    words: Words = [sys.executable, "-m", "bentoml", "serve", service, "--working-dir", _PROGRAMS]
    own = {"BENTOML_HOME": str(config.home / "benchmarks" / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    return System(
        "bentoml",
        lambda port: [*words, "--host", "127.0.0.1", "--port", str(port)],
        "/embed",
        "/readyz",
        ask=ask,
        vectors=lambda answer: answer,
        environment=own | environment,
    )


def _environment(config: Settings, threads: int, runtime: str) -> dict[str, str]:
    ours = {"ENFOLD_HOME": str(config.home), "ENFOLD_THREADS": str(threads), "ENFOLD_RUNTIME": runtime}
    return ours | {"PYTHONPATH": str(_CHECKOUT)}


def _first(items: list[dict[str, str]]) -> dict[str, str]:
    return items[0]
