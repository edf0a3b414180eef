"""A real server with a few small collections, for tests of the explorer."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app import server as pages
from tests import bundles, servers


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Running]:
    """Collection "shapes": forty pictures with two labels and a layout; the same by another model; eight clouds."""
    home = tmp_path_factory.mktemp("explorer")
    bundles.image_bundle(home / "bundles")
    bundles.image_bundle(home / "bundles", "other", seed=1)
    bundles.ranking_bundle(home / "bundles", "ranks")
    bundles.points_bundle(home / "bundles")
    bundles.colours_bundle(home / "bundles")
    running = servers.start(home, "tiny", "other", "ranks", "clouds", "colours")
    with running.client() as client:
        servers.until(client.ready)
    _pictures(home / "shapes")
    _clouds(home / "clouds")
    for source, model, name in (
        ("shapes", "tiny", "shapes"),
        ("shapes", "other", "shapes-by-other"),
        ("clouds", "clouds", "clouds"),
        ("shapes", "colours", "shapes-by-colour"),
    ):
        to = ("--to", f"index://{name}", *(("--entry", "image") if model == "colours" else ()))
        done = servers.enfold("embed", home / source, "--model", model, *to, home=home)
        assert done.returncode == 0, done.stderr
    done = servers.enfold("index", "health", "shapes", home=home)
    assert done.returncode == 0, done.stderr
    yield running
    servers.stop(running)


def ask(server: servers.Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pages of this process speak to a server, with empty caches."""
    monkeypatch.setenv("ENFOLD_URL", server.url)
    for cached in (pages.client, pages.collections, pages.layout, pages.health, pages.facets):
        cached.clear()


def _pictures(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(40):
        label = ("round", "square")[number % 2]
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).save(folder / label / f"{number:02}.png")


def _clouds(folder: Path) -> None:
    """Spheres of several proportions."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        sphere = rng.normal(size=(3000, 3))
        sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
        np.save(folder / f"{number}.npy", sphere * [1, 1, 0.3 + 0.2 * number])
