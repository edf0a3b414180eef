"""What /openapi.json says beyond what FastAPI finds: bodies of several kinds, answers of tasks, BentoML's routes."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from enfold import modalities, tasks, wire

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": "what went wrong and what to do", "content": {"application/problem+json": {"schema": ref}}}
    for ref in [{"$ref": "#/components/schemas/Problem"}]
    for status in ("4XX", "5XX", 422)
}
Handler = Callable[[Request], Awaitable[Response]]
Responses = dict[int | str, dict[str, Any]]
ARROW: Responses = {200: {"description": "Arrow stream", "content": {wire.ARROW: {"schema": {"type": "string"}}}}}
VECTORS: Responses = {
    200: {"content": {media: {"schema": {"type": "string"}} for media in (wire.ARROW, "application/x-npy")}}
}
FILE: Responses = {200: {"description": "the item", "content": {"*/*": {}}}}
WEBP: Responses = {200: {"description": "the picture", "content": {"image/webp": {}}}}
_BODIES: list[type[BaseModel]] = [wire.Problem]  # and of every route that reads its own
_SYSTEM = {
    "/healthz": "Whether the process lives.",
    "/readyz": "Whether every model is loaded and passed its check.",
    "/metrics": "Counts and times for Prometheus.",
}


def body(kind: type[BaseModel], **others: dict[str, Any]) -> dict[str, Any]:
    """The request body of a route that reads it itself: JSON of `kind`, or another media type."""
    if kind not in _BODIES:
        _BODIES.append(kind)
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}} | others
    return {"requestBody": {"required": True, "content": content}}


def in_path(*names: str) -> dict[str, Any]:
    """Parameters in the path of a route that reads them itself."""
    return {
        "parameters": [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    }


def table_of(router: APIRouter) -> list[tuple[str, str, Handler]]:
    """Method, path and handler of every route."""
    routes = [route for route in router.routes if isinstance(route, APIRoute)]
    return [(method, route.path, route.endpoint) for route in routes for method in route.methods or ()]


def form(kind: type[BaseModel]) -> dict[str, Any]:
    """The same fields as multipart/form-data: an item is a file under its modality's name."""
    file = {"type": "array", "items": {"type": "string", "format": "binary"}}
    fields: dict[str, Any] = {name: {"type": "string"} for name in kind.model_fields if name != "items"}
    properties = fields | dict.fromkeys(modalities.names(), file)
    return {"multipart/form-data": {"schema": {"type": "object", "properties": properties}}}


def raw() -> dict[str, Any]:
    """Items without JSON: an Arrow stream with a column named as the modality, or N images as npy."""
    return table() | {"application/x-npy": {"schema": {"type": "string", "format": "binary"}}}


def table() -> dict[str, Any]:
    """An Arrow stream as body."""
    return {wire.ARROW: {"schema": {"type": "string", "format": "binary"}}}


def table_body() -> dict[str, Any]:
    """The request body of a route that takes nothing but an Arrow stream."""
    return {"requestBody": {"required": True, "content": table()}}


def complete(app: FastAPI) -> None:
    """Have the app describe everything it answers."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _schema(app)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's documented way


def _schema(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    task_types = [kind for name in tasks.names() for kind in (tasks.get(name).Options, tasks.get(name).Answer)]
    wanted = [(kind, "validation") for kind in [*_BODIES, *task_types]]
    _, found = models_json_schema(wanted, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schema.setdefault("components", {}).setdefault("schemas", {}).update(found["$defs"])
    for path, summary in _SYSTEM.items():
        schema["paths"][path] = {"get": {"summary": summary, "responses": {"200": {"description": "yes"}}}}
    return schema
