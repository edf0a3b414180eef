"""The whole chain on real images, as a user would type it: fetch, train, export, serve, embed, search; one table.

Drives the other rooms through the command line and the HTTP client alone; whatever it starts, it stops.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

from enfold import ports, settings
from enfold.client import Client
from enfold.errors import Conflict, EnfoldError, Unavailable
from enfold.settings import Settings
from enfold.tables import table

DATA, RECIPE, BUNDLE = "emoji", "gmml", "emoji"
NEIGHBOURS = 10
EXPLORER = 8501  # Streamlit's own port
_START_SECONDS = 60


def demo(
    ui: Annotated[bool, typer.Option("--ui", help="leave server and explorer running until Ctrl-C")] = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="a few training steps, to see it work")] = False,
) -> list[dict[str, str]] | None:
    """Real images to a search result, with one table at the end."""
    # However it is stopped, its children are too; a shell that starts it in the background would have it ignore SIGINT.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.default_int_handler)
    config = settings.load()
    clock = _Clock()
    with clock.stage("fetch"):
        _enfold("data", "fetch", DATA)
    story = _enfold("run", RECIPE, *(["--smoke"] if smoke else []))
    clock.seconds |= story["seconds"]
    ref = f"{story['export']['bundle']}@{story['export']['version']}"
    port = ports.free()
    with ExitStack() as stack:
        with clock.stage("start server"):
            client = stack.enter_context(_started(config, ref, port))
        with clock.stage("embed and index"):
            collection = ref.replace("@", "-")  # another version has another space
            job = _enfold(
                "embed", DATA, "--model", ref, "--to", f"index://{collection}", env={"ENFOLD_URL": client.url}
            )
        with clock.stage("search"):
            precision = _precision(client, collection)
        rows = _table(story, job, precision, clock)
        if ui:
            Console().print(table(rows))
            _explore(client.url)
            return None
    return rows


def _table(story: dict[str, Any], job: dict[str, Any], precision: float, clock: "_Clock") -> list[dict[str, str]]:
    evaluated, random, gate = story["evaluate"], story["random"], story["export"]
    figures = {
        "items": f"{job['items']:,}",
        "kNN accuracy, pretrained": f"{evaluated['knn_accuracy']:.3f}",
        "kNN accuracy, random init": f"{random['knn_accuracy']:.3f}",
        "kNN accuracy, raw pixels": f"{random['knn_raw_accuracy']:.3f}",
        "linear probe accuracy, pretrained": f"{evaluated['linear_probe_accuracy']:.3f}",
        "linear probe accuracy, random init": f"{random['linear_probe_accuracy']:.3f}",
        "gate: fp32 cosine, at least": f"{gate['fp32_cosine']:.7f}",
        "gate: variants": ", ".join(gate["variants"]),
        "embedding, items per second": f"{job['items_per_second']:,.0f}"
        if job["items_per_second"]
        else "all done before",
        f"search, precision@{NEIGHBOURS}": f"{precision:.3f}",
        f"random init, precision@{NEIGHBOURS}": f"{random['knn_precision_at_10']:.3f}",
    }
    rows = [{"figure": name, "value": value} for name, value in figures.items()]
    rows += [{"figure": f"seconds: {name}", "value": f"{spent:.1f}"} for name, spent in clock.seconds.items()]
    return [*rows, {"figure": "explorer", "value": f"make demo-ui, then http://127.0.0.1:{EXPLORER}"}]


def _precision(client: Client, collection: str) -> float:
    """The share of each test item's nearest training items, over HTTP, that carry its label."""
    table = client.layout(collection).to_pylist()
    queries = [row for row in table if row.get("split") == "test"]
    only = [{"field": "split", "any": ["train"]}]
    shares = []
    for query in queries:
        hits = client.search(collection, id=query["id"], limit=NEIGHBOURS, filter=only).hits
        shares.append(sum(hit.payload.get("label") == query["label"] for hit in hits) / NEIGHBOURS)
    return sum(shares) / len(shares)


@contextmanager
def _started(config: Settings, ref: str, port: int) -> Iterator[Client]:
    """A server on a free port, ready; stopped at the end whatever happens."""
    command = [sys.executable, "-m", "enfold.cli", "serve", ref, "--port", str(port)]
    log = (config.home / "demo-server.log").open("w")
    child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        with Client(f"http://127.0.0.1:{port}") as client:
            _await_ready(client, child, log.name)
            yield client
    finally:
        _stop(child)


def _await_ready(client: Client, child: "subprocess.Popen[bytes]", log: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not client.ready():
        if child.poll() is not None or time.monotonic() > deadline:
            raise Unavailable(f"the server did not start; its log: {log}")
        time.sleep(0.1)


def _explore(url: str) -> None:
    """The explorer until Ctrl-C, on its usual port where nobody has it."""
    try:
        ports.check_free("127.0.0.1", EXPLORER)
        port = EXPLORER
    except Conflict:
        port = ports.free()
    command = [sys.executable, "-m", "enfold.cli", "app", "--port", str(port)]
    child = subprocess.Popen(command, env=os.environ | {"ENFOLD_URL": url}, start_new_session=True)
    try:
        child.wait()
    except KeyboardInterrupt:
        pass
    finally:
        _stop(child)


def _stop(child: "subprocess.Popen[bytes]") -> None:
    """End a child and everything it started."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _enfold(*words: str, env: dict[str, str] | None = None) -> Any:
    """Run a command as a user would; its progress shows, its JSON comes back."""
    print("$ enfold " + " ".join(words), file=sys.stderr)
    command = [sys.executable, "-m", "enfold.cli", *words, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, env=os.environ | (env or {}))
    answer = json.loads(done.stdout) if done.stdout.strip() else {}
    if done.returncode:
        raise EnfoldError(answer.get("error", {}).get("message", f"enfold {words[0]} failed"))
    return answer


class _Clock:
    """Seconds of each stage, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started
