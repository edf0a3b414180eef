"""AUC after fine-tuning on a hundred rows of a table, mean over the tables, beside boosting and logistic regression.

Every table begins anew from the encoder that is judged. Learning rate and epoch are the best on validation; 50 epochs
of 64 rows with Adam are TransTab's (Wang and Sun 2022, arXiv:2205.09328), which has one rate, the lower one here.
"""
# N rows, C columns, D features

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities.table import Row, Table, padded
from training.encoders import Encoder, Inputs
from training.evaluation import Subject

NEEDS_LABELS = True
COLUMN = "study"  # beside the items: which table a row is of
ROWS = 100
RATES, EPOCHS, BATCH = (1e-4, 1e-3), 50, 64
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Rows:
    """Rows of one table and split, and which of them are of its second class."""

    values: list[Row]
    truth: np.ndarray  # int64 [N], 0 and 1

    def some(self, chosen: np.ndarray) -> "Rows":
        return Rows([self.values[i] for i in chosen], self.truth[chosen])

    def of(self, columns: Sequence[str]) -> "Rows":
        """With these columns alone."""
        return Rows([{name: row.get(name) for name in columns} for row in self.values], self.truth)


def evaluate(subject: Subject) -> dict[str, float]:
    found: dict[str, dict[str, float]] = {"": {}, "boosting_": {}, "logistic_": {}}
    for name, splits in tables(subject):
        few = drawn(splits["train"], ROWS, subject.run.seed)
        tuned = fine_tune(subject, few, splits["val"], epochs=EPOCHS)
        found[""][name] = auc(splits["test"].truth, tuned.scores(splits["test"]))
        for way, scores in dull(few, splits["test"]).items():
            found[way][name] = auc(splits["test"].truth, scores)
    figures = {f"{way}auc": float(np.mean(list(scores.values()))) for way, scores in found.items()}
    return figures | {f"{way}{name}_auc": score for way, scores in found.items() for name, score in scores.items()}


def tables(subject: Subject) -> Iterator[tuple[str, dict[str, Rows]]]:
    """Each table of two classes, by its name. Raises WrongUse if there is none."""
    names = [str(record.payload.get(COLUMN, "")) for record in subject.dataset.records]
    found = 0
    for name in dict.fromkeys(names):
        splits = {split: _rows(subject, split, name) for split in SPLITS}
        classes = np.unique(splits["train"].truth)
        if len(classes) == 2:
            found += 1
            yield (
                name,
                {split: Rows(own.values, (own.truth == classes[1]).astype(int)) for split, own in splits.items()},
            )
    if not found:
        raise WrongUse(f"no table of '{subject.dataset.name}' has rows of two classes")


def _rows(subject: Subject, split: str, name: str) -> Rows:
    data = subject.data(split)
    own = data.subset([i for i, one in enumerate(data.records) if str(one.payload.get(COLUMN, "")) == name])
    return Rows([own.read(i, subject.modality) for i in range(len(own))], own.labels())


def drawn(rows: Rows, count: int, seed: int) -> Rows:
    """At most so many rows, of both classes in their proportion."""
    rng = np.random.default_rng(seed)
    share = min(1.0, count / len(rows.truth))
    members = [rng.permutation(np.flatnonzero(rows.truth == label)) for label in (0, 1)]
    return rows.some(np.sort(np.concatenate([own[: max(1, round(share * len(own)))] for own in members])))


@dataclass(frozen=True)
class Tuned:
    """An encoder with a classifier on it."""

    encoder: nn.Module
    head: nn.Module
    reader: Table

    def scores(self, rows: Rows) -> np.ndarray:
        """How much speaks for the second class [N]."""
        return self.of(tensors(self.reader, rows.values))

    @torch.inference_mode()
    def of(self, inputs: Inputs) -> np.ndarray:
        """The same, of encoder inputs."""
        logits = self.head(self.encoder(inputs).embedding)  # [N, 2]
        found: np.ndarray = (logits[:, 1] - logits[:, 0]).numpy()
        return found


def fine_tune(subject: Subject, few: Rows, val: Rows, *, epochs: int) -> Tuned:
    """The encoder and a layer norm with a linear layer, trained together; the best of all epochs on validation."""
    assert subject.encoder is not None
    with threadpool_limits(1):  # products this small lose more to waiting threads than they gain
        tried = [_tuned(subject, subject.encoder, few, val, epochs, rate) for rate in RATES]
    return max(tried, key=lambda pair: pair[0])[1]


def _tuned(subject: Subject, encoder: Encoder, few: Rows, val: Rows, epochs: int, rate: float) -> tuple[float, Tuned]:
    torch.manual_seed(subject.run.seed)
    reader = subject.modality
    assert isinstance(reader, Table)
    own = deepcopy(encoder)
    tuned = Tuned(own, nn.Sequential(nn.LayerNorm(encoder.dim), nn.Linear(encoder.dim, 2)), reader)
    seen, held_out, truth = tensors(reader, few.values), tensors(reader, val.values), torch.from_numpy(few.truth)
    weights = [*tuned.encoder.parameters(), *tuned.head.parameters()]
    optimizer = torch.optim.Adam(weights, rate)
    best, kept = -1.0, tuned
    for _ in range(epochs):
        own.train()
        for chosen in torch.randperm(len(truth)).split(BATCH):
            logits = tuned.head(own({name: values[chosen] for name, values in seen.items()}).embedding)
            optimizer.zero_grad()
            F.cross_entropy(logits, truth[chosen]).backward()
            optimizer.step()
        own.eval()
        if (now := auc(val.truth, tuned.of(held_out))) > best:
            best, kept = now, deepcopy(tuned)
    return best, kept


def tensors(reader: Table, values: Sequence[Row]) -> Inputs:
    """Encoder inputs of rows, also of such as training knows no column of."""
    made = [reader.tokens(row) for row in values]
    longest = max(1, *(len(one["kinds"]) for one in made))
    stacked = {name: np.stack([padded(one[name], longest) for one in made]) for name in made[0]}
    return {name: torch.from_numpy(values) for name, values in stacked.items()}


def dull(few: Rows, test: Rows) -> dict[str, np.ndarray]:
    """What boosted trees and logistic regression make of the same rows: their scores of the test rows [N]."""
    numeric = {name for row in few.values for name, cell in row.items() if isinstance(cell, float)}
    columns = DictVectorizer(sparse=False).fit([_plain(row, numeric) for row in few.values])
    seen, asked = (columns.transform([_plain(row, numeric) for row in rows.values]) for rows in (few, test))
    ways = {
        "boosting_": HistGradientBoostingClassifier(random_state=0),
        "logistic_": make_pipeline(
            SimpleImputer(keep_empty_features=True), StandardScaler(), LogisticRegression(max_iter=1000)
        ),
    }
    with threadpool_limits(1):
        return {way: model.fit(seen, few.truth).predict_proba(asked)[:, 1] for way, model in ways.items()}


def _plain(row: Row, numeric: set[str]) -> Mapping[str, float | str | bool]:
    """Numbers as they are, NaN where they are missing; of texts one column for each."""
    numbers = {name: float(cell) if isinstance(cell := row.get(name), float | bool) else np.nan for name in numeric}
    return numbers | {name: cell for name, cell in row.items() if isinstance(cell, str | bool) and name not in numeric}


def auc(truth: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve; 1/2 where there is one class alone."""
    return float(roc_auc_score(truth, scores)) if 0 < truth.mean() < 1 else 0.5
