"""Points into an embedded index, some at a time; a line for every time that they are said to be on the disk."""

import sys
from pathlib import Path

import numpy as np

from enfold import wire
from serving.index import Points
from serving.index.edge import EdgeIndex

TIMES, POINTS, DIMENSIONS, SPACE = 200, 50, 64, "sp_kills"


def batch(number: int) -> Points:
    """The same in every run, with a picture each."""
    ids = [f"00000000-0000-0000-0000-{number * POINTS + row:012}" for row in range(POINTS)]
    vectors = np.random.default_rng(number).normal(size=(POINTS, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Points(ids, vectors, [{"batch": number}] * POINTS, SPACE, {id: id.encode() for id in ids})


def main(folder: Path) -> None:
    index = EdgeIndex(folder, "")
    facts = {"model": "none@1", "entry": "none", "modality": "text", "space": SPACE, "dimensions": DIMENSIONS}
    kept = index.create(wire.NewCollection(name="things", **facts))
    print("ready", flush=True)
    for number in range(TIMES):
        kept.upsert(batch(number))
        print(number, flush=True)
    index.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
