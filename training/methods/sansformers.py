"""SANSformers: from what a person's records say up to a day, how many visits of each kind the time after it brings.

Kumar et al., "SANSformers: Self-Supervised Forecasting in Electronic Health Records with Attention-Free Models", 2023,
arXiv:2108.13672: Generative Summary Pretraining. Our reading where paper and released code are silent: Poisson loss,
all counts weighing alike; a day is drawn anew each time a person is seen, among those of visits.
"""
# B persons, T visits, V codes of a visit, K counts

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, Field
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities import Arrays
from enfold.modalities.records import History, Records, RecordsPreprocess
from enfold.modalities.table import padded
from training.batches import Drawn
from training.encoders import Encoder
from training.encoders.sansformer import Sansformer
from training.heads.counts import Counts, CountsConfig
from training.methods import Batch, Item, Losses, Method
from training.views.records import after_day, index_days, until_day, visit_counts

VISITS = "visits"


class SansformersConfig(BaseModel, frozen=True, extra="forbid"):
    window: float = Field(365, gt=0)  # days in which visits are counted
    least_visits: int = Field(3, ge=1)  # that are known before
    groups: dict[str, tuple[str, ...]] = {}  # name -> codes whose visits are counted, beside all visits

    @property
    def names(self) -> tuple[str, ...]:
        return (VISITS, *self.groups)


class SANSformers(Method):
    """`head` is what pretraining discards, and what an adaptation keeps."""

    Config = SansformersConfig
    config: SansformersConfig
    takes_reader = True

    def __init__(
        self, encoder: Encoder, config: SansformersConfig, preprocess: RecordsPreprocess, reader: Records | None = None
    ):
        super().__init__(encoder, config, preprocess)
        if not isinstance(encoder, Sansformer):
            raise WrongUse("method 'sansformers' mixes visits without attention: it needs encoder 'sansformer'")
        for name in ("max_visits", "visit_codes", "places"):
            asked, has = getattr(preprocess, name), getattr(encoder.config, name)
            if asked != has:
                raise WrongUse(f"preprocess.{name} is {asked}, encoder.config.{name} is {has}: give both the same")
        self._reader: Any = reader
        self.head = Counts(encoder, CountsConfig(names=config.names, days=config.window))

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """codes [T, V], gaps [T], about [T, A] until a day, padded; counts float32 [K] of the time after it."""
        return self.example_at(item.value, float(rng.choice(self.days(item.value))))

    def example_at(self, history: History, day: float) -> Arrays:
        before, after = until_day(history, day), after_day(history, day, self.config.window)
        assert not len(after) or before.days.max() < after.days.min()
        arrays = self._reader.prepare(before)[0].arrays
        made = {name: padded(values, self.preprocess.max_visits) for name, values in arrays.items()}
        return made | {"counts": visit_counts(after, self.config.groups)}

    def days(self, history: History) -> np.ndarray:
        return index_days(history, window=self.config.window, least_visits=self.config.least_visits)

    def forward(self, batch: Batch) -> Losses:
        longest = max(1, int((batch["codes"] > 0).any(2).sum(1).max()))
        inputs = {name: batch[name][:, :longest] for name in ("codes", "gaps", "about")}
        log_rates = self.head(self.encoder(inputs).embedding)
        loss = F.poisson_nll_loss(log_rates, batch["counts"], log_input=True)
        return {"loss": loss, "mae_visits": (log_rates[:, 0].exp() - batch["counts"][:, 0]).abs().mean()}

    def sampler(self, items: Sequence[Item], batch: int, seed: int, start: int) -> Iterable[list[tuple[int, int]]]:
        """Persons alike, of those that are followed for long enough."""
        fit = np.array([float(len(self.days(items[index].value)) > 0) for index in range(len(items))])
        if not fit.any():
            raise WrongUse(
                f"no person of the training split has {self.config.least_visits} visits and {self.config.window:g} "
                "days stated after them: give longer histories (`until`), or lower config.window"
            )
        return Drawn(fit, batch, seed, start)


METHOD = SANSformers
