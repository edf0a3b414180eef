"""What the tests of the pages share."""

import pytest

from tests import servers
from tests.explorer import ask, server

__all__ = ["server"]


@pytest.fixture
def explored(server: servers.Running, monkeypatch: pytest.MonkeyPatch) -> servers.Running:
    """The pages speak to that server."""
    ask(server, monkeypatch)
    return server
