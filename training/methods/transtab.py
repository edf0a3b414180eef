"""TransTab: several views of a row, each of some of its columns, find those of rows of the same class, or of the row.

Wang and Sun, "TransTab: Learning Transferable Tabular Transformers Across Tables", NeurIPS 2022, arXiv:2205.09328.
Our reading where paper and released code differ: similarity is the paper's cosine, at a temperature of 0.1, which is
the scale of the code's raw products at 10. A batch holds rows of one table, and tables take turns.
"""
# B rows of a batch, K views of a row, N tokens of a view, W pieces of a name, P features of a projection

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import nn

from enfold.errors import WrongUse
from enfold.modalities import Arrays, Modality
from enfold.modalities.table import Table, TablePreprocess, padded
from training.batches import Alternating
from training.blocks.supcon import supcon
from training.encoders import Encoder
from training.encoders.column_transformer import ColumnTransformer
from training.methods import Batch, Item, Losses, Method
from training.views.table import partitions


class TransTabConfig(BaseModel, frozen=True, extra="forbid"):
    supervised: bool = True  # views of rows of the same class find each other; else those of the same row alone
    partitions: int = Field(4, ge=2)  # K
    overlap_ratio: float = Field(0.5, ge=0, le=0.5)  # of a partition's columns, taken from its neighbour too
    projection: int = Field(128, ge=1)
    temperature: float = Field(0.1, gt=0)
    table_column: str = "study"  # the side that says which table a row is of


class TransTab(Method):
    Config = TransTabConfig
    config: TransTabConfig
    takes_sides = takes_reader = True

    def __init__(
        self,
        encoder: Encoder,
        config: TransTabConfig,
        preprocess: TablePreprocess,
        sides: Mapping[str, Modality[Any]],
        reader: Table,
    ):
        super().__init__(encoder, config, preprocess)
        if not isinstance(encoder, ColumnTransformer):
            raise WrongUse("method 'transtab' reads names of columns: it needs encoder 'column_transformer'")
        if config.table_column not in sides:
            raise WrongUse(f"method 'transtab' learns table by table: name the column [sides.{config.table_column}]")
        self._reader = reader
        self.projection = nn.Linear(encoder.dim, config.projection, bias=False)

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """pieces [K, N, W], values and kinds [K, N]: K views, N as many as the encoder takes; label, and whose row."""
        row, K = item.value, self.config.partitions
        if len(row) < K:
            raise WrongUse(f"transtab: row {item.index} has {len(row)} columns, too few for {K} partitions")
        views = [
            self._reader.tokens({name: row[name] for name in columns})
            for columns in partitions(list(row), K, overlap=self.config.overlap_ratio)
        ]
        made = {name: np.stack([padded(view[name], self.preprocess.max_tokens) for view in views]) for name in views[0]}
        return {**made, "label": np.array(item.label), "row": np.array(item.index)}

    def forward(self, batch: Batch) -> Losses:
        kinds = batch["kinds"].flatten(0, 1)  # [BK, N]
        longest = max(1, int((kinds > 0).sum(1).max()))
        inputs = {name: batch[name].flatten(0, 1)[:, :longest] for name in ("pieces", "values", "kinds")}
        projected = self.projection(self.encoder(inputs).embedding)  # [BK, P]
        classes = batch["row"]
        if self.config.supervised:  # a row without a label is a class of its own
            classes = torch.where(batch["label"] < 0, -1 - batch["row"], batch["label"])
        classes = classes.repeat_interleave(self.config.partitions)
        return {"loss": supcon(projected, classes, temperature=self.config.temperature)}

    def sampler(self, items: Sequence[Item], batch: int, seed: int, start: int) -> Iterable[list[tuple[int, int]]]:
        """Rows of one table in a batch: others would be told apart by the names of their columns."""
        tables = [str(item.sides.get(self.config.table_column, "")) for item in items]
        return Alternating(tables, batch, seed, start, turns=list(dict.fromkeys(tables)))


METHOD = TransTab
