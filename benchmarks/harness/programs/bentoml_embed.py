"""A bundle behind BentoML's own adaptive batching."""

import base64

import bentoml
import numpy as np

import enfold
from enfold import settings


@bentoml.service(logging={"access": {"enabled": False}})
class Embedder:
    def __init__(self) -> None:
        config = settings.load()
        self.model = enfold.open(config.models, runtime=config.runtime)

    @bentoml.api(batchable=True, max_batch_size=32)
    def embed(self, items: list[dict[str, str]]) -> np.ndarray:
        raw = [item["text"] if "text" in item else base64.b64decode(item["image"]) for item in items]
        return self.model.embed(raw).vectors
