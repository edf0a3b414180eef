"""Rows of a Parquet file embedded by the model in this process, all at once: process_embed.py BUNDLE ROWS OUT"""

import sys

import pyarrow as pa
from pyarrow import parquet

import enfold

if __name__ == "__main__":
    bundle, rows, out = sys.argv[1:]
    table = parquet.read_table(rows)
    vectors = enfold.open(bundle, threads=2).embed(table["text"].to_pylist()).vectors
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    parquet.write_table(table.append_column("vector", column), f"{out}/all.parquet")
