"""A bundle behind BentoML's own adaptive batching."""

import base64
import os

import bentoml
import numpy as np

import enfold


@bentoml.service(logging={"access": {"enabled": False}})
class Embedder:
    def __init__(self) -> None:
        self.model = enfold.open(os.environ["BENCHMARK_BUNDLE"])

    @bentoml.api(batchable=True, max_batch_size=32)
    def embed(self, items: list[dict[str, str]]) -> np.ndarray:
        raw = [item["text"] if "text" in item else base64.b64decode(item["image"]) for item in items]
        return self.model.embed(raw).vectors
