"""What LitServe costs: a vector of 384 numbers from no model."""

import random
import sys
from typing import Any

import litserve

VECTOR = [round(random.uniform(-1, 1), 8) for _ in range(384)]


class Vector(litserve.LitAPI):
    def setup(self, device: str) -> None:
        pass

    def decode_request(self, request: dict[str, Any]) -> str:
        return str(request["text"])

    def predict(self, text: str) -> list[float]:
        return VECTOR

    def encode_response(self, vector: list[float]) -> dict[str, Any]:
        return {"vector": vector}


if __name__ == "__main__":
    server = litserve.LitServer(Vector(), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
