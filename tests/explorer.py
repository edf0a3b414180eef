"""A real server with one small collection, for tests of the explorer."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import bundles, servers


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Running]:
    """Collection "shapes": forty pictures with two labels and a layout."""
    home = tmp_path_factory.mktemp("explorer")
    bundles.image_bundle(home / "bundles")
    running = servers.start(home, "tiny")
    with running.client() as client:
        servers.until(client.ready)
    _pictures(home / "shapes")
    done = servers.enfold("embed", home / "shapes", "--model", "tiny", "--to", "index://shapes", home=home)
    assert done.returncode == 0, done.stderr
    yield running
    servers.stop(running)


def _pictures(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(40):
        label = ("round", "square")[number % 2]
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).save(folder / label / f"{number:02}.png")
