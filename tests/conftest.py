"""What tests share: a home of their own and tiny bundles."""

from pathlib import Path

import pytest

from enfold.bundle import Bundle
from tests import bundles


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ENFOLD_HOME that no other test sees."""
    monkeypatch.setenv("ENFOLD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ENFOLD_THREADS", "1")
    return tmp_path / "home"


@pytest.fixture
def image_bundle(home: Path) -> Bundle:
    return bundles.image_bundle(home / "bundles")


@pytest.fixture
def text_bundle(home: Path) -> Bundle:
    return bundles.text_bundle(home / "bundles")
