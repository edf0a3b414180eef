"""How long does a reader wait for the map, at ten thousand points, a hundred thousand and a million?

Real Chromium (drawing in software where there is no graphics card) on the real explorer on the real server. Points are
vectors of Brown passages by WordLlama, in their first 64 principal directions, replicated with jitter.
Searches run beside. The peer is the same points in Streamlit's own plotly chart.
"""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from playwright.sync_api import Browser, Page, TimeoutError, sync_playwright
from sklearn.decomposition import PCA

from benchmarks.harness import items, peers
from benchmarks.harness.report import Result, Row
from enfold import model, ports, settings, wire
from enfold.client import Client
from enfold.errors import Unavailable
from enfold.settings import Settings
from serving.index import Points, arrow

SIZES, QUICK_SIZES = (10_000, 100_000, 1_000_000), (10_000, 100_000)
PASSAGES, DIMENSIONS, JITTER = 2_000, 64, 0.02
SECONDS = 180  # after which a page counts as one that does not open
MAP_BYTES = 128 * 2**20  # of a request: the places of a million points are 46 MB
_AT_ONCE = 20_000  # points of an upsert
_PROGRAM = Path(__file__).parent / "harness/programs/plotly_map.py"
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--enable-unsafe-swiftshader",
    "--use-angle=swiftshader",
]


def run(quick: bool) -> Result:
    config = settings.load()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise Unavailable("there is no browser: install 'chromium'")
    vectors, places, labels = _passages(config)
    rows: list[Row] = []
    system = peers.enfold(config, "wordllama")
    system = replace(system, environment=system.environment | {"ENFOLD_MAX_BODY_BYTES": str(MAP_BYTES)})
    with peers.running(system, config.home / "benchmarks") as server:
        address = f"http://127.0.0.1:{server.port}"
        client = Client(address, timeout_seconds=SECONDS)
        for size in QUICK_SIZES if quick else SIZES:
            name = f"bench-map-{size}"
            _fill(client, name, size, vectors, places, labels)
            with _page_of(_ours(address)) as ours, _page_of(_plotly(address)) as plotly, sync_playwright() as web:
                browser = web.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
                with _searching(client, name) as waits:
                    rows.append({"points": size, "map": "enfold"} | _ours_seen(browser, ours, name))
                rows[-1]["search p50 ms"] = float(np.median(waits)) if waits else None
                rows.append({"points": size, "map": "plotly chart"} | _plotly_seen(browser, plotly, name))
                browser.close()
            client.drop_collection(name)
    about = {"dimensions": DIMENSIONS, "browser": subprocess.check_output([chromium, "--version"], text=True).strip()}
    return Result({"The map in Chromium:": rows}, about, "")


def _passages(config: Settings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors [N, D] of passages, their first two directions [N, 2], and the quarter of the text lengths each is in."""
    texts = items.texts(config, PASSAGES)
    items.wordllama(config)
    found = PCA(DIMENSIONS, random_state=0).fit_transform(model.open("wordllama").embed(texts).vectors)
    quarters = np.searchsorted(
        np.quantile([len(text) for text in texts], (0.25, 0.5, 0.75)), [len(text) for text in texts]
    )
    return found.astype(np.float32), found[:, :2], quarters


def _fill(client: Client, name: str, size: int, vectors: np.ndarray, places: np.ndarray, labels: np.ndarray) -> None:
    new = wire.NewCollection(
        name=name, model="wordllama@1", entry="text", modality="text", space="sp_map", dimensions=DIMENSIONS
    )
    if name in {known.name for known in client.collections()}:  # of a run that was stopped
        client.drop_collection(name)
    client.create_collection(new)
    rng, ids, tables = np.random.default_rng(0), [], []
    for start in range(0, size, _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, size)) % len(vectors)
        moved = vectors[rows] + rng.normal(scale=JITTER, size=(len(rows), DIMENSIONS)).astype(np.float32)
        own = [f"00000000-0000-4000-8000-{number:012d}" for number in range(start, start + len(rows))]
        payloads = [{"item": str(row), "label": f"quarter {labels[row] + 1}"} for row in rows]
        client.upsert(name, arrow.to_table(Points(own, moved, payloads, "sp_map")))
        ids += own
        tables.append(places[rows] + rng.normal(scale=JITTER, size=(len(rows), 2)))
    x, y = np.concatenate(tables).astype(np.float32).T
    client.set_layout(name, pa.table([ids, x, y], schema=arrow.LAYOUT))


@contextmanager
def _page_of(command: list[str]) -> Iterator[str]:
    """A Streamlit page of its own process: its address."""
    port = ports.free()
    words = [word.format(port=port) for word in command]
    process = subprocess.Popen(words, env=dict(os.environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def _ours(url: str) -> list[str]:
    return ["env", f"ENFOLD_URL={url}", sys.executable, "-m", "enfold.cli", "app", "--port", "{port}"]


def _plotly(url: str) -> list[str]:
    options = ["--server.headless=true", "--browser.gatherUsageStats=false", "--server.port={port}"]
    return ["env", f"ENFOLD_URL={url}", sys.executable, "-m", "streamlit", "run", str(_PROGRAM), *options]


@contextmanager
def _searching(client: Client, name: str) -> Iterator[list[float]]:
    """Searches, one after the other with a pause, as long as the block lasts: milliseconds of each."""
    waits: list[float] = []
    over = threading.Event()
    with Client(client.url) as other:

        def search() -> None:
            rng = np.random.default_rng(1)
            while not over.wait(0.2):
                started = time.monotonic()
                other.search(name, vector=rng.normal(size=DIMENSIONS).tolist(), space="sp_map", limit=20)
                waits.append((time.monotonic() - started) * 1000)

        thread = threading.Thread(target=search)
        thread.start()
        try:
            yield waits
        finally:
            over.set()
            thread.join()


def _ours_seen(browser: Browser, url: str, name: str) -> Row:
    page = _opened(browser)
    first = _timed(page, f"{url}/map?collection={name}", ".frame[data-drawn]")
    if first is None:
        return {"first paint s": None}
    again = _timed(page, f"{url}/map?collection={name}", ".frame[data-drawn]")
    box = page.locator(".frame canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.3)
    page.mouse.down()
    for x, y in ((0.7, 0.3), (0.7, 0.7), (0.3, 0.7), (0.3, 0.3)):
        page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y, steps=5)
    started = time.monotonic()
    page.mouse.up()
    page.get_by_text("selected, the first").wait_for(timeout=SECONDS * 1000)
    lasso = time.monotonic() - started
    row = {"first paint s": first, "again s": again, "lasso s": lasso, "frames/s": _frames(page)}
    row["browser MiB"] = page.evaluate("performance.memory.usedJSHeapSize") / 2**20
    page.close()
    return row


def _plotly_seen(browser: Browser, url: str, name: str) -> Row:
    page = _opened(browser)
    row: Row = {
        "first paint s": _timed(page, f"{url}/?collection={name}", ".js-plotly-plot .gl-canvas, .js-plotly-plot canvas")
    }
    if row["first paint s"] is not None:
        row["browser MiB"] = page.evaluate("performance.memory.usedJSHeapSize") / 2**20
    page.close()
    return row


def _opened(browser: Browser) -> Page:
    return browser.new_page(viewport={"width": 1280, "height": 900})


def _timed(page: Page, url: str, shown: str) -> float | None:
    """Seconds until something is there; None if it is not in time."""
    started = time.monotonic()
    try:
        page.goto(url, timeout=SECONDS * 1000)
        page.locator(shown).first.wait_for(timeout=SECONDS * 1000)
    except TimeoutError:
        return None
    return time.monotonic() - started


def _frames(page: Page) -> float:
    """Frames a second while the wheel zooms, for two seconds."""
    page.evaluate(
        """() => { window.frames_seen = 0; const count = () => { window.frames_seen++; requestAnimationFrame(count); };
        requestAnimationFrame(count); }"""
    )
    before, started = page.evaluate("window.frames_seen"), time.monotonic()
    while time.monotonic() - started < 2:
        page.mouse.wheel(0, -20)
    return float(page.evaluate("window.frames_seen") - before) / (time.monotonic() - started)
