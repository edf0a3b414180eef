"""Rows of a Parquet file embedded by Daft, as its pages show it: daft_embed.py BUNDLE ROWS OUT"""

import sys

import daft

import enfold


@daft.cls(max_concurrency=2, use_process=True)
class Embedder:
    def __init__(self, bundle: str):
        self.model = enfold.open(bundle, threads=1)

    @daft.method.batch(return_dtype=daft.DataType.list(daft.DataType.float32()), batch_size=512)
    def embed(self, texts: daft.Series) -> list:
        return list(self.model.embed(texts.to_pylist()).vectors)


if __name__ == "__main__":
    bundle, rows, out = sys.argv[1:]
    found = daft.read_parquet(rows)
    found.with_column("vector", Embedder(bundle).embed(found["text"])).write_parquet(out)
