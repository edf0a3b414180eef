"""Shards: what is written is what is read."""

from pathlib import Path

import numpy as np

from serving.index import Points
from serving.jobs.shards import Shards


def test_a_part_comes_back_with_the_fields_it_has(tmp_path: Path):
    parts = [{"index": 0, "start": 0, "end": 9}, {"index": 1, "box": [64, 0, 128, 64]}]
    payloads = [{"item": "one", "part": part} for part in parts] + [{"item": "two"}]
    shards = Shards(tmp_path, "job", {})
    shards.write(1, Points(["a", "b", "c"], np.zeros((3, 2), np.float32), payloads, "sp_1"), "model@1")
    assert shards.read(1).payloads == payloads
