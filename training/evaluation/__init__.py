"""How an encoder is judged. An evaluation is a file of this folder with `evaluate(subject) -> figures`.

Every figure is on the test split; whatever an evaluation chooses (a penalty, a step count) it chooses on validation.
One that asks for labels says so by NEEDS_LABELS.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from enfold.errors import WrongUse
from enfold.modalities import Arrays, Modality
from training.artefacts import pretrained_method
from training.data.dataset import Dataset
from training.encoders import Encoder
from training.methods import Method
from training.probes import features
from training.recipe import Stage

if TYPE_CHECKING:
    from training.run import Run


class Subject:
    """An encoder and the data it is judged on; features are computed once per split.

    Where some items have labels, the others are left out. With a stage, the whole method that it needs is at hand.
    """

    def __init__(self, encoder: Encoder | None, run: "Run", dataset: Dataset, stage: Stage | None = None):
        self.encoder, self.run, self.dataset, self.stage = encoder, run, dataset, stage
        self._data: dict[str, Dataset] = {}
        self._inputs: dict[str, Arrays] = {}
        self._features: dict[str, np.ndarray] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        return self.dataset.classes

    @property
    def modality(self) -> Modality[Any]:
        return self.run.reader(self.dataset)

    @property
    def has_labels(self) -> bool:
        """Whether every split has labelled items, and training at least two classes of them."""
        found = [np.unique(self.labels(split)) for split in ("train", "val", "test")]
        return len(found[0]) > 1 and all(len(labels) and labels[0] >= 0 for labels in found)

    @cached_property
    def method(self) -> Method:
        """The last needed pretraining's, in evaluation mode: the encoder with what lies beside it."""
        assert self.stage is not None
        return pretrained_method(self.stage, self.run).eval()

    def side(self, split: str, name: str) -> list[Any]:
        """What stands in a column beside every item of a split, decoded."""
        data, sides = self.data(split), self.run.sides
        if name not in sides:
            raise WrongUse(f"recipe '{self.run.recipe.slug}' names no column [sides.{name}]: the evaluation needs it")
        return [data.side(i, name, sides[name]) for i in range(len(data))]

    def captions(self, split: str) -> list[str]:
        """One text for every item of a split: the first line of the text column beside it. Raises WrongUse."""
        name = next((name for name, reader in self.run.sides.items() if reader.name == "text"), None)
        if name is None:
            raise WrongUse(
                f"recipe '{self.run.recipe.slug}' names no text column beside its items: add a [sides] table"
            )
        return [text.splitlines()[0] for text in self.side(split, name)]

    def text_inputs(self, texts: Sequence[str]) -> Arrays:
        """Inputs of the method's text encoder, as serving would make them."""
        reader = next(reader for reader in self.run.sides.values() if reader.name == "text")
        return reader.collate([reader.prepare(text)[0] for text in texts])

    def text_features(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings of texts by the method's text encoder [N, D]."""
        encoder: Any = self.method.text_encoder
        return features(encoder, self.text_inputs(texts))

    def towers(self, split: str) -> dict[str, np.ndarray]:
        """Embeddings of a split [N, D] by every tower of the method's space: its own items first, then columns."""
        found = {self.modality.name: self.features(split)}
        for name, (_, tower) in self.method.towers().items():
            reader = self.run.sides[name]
            found[name] = features(tower, self.data(split).beside(name, reader).inputs(reader))
        return found

    def data(self, split: str) -> Dataset:
        if split not in self._data:
            found = self.dataset.split(split)
            labelled = np.flatnonzero(found.labels() >= 0)
            self._data[split] = found.subset(labelled) if len(labelled) else found
        return self._data[split]

    def labels(self, split: str) -> np.ndarray:
        """int64 [N], -1 only where no item of the split has one"""
        return self.data(split).labels()

    def prepared(self, split: str, limit: int | None = None) -> Arrays:
        """Encoder inputs of a split, as serving would make them; whole splits are prepared once."""
        if limit is not None:
            return self.data(split).inputs(self.modality, limit)
        if split not in self._inputs:
            self._inputs[split] = self.data(split).inputs(self.modality)
        return self._inputs[split]

    @property
    def has_raw_values(self) -> bool:
        """Whether raw inputs can be compared as they are: shades of one shape, and not the numbers of words."""
        return all(array.dtype.kind == "f" for array in self.prepared("test").values())

    def features(self, split: str) -> np.ndarray:
        """Embeddings of a split [N, D]."""
        assert self.encoder is not None
        if split not in self._features:
            self._features[split] = features(self.encoder, self.prepared(split))
        return self._features[split]

    def centred(self, split: str) -> np.ndarray:
        """Embeddings of a split less the mean of the training split's [N, D]."""
        return self.features(split) - self.features("train").mean(0)

    def means(self, split: str) -> np.ndarray:
        """Mean of each channel of the raw inputs [N, C], less the training split's: what an image's colour tells."""
        found = [
            np.concatenate([array.reshape(*array.shape[:2], -1).mean(2) for array in self.prepared(part).values()], 1)
            for part in (split, "train")
        ]
        return found[0] - found[1].mean(0)

    def pixels(self, split: str) -> np.ndarray:
        """The raw inputs flattened [N, P]: what any encoder must beat."""
        return np.concatenate([array.reshape(len(array), -1) for array in self.prepared(split).values()], axis=1)
