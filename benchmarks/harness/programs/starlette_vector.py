"""What Starlette costs: a vector of 384 numbers from no model."""

import random

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

VECTOR = [round(random.uniform(-1, 1), 8) for _ in range(384)]


async def embed(request: Request) -> Response:
    assert (await request.json())["text"]
    return JSONResponse({"vector": VECTOR})


async def ready(request: Request) -> Response:
    return Response()


app = Starlette(routes=[Route("/embed", embed, methods=["POST"]), Route("/ready", ready)])
