"""GPHT: many data sets, channel by channel, as one corpus, of which the next segment is always to be told.

Liu et al., "Generative Pretrained Hierarchical Transformer for Time Series Forecasting", KDD 2024, arXiv:2402.16516.
Our reading where the paper is silent: of a data set (a label) at most `most_windows` count when windows are drawn, so
that one with many channels does not make up the corpus; what was not measured takes no loss.
"""
# B windows, L steps, N segments of S steps, T steps of an item

import io
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from pydantic import BaseModel, Field

from enfold.errors import WrongUse
from enfold.modalities import Arrays
from enfold.modalities.series import SeriesPreprocess, level, standardized, windowed
from enfold.tasks.forecast import spread_of
from training.batches import Drawn
from training.encoders import Encoder
from training.encoders.gpht import GPHT as GPHTEncoder
from training.heads.forecast import Forecast, ForecastConfig
from training.methods import Batch, Calibration, Item, Losses, Method

_RESIDUALS = 512  # blocks of errors that the task knows
_BATCH = 128


class GPHTConfig(BaseModel, frozen=True, extra="forbid"):
    heads_only: bool = False  # fine-tuning: of a pretrained encoder only what tells the segments learns
    most_windows: int = Field(10_000, ge=1)


class GPHT(Method):
    Config = GPHTConfig
    config: GPHTConfig
    encoder: GPHTEncoder
    task_head: Forecast

    def __init__(self, encoder: Encoder, config: GPHTConfig, preprocess: SeriesPreprocess):
        super().__init__(encoder, config, preprocess)
        if not isinstance(encoder, GPHTEncoder):
            raise WrongUse("method 'gpht' trains stages that tell segments: it needs encoder 'gpht'")
        self.task_head = Forecast(encoder, ForecastConfig())
        if config.heads_only:
            encoder.requires_grad_(False)
            encoder.heads.requires_grad_(True)
        self._courses: dict[int, np.ndarray] = {}

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """series, measured float32 [1, L]; future, known float32 [1, S]: a window of one channel and what follows."""
        course = self._course(item)
        L, S = self.preprocess.window, self.encoder.config.segment
        channel, start = rng.integers(course.shape[1]), rng.integers(self.windows(course.shape[0]))
        end = min(L, len(course) - S) + start
        before, ahead = course[max(0, end - L) : end, channel, None], windowed(course[end : end + S, channel, None], S)
        return windowed(before, L) | {"future": ahead["series"], "known": ahead["measured"]}

    def forward(self, batch: Batch) -> Losses:
        S = self.encoder.config.segment
        told = self.encoder(batch).features["next"]  # [B, 1, N, S]
        wanted = torch.cat([batch["series"][..., S:], batch["future"]], 2).view_as(told)
        known = torch.cat([batch["measured"][..., S:], batch["known"]], 2).view_as(told)
        squared = (told - wanted) ** 2 * known
        last = squared[:, :, -1].sum() / known[:, :, -1].sum().clamp(min=1)
        return {"loss": squared.sum() / known.sum().clamp(min=1), "last_segment": last}

    def sampler(self, items: Sequence[Item], batch: int, seed: int, start: int) -> Iterable[list[tuple[int, int]]]:
        """Items by how many windows they have, of a data set at most `most_windows`."""
        read = [items[index] for index in range(len(items))]
        windows = np.array([self.windows(len(item.value.values)) * item.value.values.shape[1] for item in read], float)
        if not windows.any():
            least = self.encoder.config.segment + 2
            raise WrongUse(f"no series of the training split has the {least} steps that a window and its next need")
        sets = np.array([item.label if item.label >= 0 else -1 - item.index for item in read])
        for one in np.unique(sets):
            windows[sets == one] *= min(1, self.config.most_windows / max(windows[sets == one].sum(), 1))
        return Drawn(windows, batch, seed, start)

    def windows(self, steps: int) -> int:
        """Places in so many steps at which a window can end; a shorter series than a window has one."""
        L, S = self.preprocess.window, self.encoder.config.segment
        return max(1, steps - L - S + 1) if steps >= S + 2 else 0

    @torch.inference_mode()
    def calibrated(self, held_out: Sequence[Item]) -> Calibration:
        """How far the next segment of held-out series is from what was told, in spreads of the windows."""
        L, S = self.preprocess.window, self.encoder.config.segment
        places = []
        for index in range(len(held_out)):
            item = held_out[index]
            course, first = self._standardized(item), int(item.payload.get("starts", 0))
            ends = range(max(first, 2), len(course) - S + 1, S)
            places += [(course, end, channel) for end in ends for channel in range(course.shape[1])]
        kept = np.unique(np.linspace(0, len(places) - 1, min(len(places), _RESIDUALS)).astype(int))
        blocks = []
        for at in range(0, len(kept), _BATCH):
            chosen = [places[index] for index in kept[at : at + _BATCH]]
            made = [windowed(course[:end, channel, None], L) for course, end, channel in chosen]
            window = {name: np.stack([one[name] for one in made]) for name in made[0]}
            told = self.encoder({name: torch.from_numpy(values) for name, values in window.items()}).features["next"]
            actual = np.stack([course[end : end + S, channel] for course, end, channel in chosen])
            blocks.append((actual - told[:, 0, -1].numpy()) / spread_of(window))
        found = np.concatenate(blocks) if blocks else np.empty((0, S))
        found = found[~np.isnan(found).any(1)]
        if not len(found):
            return Calibration()
        file = io.BytesIO()
        np.save(file, found.astype(np.float32), allow_pickle=False)
        return Calibration({"residuals": "resources/residuals.npy"}, {"residuals.npy": file.getvalue()})

    def _course(self, item: Item) -> np.ndarray:
        """A training item less its mean over its spread, [T, C], made once."""
        if item.index not in self._courses:
            self._courses[item.index] = self._standardized(item)
        return self._courses[item.index]

    @staticmethod
    def _standardized(item: Item) -> np.ndarray:
        """By what training knows of it, where the item goes on after that."""
        values: np.ndarray = item.value.values
        return standardized(values, *level(values[: int(item.payload.get("fitted", len(values)))]))


METHOD = GPHT
