"""The HTTP API: a BentoML service around the routes of docs/http_api.md.

Handlers only translate: requests to calls of models, engine, index and jobs, and answers back. BentoML gives the
process, /healthz, /readyz and /metrics. What waits for a model (`HOT`) goes from the door to its handler without
passing BentoML's and FastAPI's stacks, which would cost more than a small model itself.
"""

import hashlib
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any

import bentoml
import numpy as np
import orjson
from _bentoml_sdk import Service
from fastapi import Depends, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route, Router

from enfold import settings, wire
from enfold.errors import EnfoldError, WrongUse
from enfold.modalities import Modality
from enfold.model import Model
from enfold.points import point_id
from enfold.space import same_space
from serving import heads, oip, openai, openapi, rerank, tracing
from serving.batcher import Backlog
from serving.bodies import errors_of, read, read_json, vectors_as
from serving.dialects import Dialects
from serving.door import Door, guard, problem
from serving.drain import Drain
from serving.engine import Encoded, Engine
from serving.health import Health
from serving.index import Points, arrow, open_index
from serving.jobs.queue import Jobs
from serving.models import Models, describe, entry_for, modality_of
from serving.rooms import Rooms

_log = logging.getLogger(__name__)

app = FastAPI(
    title="enfold",
    description="From raw items of any kind to a served, searchable embedding space.",
    version=version("enfold"),
    docs_url=None,
    redoc_url=None,
    responses=openapi.PROBLEMS,
)
guard(app)
openapi.complete(app)


class DoorFirst(Service[Any]):
    """A BentoML service with our door outside of BentoML's middlewares, and the hot routes between the two."""

    def to_asgi(self, is_main: bool = True) -> Dialects:
        door = Door(super().to_asgi(is_main=is_main), HOT, app, _work)
        return Dialects(door, {"v1": openai.error, "v2": oip.error})


@bentoml.service(name="enfold", service_class=DoorFirst, tracing=tracing.configuration())
@bentoml.asgi_app(app)
class Server:
    def __init__(self) -> None:
        config = settings.load()
        tracing.start()
        index, engine = open_index(config, config.url), Engine(config.threads, config.queue_seconds)
        models = Models(config, closed=engine.forget)
        self.rooms = Rooms(config, models, engine, index, Jobs(config))
        self.grpc: Any = None
        self._collectors = CollectorRegistry()
        self._collectors.register(Health(engine.recent))
        self._collectors.register(Backlog(engine.batchers))
        app.state.settings, app.state.rooms, app.state.drain = config, self.rooms, Drain()
        threading.Thread(target=_load, args=[models], daemon=True).start()
        threading.Thread(target=_follow, args=[os.getppid(), models], daemon=True).start()

    @bentoml.on_startup
    async def listen(self) -> None:
        app.state.drain.arm()
        if self.rooms.settings.grpc_port is not None:
            from serving import grpc

            self.grpc = await grpc.listen(self.rooms)

    def __metrics__(self, others: str) -> str:
        """BentoML merges what processes have counted, and asks no collector: ours are added to that."""
        return others + generate_latest(self._collectors).decode()

    async def __is_ready__(self) -> bool:
        return self.rooms.models.ready and not app.state.drain.begun

    @bentoml.on_shutdown
    async def close(self) -> None:
        if self.grpc is not None:
            await self.grpc.stop(grace=None)
        self.rooms.jobs.close()
        self.rooms.engine.close()
        self.rooms.index.close()


def _follow(parent: int, models: Models) -> None:
    """Follow aliases to other versions; end with BentoML's supervisor, also when that is killed and can tell nobody."""
    while os.getppid() == parent:
        time.sleep(0.5)
        if models.ready:
            models.follow()
    os.kill(os.getpid(), signal.SIGTERM)


def _load(models: Models) -> None:
    try:
        models.load()
    except EnfoldError as error:
        _log.error("not ready: %s", error)
    except Exception:
        _log.exception("not ready")


async def _rooms() -> Rooms:
    rooms: Rooms = app.state.rooms
    return rooms


InRooms = Annotated[Rooms, Depends(_rooms)]


# --- models ---------------------------------------------------------------------------------------------------------


@app.post(
    "/embed",
    response_model=wire.EmbedResponse,
    responses=openapi.VECTORS,
    openapi_extra=openapi.body(wire.EmbedRequest, **openapi.form(wire.EmbedRequest), **openapi.raw()),
)
async def embed(request: Request) -> Response:
    """Vectors of raw items of one modality, as JSON or, by the Accept header, as npy or Arrow."""
    rooms: Rooms = app.state.rooms
    asked, items = await read(request, wire.EmbedRequest)
    model, entry = await _meant(rooms, asked, asked.items, len(items))
    encoded = await rooms.engine.encode(model, entry, items, parts=asked.parts, strict=asked.all_or_nothing)
    vectors, space = model.vectors(encoded.outputs, entry), model.facts(entry).space
    if asked.dimensions is not None:
        vectors, space = model.shorter(vectors, entry, asked.dimensions)
    return vectors_as(request.headers.get("accept", ""), model.bundle.ref, space, vectors, encoded)


@app.post(
    "/predict",
    response_model=wire.PredictResponse,
    openapi_extra=openapi.body(wire.PredictRequest, **openapi.form(wire.PredictRequest), **openapi.raw()),
)
async def predict(request: Request) -> Response:
    """Answers of a task, one per raw item; with `stream`, of one item, as events."""
    rooms: Rooms = app.state.rooms
    asked, items = await read(request, wire.PredictRequest)
    model, entry = await _meant(rooms, asked, asked.items, len(items))
    runner = model.task(asked.task)
    model.check_fits(runner, entry)
    options = Model.options(runner, asked.options)
    if asked.stream:
        if len(items) > 1:
            raise WrongUse(f"one item is answered at a time with 'stream', not {len(items)}: send one, or leave it")
        pieces = rooms.engine.stream(model, entry, items[0], runner.name, options)
        first = await anext(pieces)  # what is wrong with the request is told before anything is sent
        events = _events(
            request, wire.PredictResponse(model=model.bundle.ref, task=runner.name, answers=[]), first, pieces
        )
        return StreamingResponse(events, media_type="text/event-stream")
    strict = asked.all_or_nothing
    answers, bad = await rooms.engine.predict(model, entry, items, runner.name, options, strict=strict)
    found = [answer and answer.model_dump(mode="json") for answer in answers]
    answer = {"model": model.bundle.ref, "task": runner.name, "answers": found, "errors": errors_of(bad)}
    return Response(orjson.dumps(answer), media_type="application/json")


async def _events(
    request: Request, about: wire.PredictResponse, first: BaseModel, pieces: AsyncIterator[BaseModel]
) -> AsyncIterator[str]:
    """Pieces as events: every one but the last as it comes, and the whole answer, the last, as event `answer`."""
    last = first
    try:
        async for piece in pieces:
            yield f"data: {last.model_dump_json()}\n\n"
            last = piece
            if await request.is_disconnected():
                return
        whole = about.model_copy(update={"answers": [last.model_dump(mode="json")]})
        yield f"event: answer\ndata: {whole.model_dump_json()}\n\n"
    except EnfoldError as error:
        told = problem(error, request.state.request_id).body
        yield f"event: error\ndata: {bytes(told).decode()}\n\n"
    finally:
        await pieces.aclose()  # type: ignore[attr-defined]


@app.get("/models")
def models(rooms: InRooms) -> list[wire.ModelInfo]:
    """Every loaded bundle."""
    return [describe(model) for model in rooms.models.all()]


@app.get("/models/{name}")
def model(name: str, rooms: InRooms) -> wire.ModelInfo:
    """One loaded bundle, by name, name@version or name@alias."""
    return describe(rooms.models.select(name))


@app.post("/heads", status_code=201)
async def make_head(asked: wire.NewHead, rooms: InRooms) -> wire.Head:
    """A classifier of a few examples: the next version of a model answers task `nearest` by the labels of points."""
    kept = await run_in_threadpool(rooms.index.collection, asked.collection)
    facts = kept.info()
    model, _ = await rooms.engine.run(rooms.models.of_space, facts.space, facts.modality)
    return await run_in_threadpool(heads.make, kept, asked, model.bundle, model.size, rooms.settings.bundles)


@app.get("/limits")
def limits(rooms: InRooms) -> wire.Limits:
    """What a request may hold."""
    found = {
        entry.modality: model.modalities[name].limits.model_dump()
        for model in rooms.models.all()
        for name, entry in model.bundle.manifest.entries.items()
    }
    return wire.Limits(
        max_items=rooms.settings.max_items, max_body_bytes=rooms.settings.max_body_bytes, modalities=found
    )


# --- collections ----------------------------------------------------------------------------------------------------


@app.get("/collections")
def collections(rooms: InRooms) -> list[wire.CollectionInfo]:
    """Every collection."""
    return [kept.info() for kept in rooms.index.all()]


@app.post("/collections")
def create_collection(new: wire.NewCollection, rooms: InRooms) -> wire.CollectionInfo:
    """A new collection; one that is there with the same space is left as it is."""
    return rooms.index.create(new).info()


@app.get("/collections/{c}")
def collection(c: str, rooms: InRooms) -> wire.CollectionInfo:
    """One collection."""
    return rooms.index.collection(c).info()


@app.delete("/collections/{c}", status_code=204)
def drop_collection(c: str, rooms: InRooms) -> None:
    """Delete a collection with all its points."""
    rooms.index.drop(c)


@app.post(
    "/collections/{c}/items",
    response_model=wire.UpsertResponse,
    openapi_extra=openapi.body(wire.AddRequest, **openapi.table()),
)
async def add_items(c: str, request: Request, rooms: InRooms) -> wire.UpsertResponse:
    """Add or replace points: an Arrow stream of vectors, or raw items to embed."""
    kept = await run_in_threadpool(rooms.index.collection, c)
    if request.headers.get("content-type", "").startswith(wire.ARROW):
        body = await request.body()
        points = await run_in_threadpool(lambda: arrow.to_points(arrow.read_stream(body)))
    else:
        points = await _embedded(rooms, kept.info(), await read_json(request, wire.AddRequest))
    with tracing.span("index upsert", collection=c, points=len(points.ids)):
        upserted = await run_in_threadpool(kept.upsert, points)
    return wire.UpsertResponse(collection=c, upserted=upserted)


@app.get("/collections/{c}/items", responses=openapi.ARROW)
def items(c: str, rooms: InRooms) -> StreamingResponse:
    """Every point with its vector and payload, as Arrow."""
    kept = rooms.index.collection(c)
    facts = kept.info()
    tables = (arrow.to_table(points, facts.model) for points in kept.scroll())
    stream = arrow.write_stream(tables, arrow.schema(facts.space, facts.dimensions, facts.model))
    return StreamingResponse(stream, media_type=wire.ARROW)


@app.post("/collections/{c}/search")
async def search(c: str, asked: wire.SearchRequest, rooms: InRooms) -> wire.SearchResponse:
    """The points nearest to an item, a vector or a point."""
    started = time.perf_counter()
    kept = await run_in_threadpool(rooms.index.collection, c)
    facts = kept.info()
    near = await _near(rooms, facts, asked)
    find = partial(kept.query, near, limit=asked.limit, filter=asked.filter, exact=asked.exact)
    with tracing.span("index query", collection=c, limit=asked.limit):
        hits = await run_in_threadpool(find)
    spent = (time.perf_counter() - started) * 1000
    return wire.SearchResponse(collection=c, model=facts.model, space=facts.space, hits=hits, milliseconds=spent)


@app.post("/collections/{c}/delete")
def delete(c: str, asked: wire.DeleteRequest, rooms: InRooms) -> dict[str, int]:
    """Erase points by source and by id."""
    return {"deleted": rooms.index.collection(c).delete(ids=asked.ids, source=asked.source)}


@app.get("/collections/{c}/facets")
def facets(c: str, field: str, rooms: InRooms) -> list[wire.Facet]:
    """The values of a payload field, most frequent first."""
    return rooms.index.collection(c).facet(field)


@app.get("/collections/{c}/layout", responses=openapi.ARROW)
def layout(c: str, rooms: InRooms) -> Response:
    """Where points lie on the map, with their payload, as Arrow."""
    table = rooms.index.collection(c).layout()
    return Response(b"".join(arrow.write_stream([table], table.schema)), media_type=wire.ARROW)


@app.put(
    "/collections/{c}/layout",
    response_model=wire.CollectionInfo,
    openapi_extra={"requestBody": {"required": True, "content": openapi.table()}},
)
async def set_layout(c: str, request: Request, rooms: InRooms) -> wire.CollectionInfo:
    """Keep positions: an Arrow stream of id, x, y."""
    body, kept = await request.body(), await run_in_threadpool(rooms.index.collection, c)
    await run_in_threadpool(lambda: kept.set_layout(arrow.read_stream(body)))
    return kept.info()


@app.get("/collections/{c}/items/{id}/thumbnail", responses=openapi.WEBP)
def thumbnail(c: str, id: str, rooms: InRooms) -> Response:
    """The picture of a point."""
    return Response(rooms.index.collection(c).thumbnail(id), media_type="image/webp")


# --- jobs -----------------------------------------------------------------------------------------------------------


@app.get("/jobs")
def jobs(rooms: InRooms) -> list[wire.Job]:
    """Every job of this home, newest first."""
    return rooms.jobs.all()


@app.post("/jobs", status_code=202)
def start_job(new: wire.NewJob, rooms: InRooms) -> wire.Job:
    """Queue a job: `embed` {source, model, to, …} or `layout` {collection}. The same job again goes on where it was."""
    return rooms.jobs.start(new)


@app.get("/jobs/{id}")
def job(id: str, rooms: InRooms) -> wire.Job:
    """One job with its progress and the last lines of its log."""
    return rooms.jobs.get(id)


@app.delete("/jobs/{id}", status_code=204)
def cancel_job(id: str, rooms: InRooms) -> None:
    """Stop a job; what it has done stays."""
    rooms.jobs.cancel(id)


for protocol in (openai, oip, rerank):
    app.include_router(protocol.router)


@app.get("/docs", include_in_schema=False)
def docs() -> HTMLResponse:
    """Swagger's page, from the files that BentoML carries."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="enfold",
        swagger_js_url="/static_content/swagger-ui-bundle.js",
        swagger_css_url="/static_content/swagger-ui.css",
        swagger_favicon_url="/static_content/favicon-light-32x32.png",
    )


# --- what several routes share --------------------------------------------------------------------------------------


async def _encode(rooms: Rooms, ask: wire.Ask, items: list[Any]) -> tuple[Model, str, Encoded]:
    """The model and entry that a request means, and the encoder's outputs for its items."""
    model, entry = await _meant(rooms, ask, items)
    return model, entry, await rooms.engine.encode(model, entry, items)


async def _meant(rooms: Rooms, ask: wire.Ask, items: list[Any], count: int | None = None) -> tuple[Model, str]:
    """The model and entry that a request means; `items` say their modality, and `count` how many there really are."""
    model = await rooms.model(ask.model, count or len(items), variant=ask.variant, size=ask.size)
    return model, entry_for(model, ask.entry, items)


async def _embedded(rooms: Rooms, facts: wire.CollectionInfo, asked: wire.AddRequest) -> Points:
    """Raw items as points of a collection."""
    raw = [new.item for new in asked.items]
    model, entry, encoded = await _encode(rooms, await _filling(rooms, facts, asked, raw), raw)
    about = {"space": facts.space, "bundle": model.bundle.ref, "run": model.bundle.manifest.lineage.run}
    ids, payloads, pictures = [], [], {}
    for new in asked.items:
        digest, picture = await rooms.engine.run(_seen, model.modalities[entry], new.item)
        payload = {"source": "api", "item": digest, **new.payload, **about}
        ids.append(new.id or point_id(str(payload["source"]), str(payload["item"])))
        payloads.append(payload)
        pictures[ids[-1]] = picture
    return Points(ids, model.vectors(encoded.outputs, entry), payloads, model.facts(entry).space, pictures)


def _seen(modality: Modality[Any], item: Any) -> tuple[str, bytes]:
    """Digest and thumbnail of an item."""
    data = modality.from_json(item)
    return hashlib.sha256(data).hexdigest(), modality.thumbnail(modality.read(data))


async def _near(rooms: Rooms, facts: wire.CollectionInfo, asked: wire.SearchRequest) -> np.ndarray | str:
    """What a search starts from: a vector [D] of the collection's space, or a point's id."""
    given = [name for name in ("item", "vector", "id") if getattr(asked, name) is not None]
    if len(given) != 1:
        raise WrongUse(f"say what to look for by one of item, vector and id, not by {' and '.join(given) or 'none'}")
    if asked.id is not None:
        return asked.id
    if asked.vector is not None:
        if asked.space is None:
            raise WrongUse("a vector comes with its space: send the 'space' that /embed gave with it")
        same_space(asked.space, facts.space, what="the vector", where=f"collection '{facts.name}'")
        return np.array(asked.vector, np.float32)
    model, entry, encoded = await _encode(rooms, await _filling(rooms, facts, asked, [asked.item]), [asked.item])
    return model.vectors(encoded.outputs, entry)[0]


async def _filling(rooms: Rooms, facts: wire.CollectionInfo, ask: wire.Ask, items: list[Any]) -> wire.Ask:
    """The model that a request names, which must be of the collection's space; else a loaded one that is."""
    if ask.model is None:
        model, entry = await rooms.engine.run(rooms.models.of_space, facts.space, modality_of(items))
        return wire.Ask(model=model.bundle.ref, variant=ask.variant, size=model.size, entry=entry)
    model, entry = await _meant(rooms, ask, items)
    where = f"collection '{facts.name}'"
    same_space(model.facts(entry).space, facts.space, what=f"what {model.bundle.ref} gives", where=where)
    return ask


_PROTOCOLS = (*openai.ROUTES, *oip.ROUTES, *rerank.ROUTES)
HOT = Router(
    [
        Route("/embed", embed, methods=["POST"]),
        Route("/predict", predict, methods=["POST"]),
        *[Route(path, handler, methods=[method]) for method, path, handler in _PROTOCOLS],
    ]
)


def _work(method: str, path: str) -> bool:
    """Whether a request waits for a model."""
    return method == "POST" and (path.startswith(("/embed", "/predict", "/v1/", "/v2/models", "/rerank")))
