"""A real Chromium on the real explorer on a real server."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from enfold import ports
from tests import servers
from tests.explorer import server

__all__ = ["server"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCREENSHOTS = Path(__file__).parents[2] / "build/browser"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM is None:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="NO BROWSER: chromium is not installed, so no page was looked at"))


@pytest.fixture(scope="session")
def explorer(server: servers.Running) -> Iterator[str]:
    """The address of `enfold app`."""
    port = ports.free()
    command = [sys.executable, "-m", "enfold.cli", "app", "--port", str(port)]
    process = subprocess.Popen(command, env=servers.environment(server.home, ENFOLD_URL=server.url))
    url = f"http://127.0.0.1:{port}"
    servers.until(lambda: servers.answers(f"{url}/_stcore/health"), seconds=60)
    yield url
    process.terminate()
    process.wait(timeout=20)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window whose console must stay free of errors."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    opened.close()
    assert not errors
