"""Frames of the Open Inference Protocol whose parts do not fit together: vectors or a 4xx, no failure of the server.

FUZZ is how many. `deep` is the share whose JSON was read, so that its tensors were looked at.
"""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.oip import HEADER_LENGTH
from tests import bundles, servers
from tests.fuzz import tally
from tests.fuzz.wounds import edited, wounded

COUNT = int(os.environ.get("FUZZ", "500"))
_SHAPES: list[list[Any]] = [[], [0], [-1], [1], [2**31], [2**63], [1] * 9, [-1, -1], [2**40, 2**40], [3, 3], [1.5]]
_KINDS = ["BYTES", "INT64", "FP32", "FP64", "INT8", "UINT64", "BF16", "BOOL", "", "bytes"]
_SIZES = [0, 1, 4, 7, 2**31, 2**63, -1, None]
_LENGTHS = ["", "0", "-1", "1e3", "99999999999", "9" * 400, "0x10", "5 6", "٣"]


def frame(number: int, rng: np.random.Generator) -> tuple[bytes, dict[str, str]]:
    """The tensors of a good request, one to three of its facts changed, and the length of its JSON with them or not."""
    inputs, tail = _good(number % 3)
    for _ in range(rng.integers(1, 4)):
        tensor = inputs[rng.integers(len(inputs))]
        match rng.integers(6):
            case 0:
                tensor["shape"] = _SHAPES[rng.integers(len(_SHAPES))]
            case 1:
                tensor["datatype"] = _KINDS[rng.integers(len(_KINDS))]
            case 2:
                tensor["parameters"] = {"binary_data_size": _SIZES[rng.integers(len(_SIZES))]}
            case 3:
                tensor["name"] = ["text", "image", "input_ids", "attention_mask", "", "\x00"][rng.integers(6)]
            case 4:
                tail = wounded(tail, rng)
            case 5:
                tensor["data"] = [1, "a", 1e400, None, [2]][: rng.integers(6)]
    body: Any = {"inputs": inputs}
    if number % 7 == 0:
        body = edited(body, rng, [0, -1, 2**63, "", None, [], {}, [{}], True, 0.5])
    head = json.dumps(body).encode()
    length = str(len(head)) if number % 5 else _LENGTHS[rng.integers(len(_LENGTHS))]
    return head + tail, {HEADER_LENGTH: length}


def _good(kind: int) -> tuple[list[dict[str, Any]], bytes]:
    if kind == 0:
        return [_tensor("text", "BYTES", [1], 7)], (3).to_bytes(4, "little") + b"red"
    if kind == 1:
        ids = np.array([[2, 6], [3, 7]]).tobytes() + np.ones((2, 2), np.int64).tobytes()
        return [_tensor("input_ids", "INT64", [2, 2], 32), _tensor("attention_mask", "INT64", [2, 2], 32)], ids
    return [_tensor("image", "FP32", [1, 3, 16, 16], 3072)], np.zeros(768, np.float32).tobytes()


def _tensor(name: str, datatype: str, shape: list[int], size: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}


@pytest.mark.slow
def test_frames_that_do_not_add_up(tmp_path: Path):
    bundles.image_bundle(tmp_path / "bundles")
    bundles.text_bundle(tmp_path / "bundles")
    server = servers.start(tmp_path, "tiny", "words")
    became, wrong, deep = Counter[int](), [], 0
    try:
        with server.client() as client:
            servers.until(client.ready, 60)
        with server.http() as http:
            for number in range(COUNT):
                body, headers = frame(number, np.random.default_rng([7, number]))
                model = "tiny" if number % 3 == 2 else "words"
                headers = {name: value.encode() for name, value in headers.items()}
                answer = http.post(f"/v2/models/{model}/infer", content=body, headers=headers)
                became[answer.status_code] += 1
                sentence = "" if answer.status_code == 200 else answer.json()["error"]
                deep += not sentence.startswith(("header ", "the body", "inputs.", "inputs:"))
                if not (answer.status_code == 200 or (400 <= answer.status_code < 500 and len(sentence) < 2000)):
                    wrong.append((number, answer.status_code, sentence))
            assert server.client().ready()
    finally:
        servers.stop(server)
    read = became[200]
    tally.tell("frames", mutants=COUNT, read=read, refused=COUNT - read, deep=deep / COUNT, wrong=len(wrong))
    assert wrong == []
    assert deep > 0.3 * COUNT
