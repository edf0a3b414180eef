"""A real server in a process of its own, shared by every test of this folder, and an empty index."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from enfold import settings, wire
from enfold.client import Client
from serving.index import Collection, Index, Points, Query, open_index
from tests import bundles
from tests.servers import Running, start, stop, until

KEY = "a key that only the tests know"


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


@pytest.fixture
def things(index: Index) -> Collection:
    """Six points of labels red and green."""
    kept = index.create(new_collection())
    kept.upsert(points())
    return kept


def near(kept: Collection, row: int, **how: Any) -> list[wire.Hit]:
    """What is found near the vector of one of `points()`."""
    return kept.query(Query(points().vectors[row], **how))


def rows(hits: list[wire.Hit]) -> list[int]:
    return [hit.payload["row"] for hit in hits]


def nested(levels: int) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    for _ in range(levels):
        payload = {"in": payload}
    return payload


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
