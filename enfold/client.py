"""HTTP client, once for both worlds: `Client` returns answers, `AsyncClient` returns awaitables of the same answers.

>>> with Client("http://127.0.0.1:3000") as client:
...     client.embed(["cat.png"], modality="image").vectors

Each call is written once, as a generator that yields requests and receives responses; the two classes differ only in
how they drive it. Long lists are split by the limits the server advertises; 429 and 503 are retried after the time the
server asks for; every other error is raised as the class of `enfold.errors` that the server meant.
"""

import asyncio
import base64
import io
import random
import time
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import httpx
import numpy as np
import orjson
from pydantic import BaseModel

from enfold import modalities, wire
from enfold.errors import EnfoldError, Unavailable, WrongUse, by_code, require
from enfold.model import Embedded
from enfold.settings import Settings
from enfold.settings import load as load_settings

RETRIES = 5
_LONGEST_WAIT_SECONDS = 30.0
_JSON_OVERHEAD_BYTES = 64  # of one item in a request, field names and quotes

Request = dict[str, Any]  # keyword arguments of httpx.Client.request
Call = Generator[Request, httpx.Response, Any]
R = TypeVar("R", bound=BaseModel)


class _Api:
    """Every call of the HTTP API. `_run` drives a call to its result."""

    def __init__(self, url: str | None = None, *, api_key: str | None = None, timeout_seconds: float | None = None):
        settings = load_settings()
        self.url = url or settings.url
        seconds = timeout_seconds or settings.timeout_seconds
        self._http: dict[str, Any] = {
            "base_url": self.url,
            "timeout": seconds,
            "headers": _authorization(settings, api_key) | {"enfold-timeout": str(min(seconds, 3600))},
        }
        self._limits: wire.Limits | None = None

    def _run(self, call: Call) -> Any:
        raise NotImplementedError

    def limits(self) -> Any:
        """`wire.Limits`: how many items and bytes a request may have, and what an item may be."""
        return self._run(_get("/limits", wire.Limits))

    def models(self) -> Any:
        """list of `wire.ModelInfo`."""
        return self._run(_get_list("/models", wire.ModelInfo))

    def ready(self) -> Any:
        """Whether the server can answer; never raises for a server that is still loading or absent."""
        return self._run(_ready())

    def embed(self, items: Sequence[Any], *, modality: str, parts: bool = False, **ask: Any) -> Any:
        """`Embedded` of raw items (bytes, paths, strings). ask: model, variant, size, entry, dimensions.

        An item that cannot be read raises; with all_or_nothing=False it is left out, see `Embedded.items`.
        """
        return self._run(self._embed(items, modality, parts, ask))

    def predict(
        self, items: Sequence[Any], *, modality: str, task: str | None = None, options: Any = None, **ask: Any
    ) -> Any:
        """list of answers (dicts as the task's OpenAPI schema says), one per item."""
        return self._run(self._predict(items, modality, task, options, ask))

    def runs(self) -> Any:
        """list of `wire.RunInfo`: training runs of the server's home, the newest first."""
        return self._run(_get_list("/runs", wire.RunInfo))

    def run(self, id: str) -> Any:
        """`wire.Run`: one of them with its curves."""
        return self._run(_get(f"/runs/{id}", wire.Run))

    def methods(self, items: str | None = None) -> Any:
        """list of `wire.Method`: the catalogue, or what works for items of a modality, best measured first."""
        return self._run(_get_list("/methods", wire.Method, params={"items": items} if items else None))

    def collections(self) -> Any:
        """list of `wire.CollectionInfo`."""
        return self._run(_get_list("/collections", wire.CollectionInfo))

    def collection(self, name: str) -> Any:
        """`wire.CollectionInfo` of one collection."""
        return self._run(_get(f"/collections/{name}", wire.CollectionInfo))

    def create_collection(self, new: wire.NewCollection) -> Any:
        """`wire.CollectionInfo`; an existing collection of the same space is left as it is."""
        return self._run(_post("/collections", new, wire.CollectionInfo))

    def drop_collection(self, name: str) -> Any:
        return self._run(_nothing({"method": "DELETE", "url": f"/collections/{name}"}))

    def optimize(self, collection: str) -> Any:
        """`wire.CollectionInfo`; the server goes on until its `graph` is no more `building`."""
        return self._run(_post(f"/collections/{collection}/optimize", {}, wire.CollectionInfo))

    def generations(self, name: str) -> Any:
        """`wire.Generations` of a collection: those that there are, and which its name means."""
        return self._run(_get(f"/collections/{name}/generations", wire.Generations))

    def next_generation(self, new: wire.NewCollection) -> Any:
        """`wire.Generations`, the newest of the space of `new` and empty until something is put there."""
        return self._run(_post(f"/collections/{new.name}/generations", new, wire.Generations))

    def switch(self, name: str, to: int) -> Any:
        """`wire.Generations`: the name means another one."""
        return self._run(_put(f"/collections/{name}/generations", wire.Switch(live=to), wire.Generations))

    def settle(self, name: str) -> Any:
        """`wire.Generations`: nothing of the one before is left to be carried over."""
        return self._run(_put(f"/collections/{name}/generations", wire.Switch(settled=True), wire.Generations))

    def upsert(self, collection: str, table: Any) -> Any:
        """`wire.UpsertResponse` for an Arrow table of points (see docs/http_api.md for its columns)."""
        return self._run(_arrow_up("POST", f"/collections/{collection}/items", table, wire.UpsertResponse))

    def points(self, collection: str, *, thumbnails: bool = False, tokens: bool = False) -> Any:
        """Arrow table of every point: id, vector and payload (JSON), and its picture and its tokens if asked for."""
        asked = {"thumbnails": thumbnails, "tokens": tokens}
        return self._run(_arrow_down(f"/collections/{collection}/items", asked))

    def search(
        self, collection: str, *, modality: str | None = None, item: Any = None, limit: int = 10, **ask: Any
    ) -> Any:
        """`wire.SearchResponse`: points near a raw item, a vector (with its space) or an id.

        ask: words, like, unlike, context, pipeline, filter, group_by, diversity, exact, … as in `wire.SearchRequest`
        """
        wired = None if item is None else json_item(item, modality)
        body = {"item": wired, "limit": limit, **ask}
        request = {key: value for key, value in body.items() if value is not None}
        return self._run(_post(f"/collections/{collection}/search", request, wire.SearchResponse))

    def sample(self, collection: str, size: int = 10) -> Any:
        """list of `wire.Point`, drawn by chance."""
        return self._run(_get_list(f"/collections/{collection}/sample", wire.Point, params={"size": size}))

    def make_pipeline(self, name: str, steps: Sequence[dict[str, Any]], *, model: str | None = None) -> Any:
        """`wire.Pipeline`: the next version of a model, which has the steps under that name."""
        body = {"name": name, "model": model, "steps": list(steps)}
        return self._run(_post("/pipelines", body, wire.Pipeline))

    def make_head(self, collection: str, *, field: str = "label") -> Any:
        """`wire.Head`: the next version of the collection's model, which also answers task `nearest`."""
        return self._run(_post("/heads", wire.NewHead(collection=collection, field=field), wire.Head))

    def delete(self, collection: str, *, source: str | None = None, ids: Sequence[str] = ()) -> Any:
        """How many points were erased."""
        request = wire.DeleteRequest(source=source, ids=list(ids))
        return self._run(_count(f"/collections/{collection}/delete", request))

    def facets(self, collection: str, field: str) -> Any:
        """list of `wire.Facet`: the values of a payload field, most frequent first."""
        return self._run(_get_list(f"/collections/{collection}/facets", wire.Facet, params={"field": field}))

    def layout(self, collection: str) -> Any:
        """Arrow table of every point: id, x, y and its payload fields as columns."""
        return self._run(_arrow_down(f"/collections/{collection}/layout"))

    def set_layout(self, collection: str, table: Any) -> Any:
        """Store 2-D positions (columns id, x, y) beside the collection."""
        return self._run(_arrow_up("PUT", f"/collections/{collection}/layout", table, wire.CollectionInfo))

    def views(self, collection: str) -> Any:
        """list of `wire.View`: views of the map that were saved, by name."""
        return self._run(_get_list(f"/collections/{collection}/views", wire.View))

    def save_view(self, collection: str, name: str, choices: dict[str, str]) -> Any:
        """`wire.View`, in place of one of the same name."""
        return self._run(_put(f"/collections/{collection}/views", wire.View(name=name, choices=choices), wire.View))

    def forget_view(self, collection: str, name: str) -> Any:
        return self._run(
            _nothing({"method": "DELETE", "url": f"/collections/{collection}/views/{quote(name, safe='')}"})
        )

    def health(self, collection: str) -> Any:
        """Arrow table of what the job `health` found of every point, with its payload fields as columns."""
        return self._run(_arrow_down(f"/collections/{collection}/health"))

    def set_health(self, collection: str, table: Any) -> Any:
        """Store what was found beside the collection (see docs/http_api.md for the columns)."""
        return self._run(_arrow_up("PUT", f"/collections/{collection}/health", table, wire.CollectionInfo))

    def point(self, collection: str, id: str) -> Any:
        """`wire.Point`: its id and payload."""
        return self._run(_get(f"/collections/{collection}/items/{id}", wire.Point))

    def thumbnail(self, collection: str, id: str) -> Any:
        """WebP bytes of one point's picture."""
        return self._run(_content(f"/collections/{collection}/items/{id}/thumbnail"))

    def original(self, collection: str, id: str) -> Any:
        """Bytes of one point's item as its source has it: a file, a .zip of its folder, a text, or a row as JSON."""
        return self._run(_content(f"/collections/{collection}/items/{id}/original"))

    def jobs(self) -> Any:
        """list of `wire.Job`, newest first."""
        return self._run(_get_list("/jobs", wire.Job))

    def start_job(self, kind: str, **arguments: Any) -> Any:
        """`wire.Job` as it was queued."""
        return self._run(_post("/jobs", wire.NewJob(kind=kind, arguments=arguments), wire.Job))

    def job(self, id: str) -> Any:
        """`wire.Job` with its progress and the last lines of its log."""
        return self._run(_get(f"/jobs/{id}", wire.Job))

    def resume_job(self, id: str) -> Any:
        """`wire.Job` as it was queued once more: it goes on where it was."""
        return self._run(_post(f"/jobs/{id}/resume", {}, wire.Job))

    def cancel_job(self, id: str) -> Any:
        return self._run(_nothing({"method": "DELETE", "url": f"/jobs/{id}"}))

    def _embed(self, items: Sequence[Any], modality: str, parts: bool, ask: dict[str, Any]) -> Call:
        vectors, owners, pieces, space, at = [], [], [], "", 0
        for chunk in (yield from self._chunks(items, modality)):
            body = {"items": chunk, "parts": parts, "all_or_nothing": True, **ask}
            answer = wire.EmbedResponse.model_validate_json((yield _json("/embed", body)).content)
            vectors += [entry.vector for entry in answer.vectors]
            owners += [at + entry.item for entry in answer.vectors]
            pieces += [entry.part for entry in answer.vectors]
            space, at = answer.space, at + len(chunk)
        return Embedded(np.array(vectors, np.float32), owners, pieces, space)

    def _predict(
        self, items: Sequence[Any], modality: str, task: str | None, options: Any, ask: dict[str, Any]
    ) -> Call:
        answers: list[dict[str, Any] | None] = []
        for chunk in (yield from self._chunks(items, modality)):
            body = {"items": chunk, "task": task, "options": options or {}, "all_or_nothing": True, **ask}
            answers += wire.PredictResponse.model_validate_json((yield _json("/predict", body)).content).answers
        return answers

    def _chunks(self, items: Sequence[Any], modality: str) -> Generator[Request, httpx.Response, list[list[Any]]]:
        """The items as JSON, in lists that the server takes."""
        if not items:
            raise WrongUse("there are no items to send")
        if self._limits is None:
            self._limits = yield from _get("/limits", wire.Limits)
        return list(_split([json_item(item, modality) for item in items], self._limits))


class Client(_Api):
    """Blocks until the answer is there."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._client = httpx.Client(**self._http)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def _run(self, call: Call) -> Any:
        try:
            request = next(call)
            while True:
                try:
                    response = self._answer(request)
                except EnfoldError as error:
                    request = call.throw(error)
                else:
                    request = call.send(response)
        except StopIteration as done:
            return done.value

    def stream(
        self, item: Any, *, modality: str, task: str | None = None, options: Any = None, **ask: Any
    ) -> Iterator[dict[str, Any]]:
        """One item's answer piece by piece, the whole one last. Who stops reading stops the work."""
        with self._client.stream(**_asked_in_pieces(item, modality, task, options, ask)) as response:
            if not response.is_success:
                response.read()
                _checked(response)
            told = ""
            for line in response.iter_lines():
                told, piece = _piece(told, line)
                if piece is not None:
                    yield piece

    def _answer(self, request: Request) -> httpx.Response:
        for attempt in range(RETRIES + 1):
            try:
                response = self._client.request(**request)
            except httpx.TransportError as error:
                raise _unreachable(self.url, error) from None
            wait = _wait_seconds(response, attempt)
            if wait is None:
                return _checked(response)
            time.sleep(wait)
        raise AssertionError("the last attempt either returns or raises")


class AsyncClient(_Api):
    """Every call returns an awaitable."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._client = httpx.AsyncClient(**self._http)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._client.aclose()

    async def _run(self, call: Call) -> Any:
        try:
            request = next(call)
            while True:
                try:
                    response = await self._answer(request)
                except EnfoldError as error:
                    request = call.throw(error)
                else:
                    request = call.send(response)
        except StopIteration as done:
            return done.value

    async def stream(
        self, item: Any, *, modality: str, task: str | None = None, options: Any = None, **ask: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """One item's answer piece by piece, the whole one last. Who stops reading stops the work."""
        async with self._client.stream(**_asked_in_pieces(item, modality, task, options, ask)) as response:
            if not response.is_success:
                await response.aread()
                _checked(response)
            told = ""
            async for line in response.aiter_lines():
                told, piece = _piece(told, line)
                if piece is not None:
                    yield piece

    async def _answer(self, request: Request) -> httpx.Response:
        for attempt in range(RETRIES + 1):
            try:
                response = await self._client.request(**request)
            except httpx.TransportError as error:
                raise _unreachable(self.url, error) from None
            wait = _wait_seconds(response, attempt)
            if wait is None:
                return _checked(response)
            await asyncio.sleep(wait)
        raise AssertionError("the last attempt either returns or raises")


def json_item(item: Any, modality: str | None) -> dict[str, Any]:
    """A raw item as it stands in a request: {"text": "…"}, {"image": "<base64>"} or {"table": {"age": 61}}."""
    if modality is None and isinstance(item, str | Path):
        modality = modalities.of_path(item)
    if modality is None:
        raise WrongUse(f"say which modality the item is: one of {', '.join(modalities.names())}")
    if modalities.get(modality).written and isinstance(item, str):
        return {modality: item}
    if isinstance(item, dict):
        return {modality: item}
    if isinstance(item, str | Path):
        item = _packed(Path(item), modality)
    if not isinstance(item, bytes):
        raise WrongUse(f"an item to send is bytes, a path, a text or a row, not {type(item).__name__}")
    written = modalities.get(modality).written
    return {modality: item.decode(errors="surrogateescape") if written else base64.b64encode(item).decode()}


def _packed(path: Path, modality: str) -> bytes:
    """A file, or a folder whose files make up one item as a .zip. Raises WrongUse for a folder of others."""
    if not path.is_dir():
        return path.read_bytes()
    members = modalities.get(modality).members
    if not members:
        raise WrongUse(f"{path} is a folder, which is no {modality}: send the files in it")
    return modalities.zipped(path, members)


def _split(items: list[dict[str, Any]], limits: wire.Limits) -> Iterator[list[dict[str, Any]]]:
    """Lists of at most max_items and max_body_bytes; a single item over that goes alone."""
    chunk: list[dict[str, Any]] = []
    room = limits.max_body_bytes * 3 // 4  # text escapes in JSON may still grow it
    for item in items:
        size = sum(_bytes_of(value) for value in item.values()) + _JSON_OVERHEAD_BYTES
        if chunk and (len(chunk) == limits.max_items or size > room):
            yield chunk
            chunk, room = [], limits.max_body_bytes * 3 // 4
        chunk.append(item)
        room -= size
    yield chunk


def _bytes_of(value: Any) -> int:
    return len(value.encode("utf-8", "replace") if isinstance(value, str) else orjson.dumps(value, default=str))


# --- one call each --------------------------------------------------------------------------------------------------


def _json(url: str, body: BaseModel | dict[str, Any]) -> Request:
    try:
        content = body.model_dump_json().encode() if isinstance(body, BaseModel) else orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise WrongUse(f"the request cannot be written as JSON: {error}") from None
    return {"method": "POST", "url": url, "content": content, "headers": {"content-type": "application/json"}}


def _asked_in_pieces(item: Any, modality: str, task: str | None, options: Any, ask: dict[str, Any]) -> Request:
    body = {"items": [json_item(item, modality)], "task": task, "options": options or {}, "stream": True, **ask}
    return _json("/predict", body)


def _piece(told: str, line: str) -> tuple[str, dict[str, Any] | None]:
    """Which event goes on after a line of a stream, and what the line brings. Raises what the server tells."""
    if line.startswith("event: "):
        return line.removeprefix("event: "), None
    if not line.startswith("data: "):
        return "" if not line else told, None
    data = line.removeprefix("data: ")
    if told == "error":
        problem = wire.Problem.model_validate_json(data)
        raise by_code(problem.code)(f"{problem.detail} (request {problem.request_id})")
    if told == "answer":
        return told, wire.PredictResponse.model_validate_json(data).answers[0]
    return told, orjson.loads(data)


def _get(url: str, answer: type[R]) -> Generator[Request, httpx.Response, R]:
    return answer.model_validate_json((yield {"method": "GET", "url": url}).content)


def _get_list(url: str, answer: type[R], params: Any = None) -> Generator[Request, httpx.Response, list[R]]:
    rows = orjson.loads((yield {"method": "GET", "url": url, "params": params}).content)
    return [answer.model_validate(row) for row in rows]


def _post(url: str, body: BaseModel | dict[str, Any], answer: type[R]) -> Generator[Request, httpx.Response, R]:
    return answer.model_validate_json((yield _json(url, body)).content)


def _put(url: str, body: BaseModel, answer: type[R]) -> Generator[Request, httpx.Response, R]:
    return answer.model_validate_json((yield {**_json(url, body), "method": "PUT"}).content)


def _count(url: str, body: BaseModel) -> Generator[Request, httpx.Response, int]:
    return int(orjson.loads((yield _json(url, body)).content)["deleted"])


def _nothing(request: Request) -> Generator[Request, httpx.Response, None]:
    yield request


def _content(url: str) -> Generator[Request, httpx.Response, bytes]:
    return (yield {"method": "GET", "url": url}).content


def _ready() -> Generator[Request, httpx.Response, bool]:
    try:
        yield {"method": "GET", "url": "/readyz", "extensions": {"enfold_once": True}}
    except EnfoldError:
        return False
    return True


def _arrow_up(
    method: Literal["POST", "PUT"], url: str, table: Any, answer: type[R]
) -> Generator[Request, httpx.Response, R]:
    pa = require("pyarrow", "serve", "sending points")
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    request = {"method": method, "url": url, "content": file.getvalue(), "headers": {"content-type": wire.ARROW}}
    return answer.model_validate_json((yield request).content)


def _arrow_down(url: str, params: Any = None) -> Generator[Request, httpx.Response, Any]:
    pa = require("pyarrow", "app", "reading points")
    return pa.ipc.open_stream((yield {"method": "GET", "url": url, "params": params}).content).read_all()


# --- answers and errors ---------------------------------------------------------------------------------------------


def _authorization(settings: Settings, api_key: str | None) -> dict[str, str]:
    key = api_key or (settings.api_key.get_secret_value() if settings.api_key else None)
    return {"authorization": f"Bearer {key}"} if key else {}


def _wait_seconds(response: httpx.Response, attempt: int) -> float | None:
    """How long to wait before asking again, or None to take the answer as it is."""
    once = response.request.extensions.get("enfold_once")
    if response.status_code not in (429, 503) or attempt == RETRIES or once:
        return None
    asked = response.headers.get("retry-after", "")
    seconds = float(asked) if asked.replace(".", "", 1).isdigit() else 0.25 * 2**attempt
    return min(seconds, _LONGEST_WAIT_SECONDS) * random.uniform(1, 1.25)


def _checked(response: httpx.Response) -> httpx.Response:
    """The response, or the error it carries."""
    if response.is_success:
        return response
    try:
        problem = wire.Problem.model_validate_json(response.content)
    except ValueError:
        raise Unavailable(
            f"{response.request.url} answered {response.status_code}: is this an enfold server?"
        ) from None
    raise by_code(problem.code)(f"{problem.detail} (request {problem.request_id})")


def _unreachable(url: str, error: httpx.TransportError) -> Unavailable:
    if isinstance(error, httpx.TimeoutException):
        return Unavailable(f"the server at {url} did not answer in time: raise ENFOLD_TIMEOUT_SECONDS or send less")
    return Unavailable(f"no server answers at {url} ({error}): start one with 'enfold serve', or set ENFOLD_URL")
