"""What the tests of the pages share."""

import pytest

from app import server as pages_server
from tests import servers
from tests.explorer import server

__all__ = ["server"]


@pytest.fixture
def explored(server: servers.Running, monkeypatch: pytest.MonkeyPatch) -> servers.Running:
    """The pages speak to that server, with empty caches."""
    monkeypatch.setenv("ENFOLD_URL", server.url)
    for cached in (
        pages_server.client,
        pages_server.collections,
        pages_server.layout,
        pages_server.health,
        pages_server.facets,
    ):
        cached.clear()
    return server
