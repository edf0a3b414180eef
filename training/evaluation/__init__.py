"""How an encoder is judged. An evaluation is a file of this folder with `evaluate(subject) -> figures`.

Every figure is on the test split; whatever an evaluation chooses (a penalty, a step count) it chooses on validation.
"""

from typing import TYPE_CHECKING

import numpy as np

from enfold.modalities import Arrays
from training.encoders import Encoder
from training.probes import features

if TYPE_CHECKING:
    from training.run import Run


class Subject:
    """An encoder and the labelled data it is judged on; features are computed once per split."""

    def __init__(self, encoder: Encoder | None, run: "Run"):
        self.encoder, self.run = encoder, run
        self._features: dict[str, np.ndarray] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        return self.run.dataset.classes

    def labels(self, split: str) -> np.ndarray:
        """int64 [N]"""
        return self.run.dataset.split(split).labels()

    def prepared(self, split: str, limit: int | None = None) -> Arrays:
        """Encoder inputs of a split, as serving would make them."""
        data, modality = self.run.dataset.split(split), self.run.modality
        count = len(data) if limit is None else min(limit, len(data))
        return modality.collate([modality.prepare(data.read(i, modality))[0] for i in range(count)])

    def features(self, split: str) -> np.ndarray:
        """Embeddings of a split [N, D]."""
        assert self.encoder is not None
        if split not in self._features:
            self._features[split] = features(self.encoder, self.prepared(split))
        return self._features[split]

    def pixels(self, split: str) -> np.ndarray:
        """The raw inputs flattened [N, P]: what any encoder must beat."""
        return np.concatenate([array.reshape(len(array), -1) for array in self.prepared(split).values()], axis=1)
