"""Rows of a Parquet file embedded by Ray Data, as its pages show it: ray_data_embed.py BUNDLE ROWS OUT"""

import logging
import sys

import ray

import enfold


class Embedder:
    def __init__(self, bundle: str):
        self.model = enfold.open(bundle, threads=1)

    def __call__(self, batch: dict) -> dict:
        return {**batch, "vector": self.model.embed(batch["text"].tolist()).vectors}


if __name__ == "__main__":
    bundle, rows, out = sys.argv[1:]
    # Slots, not cores: with two, both of which the workers hold, reading would wait for ever.
    ray.init(num_cpus=4, include_dashboard=False, logging_level=logging.ERROR)
    ray.data.read_parquet(rows).map_batches(
        Embedder, fn_constructor_args=[bundle], batch_size=512, num_cpus=1, concurrency=2
    ).write_parquet(out)
