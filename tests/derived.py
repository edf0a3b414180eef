"""Small parts of data sets whose making takes minutes, kept in tests/data so that tests need not wait for it.

`python -m tests.derived` writes them again from the sets that `enfold data fetch` built. The folders say what they
hold as a built set does (dataset.json: packages, licence, counts); licences are the packages' own.
"""

import shutil
from pathlib import Path

from pyarrow import parquet

from enfold import settings
from training.data import builders

KEPT = Path(__file__).parent / "data"
# Of each split, how many items of each label; the labels kept. The gate asks for eleven held-out items.
PARTS = {
    "furniture_splats": ({"train": 11, "val": 2, "test": 3}, ("chair", "lamp", "plug", "sofa", "table")),
    "molecules": ({"train": 300, "val": 60, "test": 120}, None),
    "rooms": ({"train": 3, "val": 1, "test": 4}, None),
}


def main() -> None:
    for name, (counts, labels) in PARTS.items():
        whole, part = settings.load().data / name, KEPT / name
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        rows, taken = parquet.read_table(whole / "manifest.parquet").to_pylist(), {}
        for row in rows:
            own = taken.setdefault((row["split"], row["label"]), [])
            if (labels is None or row["label"] in labels) and len(own) < counts[row["split"]]:
                own.append(row)
        kept = [row for row in rows if row in taken[row["split"], row["label"]]]
        for row in kept if "path" in rows[0] else ():
            shutil.copy(whole / row["path"], part / row["path"])
        builders.write(builders.facts(name), kept, part)


if __name__ == "__main__":
    main()
