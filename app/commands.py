"""Commands of this room: open the explorer."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from enfold import ports, settings
from enfold.errors import MissingExtra

# No telemetry, no file watcher, no traces to the browser; the address is loopback unless told otherwise.
_OPTIONS = {
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.maxUploadSize": "20",
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",
    "client.toolbarMode": "minimal",
}


def app(
    port: Annotated[int, typer.Option(min=1, max=65535, help="port of the explorer")] = 8501,
    host: Annotated[str, typer.Option(help="address to bind")] = "127.0.0.1",
) -> None:
    """Open the explorer on the server at ENFOLD_URL, until Ctrl-C."""
    if find_spec("streamlit") is None:
        raise MissingExtra("the explorer needs 'streamlit', which is not installed: pip install 'enfold[app]'")
    ports.check_free(host, port)
    main = Path(__file__).parent / "main.py"
    words = [f"--{name}={value}" for name, value in {**_OPTIONS, "server.port": port, "server.address": host}.items()]
    print(f"explorer of {settings.load().url} on http://{host}:{port} (Ctrl-C stops it)", file=sys.stderr)
    # The checkout itself must be importable: streamlit puts only the script's own folder on the path.
    path = os.pathsep.join(filter(None, [str(main.parents[1]), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "streamlit", "run", str(main), *words]
    os.execve(sys.executable, command, os.environ | {"PYTHONPATH": path})
