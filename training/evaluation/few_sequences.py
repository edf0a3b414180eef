"""Accuracy from 20 labelled sequences of each class: fine-tuned, frozen, and by regression on runs of residues.

The whole encoder is fine-tuned with a linear layer on its embedding; learning rate and epoch are the best on validation
(Rao et al. 2019, TAPE, arXiv:1906.08230, stop early). Frozen, a logistic regression reads its embeddings. Regression
on runs of one to three residues of the same sequences, which needs no encoder, is the floor.
"""
# N sequences, C classes, T tokens

from copy import deepcopy

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional as F

from enfold.modalities import Arrays
from training.artefacts import few_labels
from training.data.homologs import most_shared
from training.encoders import Encoder, Inputs
from training.evaluation import Subject
from training.evaluation.linear_probe import fit_probe
from training.probes import features

NEEDS_LABELS = True
OF_EACH = 20
MOST = 250  # of validation
RATES, EPOCHS, BATCH = (1e-4, 1e-3), 12, 20


def evaluate(subject: Subject) -> dict[str, float]:
    """accuracy, frozen, ngram; chance: of the most frequent class; shared: most words that test and training share."""
    assert subject.encoder is not None
    few = few_labels(subject.data("train"), OF_EACH, subject.run.seed)
    seen, labels = few.inputs(subject.modality), few.labels()
    test, truth = subject.prepared("test"), subject.labels("test")
    probe = fit_probe(features(subject.encoder, seen), labels, penalty=1.0)
    texts = [few.read(i, subject.modality).sequence for i in range(len(few))]
    asked = [subject.data("test").read(i, subject.modality).sequence for i in range(len(truth))]
    words = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True, lowercase=False)
    with threadpool_limits(1):  # products this small lose more to waiting threads than they gain
        ngram = make_pipeline(words, LogisticRegression(C=10, max_iter=300)).fit(texts, labels)
        found = {
            "accuracy": tuned(subject, subject.encoder, seen, labels).classes(test),
            "frozen": probe.predict(subject.features("test")),
            "ngram": ngram.predict(asked),
        }
    figures = {name: float((classes == truth).mean()) for name, classes in found.items()}
    return figures | {"chance": float(np.bincount(truth).max() / len(truth)), "shared": most_shared(texts, asked)}


class Tuned(nn.Module):
    """An encoder with a linear layer on its embedding."""

    def __init__(self, encoder: nn.Module, dim: int, classes: int):
        super().__init__()
        self.encoder, self.head = encoder, nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, classes))

    def forward(self, inputs: Inputs) -> Tensor:
        """[N, C]"""
        logits: Tensor = self.head(self.encoder(inputs).embedding)
        return logits

    @torch.inference_mode()
    def classes(self, given: Arrays) -> np.ndarray:
        """The most probable one of each [N]."""
        self.eval()
        rows = range(0, len(given["input_ids"]), BATCH)
        return np.concatenate([self(some(given, slice(at, at + BATCH))).argmax(1).numpy() for at in rows])


def tuned(subject: Subject, encoder: Encoder, seen: Arrays, labels: np.ndarray) -> Tuned:
    """The best of all rates and epochs on validation; the given encoder stays as it is."""
    count = min(MOST, len(subject.data("val")))
    chosen = np.random.default_rng(0).permutation(len(subject.data("val")))[:count]
    held_out = {name: values[chosen] for name, values in subject.prepared("val").items()}
    truth = subject.labels("val")[chosen]
    kept = Tuned(encoder, encoder.dim, len(subject.classes))
    best = -1.0
    for rate in RATES:
        torch.manual_seed(subject.run.seed)
        model = Tuned(deepcopy(encoder), encoder.dim, len(subject.classes))
        optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], rate)
        for _ in range(EPOCHS):
            model.train()
            for batch in torch.randperm(len(labels)).split(BATCH):
                optimizer.zero_grad()
                F.cross_entropy(model(some(seen, batch.numpy())), torch.from_numpy(labels)[batch]).backward()
                optimizer.step()
            if (now := float((model.classes(held_out) == truth).mean())) > best:
                best, kept = now, deepcopy(model)
    return kept


def some(given: Arrays, chosen: np.ndarray | slice) -> Inputs:
    """These of the sequences, with no more padding than they need."""
    longest = int(given["attention_mask"][chosen].sum(1).max())
    return {name: torch.from_numpy(values[chosen, :longest]) for name, values in given.items()}
