"""The commands of this room that are no jobs: serve, search, and what there is in the index."""

import ipaddress
import json
import os
import resource
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from enfold import ports, settings, store
from enfold.errors import WrongUse, require

_ROOT = Path(__file__).parents[1]
_LINEAGE = ("space", "bundle", "run")  # of a point's payload
_LOOK_SECONDS = 0.2  # between two looks at a graph that is being built
_MOST_FILES = 65_536
_DRAIN_SECONDS = "5"  # that requests under way get when the server stops

Collection = Annotated[str, typer.Argument(help="name of the collection")]


def serve(
    bundles: Annotated[list[str], typer.Argument(help="name, name@version or name@alias")],
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="ENFOLD_PORT, else 3000")] = None,
    host: Annotated[str | None, typer.Option(help="ENFOLD_HOST, else 127.0.0.1")] = None,
) -> None:
    """Answer over HTTP with the named bundles until Ctrl-C."""
    from serving import keys, lock, tracing

    config = settings.load()
    tracing.configuration()
    for ref in bundles:
        store.find(config.bundles, ref)
    address = _address(host or config.host)
    if not keys.protected(config) and not address.is_loopback:
        raise WrongUse(
            f"{address} can be reached by other machines: set ENFOLD_API_KEY first, make a key with 'enfold key new', "
            "or bind 127.0.0.1"
        )
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
    # A connection is a file, and many systems let a process open no more than 1,024 unless it asks.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, _MOST_FILES), most))
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
    words: Annotated[str | None, typer.Option(help="words that the points' text holds (BM25)")] = None,
    where: Annotated[list[str] | None, typer.Option(help="FIELD=VALUE that points must have; may be repeated")] = None,
    pipeline: Annotated[str | None, typer.Option(help="a pipeline of the collection's model, for --text")] = None,
    late_interaction: Annotated[
        bool, typer.Option("--late-interaction", help="order the best by their tokens (MaxSim)")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 10,
    model: Annotated[str | None, typer.Option(help="a model of the collection's space")] = None,
    entry: Annotated[str | None, typer.Option(help="which items it is, where a model takes several kinds")] = None,
) -> list[dict[str, Any]]:
    """The points of a collection nearest to an item, or that hold words, or both, by the server that has it."""
    from enfold import modalities
    from enfold.client import Client
    from serving import reach

    given = [one for one in (item, text, words) if one is not None]
    if not given or (item is not None and text is not None):
        raise WrongUse("say what to look for: --item FILE or --text TEXT, --words WORDS, or one of those and words")
    config = settings.load()
    kinds = ["text"] if item is None else modalities.takers(item)
    if not kinds:
        raise WrongUse(f"{item}: no modality reads '{item and item.suffix}' files")
    ask: dict[str, Any] = {"words": words, "pipeline": pipeline, "model": model, "entry": entry}
    ask["late_interaction"] = late_interaction
    ask["filter"] = [_condition(one) for one in where or ()]
    with Client(reach.address(config) or config.url) as client:
        modality = kinds[0]
        if item is not None and len(kinds) > 1:  # what may be of several kinds is the entry's, or the collection's
            models = client.models() if entry else ()
            named = (one.entries[entry].modality for one in models if entry in one.entries)
            own = next(named, None) or client.collection(collection).modality
            modality = own if own in kinds else modalities.of_path(item) or modality
        found = client.search(collection, item=text if item is None else item, modality=modality, limit=limit, **ask)
    # What a person looks for first comes first; where vectors are from is the same for all (enfold index info).
    told = [{name: value for name, value in hit.payload.items() if name not in _LINEAGE} for hit in found.hits]
    return [
        {"score": hit.score, "item": one.pop("item", None), **one, "id": hit.id}
        for hit, one in zip(found.hits, told, strict=True)
    ]


def _condition(told: str) -> dict[str, Any]:
    """FIELD=VALUE as a condition: a number or truth value is also that."""
    field, equals, value = told.partition("=")
    if not field or not equals:
        raise WrongUse(f"--where {told!r} is no FIELD=VALUE")
    values: list[Any] = [value]
    with suppress(ValueError):
        parsed = json.loads(value)
        values += [parsed] if isinstance(parsed, int) else []
    return {"field": field, "any": values}


def list_collections() -> list[dict[str, Any]]:
    """Collections of the index."""
    from serving import reach

    with reach.collections(settings.load()) as home:
        return [info.model_dump() for info in home.collections()]


def create_collection(
    collection: Collection,
    model: Annotated[str, typer.Option(help="bundle that will fill it: name, name@version or name@alias")],
    size: Annotated[str | None, typer.Option(help="one of the bundle's sizes; its last if left out")] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="keep the vectors of tokens too, for late interaction")
    ] = False,
) -> dict[str, Any]:
    """An empty collection for the vectors of a bundle."""
    import enfold
    from serving import reach

    encoder = enfold.open(model, size=size)
    with reach.collections(settings.load()) as home:
        return _told(home.create_collection(reach.collection_of(encoder, collection, tokens=tokens)))


def show_collection(collection: Collection) -> dict[str, Any]:
    """What a collection is, how it is searched, and its generations."""
    from serving import reach

    with reach.collections(settings.load()) as home:
        kept = home.generations(collection)
        about = {"generation": kept.live, "generations": kept.all, "leaving": kept.leaving}
        return _told(home.collection(collection)) | about


def optimize_collection(collection: Collection) -> dict[str, Any]:
    """Build the search graph of a collection where it has enough points, while others read and write."""
    import time

    from serving import reach

    with reach.collections(settings.load()) as home:
        info = home.optimize(collection)
        while info.graph == "building":
            time.sleep(_LOOK_SECONDS)
            info = home.collection(collection)
        return _told(info)


def erase_source(
    collection: Collection, source: Annotated[str, typer.Option(help="URI as its points carry it: file:///photos")]
) -> dict[str, Any]:
    """Erase what came from a source: points, thumbnails, and what jobs have kept."""
    from serving import reach

    with reach.collections(settings.load()) as home:
        return {"collection": collection, "source": source, "erased": home.delete(collection, source=source)}


def _told(info: Any) -> dict[str, Any]:
    told: dict[str, Any] = info.model_dump()
    return told


def drop_collection(collection: Collection) -> dict[str, Any]:
    """Delete a collection with all its points."""
    from serving import reach

    with reach.collections(settings.load()) as home:
        home.drop_collection(collection)
    return {"dropped": collection}
