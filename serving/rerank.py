"""Reranking, in the shape that the rerankers of Cohere, Jina and others agree on, by the task `rank`."""

from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from enfold import wire
from enfold.errors import WrongUse
from enfold.modalities.text import TextJson
from enfold.model import Model
from enfold.settings import MOST_ITEMS
from enfold.tasks.rank import RankOptions
from serving import openapi
from serving.bodies import read_json
from serving.rooms import Rooms, rooms_of

TASK = "rank"


class RerankRequest(wire.Record):
    model: str | None = Field(None, description="bundle name, @version or @alias; the only one that ranks if left out")
    query: str
    documents: list[str | TextJson] = Field(min_length=1, max_length=MOST_ITEMS)
    top_n: int | None = Field(None, ge=1, description="how many to return; all if left out")
    return_documents: bool = False


class Ranked(BaseModel):
    index: int = Field(description="of the document in the request")
    relevance_score: float
    document: TextJson | None = None


class RerankResponse(BaseModel):
    model: str = Field(description="bundle as name@version")
    results: list[Ranked] = Field(description="most relevant first")


router = APIRouter(tags=["Reranking"])


@router.post("/rerank", response_model=RerankResponse, openapi_extra=openapi.body(RerankRequest))
async def rerank(request: Request) -> Response:
    """Documents in the order of their relevance to a query."""
    rooms, asked = rooms_of(request), await read_json(request, RerankRequest)
    texts = [document if isinstance(document, str) else document.text for document in asked.documents]
    model = await rooms.model(asked.model or _ranking(rooms).bundle.ref, len(texts))
    found = await _scores(rooms, model, asked.query, texts)
    results: list[dict[str, Any]] = []
    for index in sorted(range(len(texts)), key=lambda index: -found[index])[: asked.top_n]:
        document = {"document": {"text": texts[index]}} if asked.return_documents else {}
        results.append({"index": index, "relevance_score": found[index], **document})
    return Response(orjson.dumps({"model": model.bundle.ref, "results": results}), media_type="application/json")


async def scores(rooms: Rooms, model: str | None, query: str, texts: Sequence[str]) -> list[float]:
    """How relevant each text is to a query, by a model that ranks; the only one that is loaded if none is named.

    texts   of our own finding: as many as it takes, whatever a request may hold
    """
    opened = await rooms.model(model or _ranking(rooms).bundle.ref, 1)
    return await _scores(rooms, opened, query, texts)


async def _scores(rooms: Rooms, model: Model, query: str, texts: Sequence[str]) -> list[float]:
    entry, options = model.entry(modality=model.task(TASK).modality), RankOptions(query=query)
    answers, _ = await rooms.engine.predict(model, entry, texts, TASK, options)
    return [answer.score for answer in answers]  # type: ignore[union-attr]  # strict: none is missing


def _ranking(rooms: Rooms) -> Model:
    """The only loaded model that ranks."""
    found = [model for model in rooms.models.all() if TASK in model.bundle.manifest.tasks]
    if len(found) != 1:
        known = ", ".join(model.bundle.ref for model in found)
        raise WrongUse(
            f"several models rank: name one of {known}"
            if found
            else f"no loaded model ranks: serve a bundle with the task '{TASK}'"
        )
    return found[0]


ROUTES = openapi.table_of(router)
