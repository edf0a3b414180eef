"""The commands of this room that are no jobs: serve, search, and what there is in the index."""

import ipaddress
import os
import socket
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from enfold import ports, settings, store
from enfold.errors import WrongUse, require

_ROOT = Path(__file__).parents[1]
_DRAIN_SECONDS = "5"  # that requests under way get when the server stops

Collection = Annotated[str, typer.Argument(help="name of the collection")]


def serve(
    bundles: Annotated[list[str], typer.Argument(help="name, name@version or name@alias")],
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="ENFOLD_PORT, else 3000")] = None,
    host: Annotated[str | None, typer.Option(help="ENFOLD_HOST, else 127.0.0.1")] = None,
) -> None:
    """Answer over HTTP with the named bundles until Ctrl-C."""
    from serving import lock, tracing

    config = settings.load()
    tracing.configuration()
    for ref in bundles:
        store.find(config.bundles, ref)
    address = _address(host or config.host)
    if config.api_key is None and not address.is_loopback:
        raise WrongUse(f"{address} can be reached by other machines: set ENFOLD_API_KEY first, or bind 127.0.0.1")
    door = port or config.port
    ports.check_free(str(address), door)
    if config.grpc_port is not None:
        require("tritonclient.grpc", "triton", "answering gRPC")
        ports.check_free(str(address), config.grpc_port)
    lock.hold(config.index / "lock", f"the index in {config.index}").close()
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(str(address), str(address))
    url = f"http://[{local}]:{door}" if ":" in local else f"http://{local}:{door}"
    print(f"enfold: {', '.join(bundles)} on {url} (Ctrl-C stops it)", file=sys.stderr)
    ours = {
        "ENFOLD_HOME": str(config.home.absolute()),
        "ENFOLD_BUNDLES": str(config.bundles.absolute()),
        "ENFOLD_MODELS": ",".join(bundles),
        "ENFOLD_HOST": str(address),
        "ENFOLD_PORT": str(door),
        "ENFOLD_URL": url,
        "BENTOML_HOME": str(config.home.absolute() / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    words = [
        "serve",
        "serving.service:Server",
        "--working-dir",
        str(_ROOT),
        "--host",
        str(address),
        "--port",
        str(door),
    ]
    words += ["--timeout-graceful-shutdown", _DRAIN_SECONDS]
    os.execve(sys.executable, [sys.executable, "-m", "bentoml", *words], os.environ | ours)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(socket.getaddrinfo(host, None)[0][4][0])
    except (OSError, ValueError, UnicodeError):
        raise WrongUse(f"host '{host}' is no address of this machine: give 127.0.0.1, or 0.0.0.0 for all") from None


def search(
    collection: Collection,
    item: Annotated[Path | None, typer.Option(help="a file to search by")] = None,
    text: Annotated[str | None, typer.Option(help="a text to search by")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 10,
    model: Annotated[str | None, typer.Option(help="a model of the collection's space")] = None,
) -> list[dict[str, Any]]:
    """The points of a collection nearest to an item, by the server that has it."""
    from enfold import modalities
    from enfold.client import Client
    from serving import reach

    if (item is None) == (text is None):
        raise WrongUse("say what to look for by one of --item FILE and --text TEXT")
    config = settings.load()
    modality = "text" if item is None else modalities.of_path(item)
    if modality is None:
        raise WrongUse(f"{item}: no modality reads '{item and item.suffix}' files")
    with Client(reach.address(config) or config.url) as client:
        found = client.search(
            collection, item=item if text is None else text, modality=modality, limit=limit, model=model
        )
    return [{"score": hit.score, "id": hit.id, **hit.payload} for hit in found.hits]


def list_collections() -> list[dict[str, Any]]:
    """Collections of the index."""
    from serving import reach

    with reach.collections(settings.load()) as home:
        return [info.model_dump() for info in home.collections()]


def drop_collection(collection: Collection) -> dict[str, Any]:
    """Delete a collection with all its points."""
    from serving import reach

    with reach.collections(settings.load()) as home:
        home.drop_collection(collection)
    return {"dropped": collection}
