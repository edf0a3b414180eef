"""The HTTP API: a BentoML service around the routes of docs/http_api.md.

Handlers only translate: requests to calls of models, engine, index and jobs, and answers back. BentoML gives the
process, /healthz, /readyz and /metrics. What waits for a model (`HOT`) goes from the door to its handler without
passing BentoML's and FastAPI's stacks, which would cost more than a small model itself.
"""

import asyncio
import hashlib
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from importlib.metadata import version
from typing import Annotated, Any

import bentoml
import orjson
from _bentoml_sdk import Service
from fastapi import Depends, FastAPI, Query, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route, Router

from enfold import catalogue, settings, wire
from enfold.errors import EnfoldError, SpaceMismatch, UnknownName, WrongUse
from enfold.modalities import Modality
from enfold.model import Model
from enfold.points import point_id
from serving import heads, oip, openai, openapi, originals, patience, pipelines, reach, rerank, runs, tracing, views
from serving.batcher import Backlog
from serving.bodies import errors_of, read, read_json, vectors_as
from serving.dialects import Dialects
from serving.door import Door, guard, problem
from serving.drain import Drain
from serving.engine import Engine
from serving.health import Health
from serving.index import Collection, Index, Points, arrow, everywhere, open_index
from serving.jobs.erasure import forget_source
from serving.jobs.queue import Jobs
from serving.keys import Keys
from serving.models import Models, describe
from serving.rooms import Rooms
from serving.search import find

_MOMENT_SECONDS = 0.2  # after which work that was begun is at work, or done
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
        keys = Keys(config)
        self.rooms = Rooms(config, models, engine, index, Jobs(config, keys.own), keys)
        self.grpc: Any = None
        self.closing: asyncio.Task[None] | None = None
        self._collectors = CollectorRegistry()
        self._collectors.register(Health(engine.recent))
        self._collectors.register(Backlog(engine.batchers))
        app.state.settings, app.state.rooms, app.state.drain = config, self.rooms, Drain()
        threading.Thread(target=_load, args=[models], daemon=True).start()
        threading.Thread(target=_tend, args=[index], daemon=True).start()
        threading.Thread(target=_follow, args=[os.getppid(), models], daemon=True).start()

    @bentoml.on_startup
    async def listen(self) -> None:
        server: Any = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)  # uvicorn's, whose handler that is
        app.state.drain.arm()
        if server is not None:
            self.closing = asyncio.create_task(patience.close_silent(server.server_state.connections))
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


def _tend(index: Index) -> None:
    """Begin again what a server that was stopped left unbuilt."""
    with suppress(EnfoldError):  # a Qdrant server that does not answer, a collection that is dropped meanwhile
        for kept in index.all():
            if kept.info().graph == "lacking":
                _optimize(kept)


def _optimize(kept: Collection) -> None:
    try:
        kept.optimize()
    except EnfoldError as error:  # dropped meanwhile, or its disk is full: it is searched without
        _log.warning("the graph of '%s' is not built: %s", kept.facts.name, error)


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
    model, entry = await rooms.meant(asked, asked.items, len(items))
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
    model, entry = await rooms.meant(asked, asked.items, len(items))
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
    facts = kept.facts
    model, _ = await rooms.engine.run(rooms.models.of_space, facts.space, facts.modality, facts.entry)
    return await run_in_threadpool(heads.make, kept, asked, model.bundle, model.size, rooms.settings.bundles)


@app.post("/pipelines", status_code=201)
def make_pipeline(asked: wire.NewPipeline, rooms: InRooms) -> wire.Pipeline:
    """A way to search by name: the next version of a model has it."""
    model = rooms.models.select(asked.model)
    return pipelines.make(asked, model.bundle, rooms.settings.bundles)


@app.get("/runs")
def training_runs(rooms: InRooms) -> list[wire.RunInfo]:
    """Training runs of this home, the newest first."""
    return runs.every(rooms.settings.runs)


@app.get("/runs/{id}")
def training_run(id: str, rooms: InRooms) -> wire.Run:
    """One run with its curves."""
    return runs.one(rooms.settings.runs, id)


@app.get("/methods")
def methods(items: str | None = None) -> list[wire.Method]:
    """The catalogue of published methods; with `items`, those that work for a modality, best measured first."""
    known = catalogue.methods()
    return known if items is None else catalogue.recommended(items, known)


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
    views.forget_all(rooms.settings, c)


@app.post("/collections/{c}/optimize", status_code=202)
def optimize(c: str, rooms: InRooms) -> wire.CollectionInfo:
    """Begin to build the search graph over points that lack one; its `graph` tells when it is done."""
    kept = rooms.index.collection(c)
    work = threading.Thread(target=_optimize, args=[kept], daemon=True)
    work.start()
    work.join(_MOMENT_SECONDS)
    return kept.info()


@app.get("/collections/{c}/generations")
def generations(c: str, rooms: InRooms) -> wire.Generations:
    """The generations of a collection, and which of them its name means."""
    return rooms.index.generations(c)


@app.post("/collections/{c}/generations")
def next_generation(c: str, new: wire.NewCollection, rooms: InRooms) -> wire.Generations:
    """Begin a generation of another space, `photos@2` beside `photos`; one that was begun already is left as it is."""
    if c != new.name:
        raise WrongUse(f"the generation is of '{new.name}', the route of '{c}': name the same collection")
    return rooms.index.next_generation(new)


@app.put("/collections/{c}/generations")
def switch(c: str, asked: wire.Switch, rooms: InRooms) -> wire.Generations:
    """Let the name mean another generation, from one request to the next; or say that nothing is left behind."""
    return rooms.index.settle(c) if asked.live is None else rooms.index.switch(c, asked.live)


@app.post(
    "/collections/{c}/items",
    response_model=wire.UpsertResponse,
    openapi_extra=openapi.body(wire.AddRequest, **openapi.table()),
)
async def add_items(c: str, request: Request, rooms: InRooms) -> wire.UpsertResponse:
    """Add or replace points: an Arrow stream of vectors, or raw items to embed."""
    if request.headers.get("content-type", "").startswith(wire.ARROW):
        body = await request.body()
        points = await run_in_threadpool(lambda: arrow.to_points(arrow.read_stream(body)))
        upserted = await run_in_threadpool(_upsert, rooms, c, points)
    else:
        asked = await read_json(request, wire.AddRequest)
        meant, *others = await run_in_threadpool(everywhere, rooms.index, c)
        upserted = await run_in_threadpool(_upsert, rooms, c, await _embedded(rooms, meant.facts, asked))
        for other in others:  # what is being filled, or was before: its own model's vectors, where that is served
            with suppress(SpaceMismatch):
                ask = asked.model_copy(update={"model": None, "size": None, "entry": None})
                await run_in_threadpool(other.upsert, await _embedded(rooms, other.facts, ask))
    return wire.UpsertResponse(collection=c, upserted=upserted)


@app.get("/collections/{c}/items", responses=openapi.ARROW)
def items(c: str, rooms: InRooms, thumbnails: bool = False, tokens: bool = False) -> StreamingResponse:
    """Every point with its vector and payload, and its picture and its tokens if asked for, as Arrow."""
    schema, tables = reach.tables(rooms.index.collection(c), thumbnails=thumbnails, tokens=tokens)
    stream = arrow.write_stream(tables, schema)
    return StreamingResponse(stream, media_type=wire.ARROW)


@app.post("/collections/{c}/search")
async def search(c: str, asked: wire.SearchRequest, rooms: InRooms) -> wire.SearchResponse:
    """The points nearest to an item, a vector, a point or several examples, or that hold the words, or both."""
    return await find(rooms, c, asked)


@app.get("/collections/{c}/sample")
def sample(c: str, rooms: InRooms, size: Annotated[int, Query(ge=1, le=1000)] = 10) -> list[wire.Point]:
    """Points by chance."""
    return rooms.index.collection(c).sample(size)


@app.post("/collections/{c}/delete")
def delete(c: str, asked: wire.DeleteRequest, rooms: InRooms) -> dict[str, int]:
    """Erase points by source and by id, in every generation; of a source also what jobs have kept of it."""
    kept = everywhere(rooms.index, c)
    if asked.source is not None:
        forget_source(rooms.settings, c, asked.source)
    erased = [one.delete(ids=asked.ids, source=asked.source) for one in kept]
    return {"deleted": erased[0]}


@app.get("/collections/{c}/facets")
def facets(c: str, field: str, rooms: InRooms) -> list[wire.Facet]:
    """The values of a payload field, most frequent first."""
    return rooms.index.collection(c).facet(field)


@app.get("/collections/{c}/layout", responses=openapi.ARROW)
def layout(c: str, rooms: InRooms) -> Response:
    """Where points lie on the map, with their payload, as Arrow."""
    return _notes(rooms, c, "layout")


@app.put("/collections/{c}/layout", response_model=wire.CollectionInfo, openapi_extra=openapi.table_body())
async def set_layout(c: str, request: Request, rooms: InRooms) -> wire.CollectionInfo:
    """Keep positions: an Arrow stream of id, x, y."""
    return await _set_notes(rooms, c, "layout", request)


@app.get("/collections/{c}/health", responses=openapi.ARROW)
def health(c: str, rooms: InRooms) -> Response:
    """Copies, odd ones, labels in doubt and cover of a collection, point by point with the payload, as Arrow."""
    return _notes(rooms, c, "health")


@app.put("/collections/{c}/health", response_model=wire.CollectionInfo, openapi_extra=openapi.table_body())
async def set_health(c: str, request: Request, rooms: InRooms) -> wire.CollectionInfo:
    """Keep what was found of the points, an Arrow stream."""
    return await _set_notes(rooms, c, "health", request)


@app.get("/collections/{c}/views")
def saved_views(c: str, rooms: InRooms) -> list[wire.View]:
    """Views of the map that were saved, by name."""
    return views.views(rooms.settings, rooms.index.collection(c).facts.name)


@app.put("/collections/{c}/views")
def save_view(c: str, view: wire.View, rooms: InRooms) -> wire.View:
    """Save one, in place of one of the same name."""
    return views.save(rooms.settings, rooms.index.collection(c).facts.name, view)


@app.delete("/collections/{c}/views/{name}", status_code=204)
def forget_view(c: str, name: str, rooms: InRooms) -> None:
    """Delete a saved view."""
    views.forget(rooms.settings, rooms.index.collection(c).facts.name, name)


@app.get("/collections/{c}/items/{id}/thumbnail", responses=openapi.WEBP)
def thumbnail(c: str, id: str, rooms: InRooms) -> Response:
    """The picture of a point."""
    return Response(rooms.index.collection(c).thumbnail(id), media_type="image/webp")


@app.get("/collections/{c}/items/{id}")
def item(c: str, id: str, rooms: InRooms) -> wire.Point:
    """One point with its payload."""
    found = rooms.index.collection(c).retrieve([id])
    if not found:
        raise UnknownName(f"collection '{c}' has no point {id}")
    return found[0]


@app.get("/collections/{c}/items/{id}/original", responses=openapi.FILE)
def original(c: str, id: str, rooms: InRooms) -> Response:
    """The item of a point as its source has it, where a job of this home read it: a file, a text, or a row as JSON."""
    modality = rooms.index.collection(c).facts.modality
    content, media = originals.original(rooms.settings, c, modality, item(c, id, rooms).payload)
    guarded = {"x-content-type-options": "nosniff", "content-disposition": "attachment"}
    return Response(content, media_type=media, headers=guarded)


# --- jobs -----------------------------------------------------------------------------------------------------------


@app.get("/jobs")
def jobs(rooms: InRooms) -> list[wire.Job]:
    """Every job of this home, newest first."""
    return rooms.jobs.all()


@app.post("/jobs", status_code=202)
def start_job(new: wire.NewJob, rooms: InRooms) -> wire.Job:
    """Queue `embed` {source, model, to, …}, `layout`, `health` or `upgrade` {collection, …}; the same again goes on."""
    return rooms.jobs.start(new)


@app.get("/jobs/{id}")
def job(id: str, rooms: InRooms) -> wire.Job:
    """One job with its progress and the last lines of its log."""
    return rooms.jobs.get(id)


@app.delete("/jobs/{id}", status_code=204)
def cancel_job(id: str, rooms: InRooms) -> None:
    """Stop a job; what it has done stays."""
    rooms.jobs.cancel(id)


@app.post("/jobs/{id}/resume", status_code=202)
def resume_job(id: str, rooms: InRooms) -> wire.Job:
    """Queue a job that failed, was cancelled or is done once more: it goes on where it was."""
    return rooms.jobs.resume(id)


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


def _notes(rooms: Rooms, c: str, kind: str) -> Response:
    table = rooms.index.collection(c).notes(kind)
    return Response(b"".join(arrow.write_stream([table], table.schema)), media_type=wire.ARROW)


async def _set_notes(rooms: Rooms, c: str, kind: str, request: Request) -> wire.CollectionInfo:
    body, kept = await request.body(), await run_in_threadpool(rooms.index.collection, c)
    await run_in_threadpool(lambda: kept.set_notes(kind, arrow.read_stream(body)))
    return kept.info()


async def _embedded(rooms: Rooms, facts: wire.NewCollection, asked: wire.AddRequest) -> Points:
    """Raw items as points of a collection."""
    raw = [new.item for new in asked.items]
    model, entry, encoded = await rooms.filling(facts, asked, raw, tokens=facts.tokens is not None)
    about = {"space": facts.space, "bundle": model.bundle.ref, "run": model.bundle.manifest.lineage.run}
    ids, payloads, pictures = [], [], {}
    for new in asked.items:
        seen, picture = await rooms.engine.run(_seen, model.modalities[entry], new.item)
        payload = {"source": "api", **seen, **new.payload, **about}
        ids.append(new.id or point_id(str(payload["source"]), str(payload["item"])))
        payloads.append(payload)
        pictures[ids[-1]] = picture
    vectors, space = model.vectors(encoded.outputs, entry), model.facts(entry).space
    return Points(ids, vectors, payloads, space, pictures, encoded.tokens)


def _upsert(rooms: Rooms, c: str, points: Points) -> int:
    """Into what the name means by now."""
    with tracing.span("index upsert", collection=c, points=len(points.ids)):
        return rooms.index.collection(c).upsert(points)


def _seen(modality: Modality[Any], item: Any) -> tuple[dict[str, str], bytes]:
    """What is known of an item by itself, as payload, and its thumbnail."""
    data = modality.from_json(item)
    value = modality.read(data)
    words = modality.words(value)
    text = {} if words is None else {"text": words}
    return {"item": hashlib.sha256(data).hexdigest(), **text}, modality.thumbnail(value)


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
