"""What a model takes that is open and has embedded one batch, resident bytes: idle_model.py BUNDLE ROWS"""

import sys

import psutil
from pyarrow import parquet

import enfold

if __name__ == "__main__":
    bundle, rows = sys.argv[1:]
    [first] = parquet.ParquetFile(rows).iter_batches(512, columns=["text"]).__next__().columns
    enfold.open(bundle, threads=2).embed(first.to_pylist())
    print(psutil.Process().memory_info().rss)
