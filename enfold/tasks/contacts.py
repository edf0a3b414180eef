"""contacts: which residues of a protein touch each other when it is folded, as a symmetric map of probabilities.

Residues touch whose C-beta atoms lie nearer than 8 ångström; those nearer than six places along the chain always may,
and are left out. Rao et al. 2019 (TAPE), arXiv:1906.08230. A chain that is longer than the encoder takes is answered
for its beginning.
"""
# L residues, T = L + 2 tokens

import json
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, Field

from enfold.modalities import Sample, Spec
from enfold.tasks import Graphs, Prepared, Task

APART, FURTHER = 6, 12  # places along the chain


class ContactsSpec(Spec):
    graph: str  # input_ids, attention_mask [B, T] -> out_contacts [B, T, T], logits, symmetric


class ContactsOptions(BaseModel, extra="forbid"):
    top: int = Field(20, ge=0, le=1000, description="how many pairs to name, most probable first")


class Pair(BaseModel):
    first: int = Field(description="place in the sequence, counted from 1")
    second: int
    probability: float


class ContactsAnswer(BaseModel):
    sequence: str = Field(description="the residues that are answered for")
    pairs: list[Pair]
    contacts: list[list[float]] = Field(description="[L, L]; 0 nearer than six places along the chain")


class Contacts(Task[ContactsAnswer]):
    name = "contacts"
    Spec, Options, Answer = ContactsSpec, ContactsOptions, ContactsAnswer
    encodes, modality = False, "protein"

    def run(self, graphs: Graphs, prepared: Prepared, options: ContactsOptions) -> list[ContactsAnswer]:
        return [self._answer(graphs, sample, options.top) for [sample, *_] in prepared.samples]

    def measure(self, answers: Sequence[ContactsAnswer], truth: Sequence[str]) -> dict[str, float]:
        """How many of the L / 5 most probable pairs touch, mean over chains: six and twelve places apart or more.

        truth   of every chain a JSON list of the pairs that touch, counted from 0
        """
        found: dict[int, list[float]] = {APART: [], FURTHER: []}
        for answer, told in zip(answers, truth, strict=True):
            chances = np.array(answer.contacts)
            real = touching(json.loads(told), len(chances))
            for apart, shares in found.items():
                shares.append(precision(chances, real, apart))
        return {"precision": float(np.mean(found[APART])), "far_precision": float(np.mean(found[FURTHER]))}

    def _answer(self, graphs: Graphs, sample: Sample, top: int) -> ContactsAnswer:
        inputs = {name: values[None] for name, values in sample.arrays.items()}
        logits = graphs(self.spec.graph, inputs)["out_contacts"][0, 1:-1, 1:-1].astype(np.float64)
        chances = 1 / (1 + np.exp(-logits))
        chances = np.where(places_apart(len(chances)) >= APART, chances, 0)
        first, second = ranked(chances, APART)
        return ContactsAnswer(
            sequence=sample.origin["sequence"][: len(chances)],
            pairs=[
                Pair(first=i + 1, second=j + 1, probability=float(chances[i, j]))
                for i, j in zip(first[:top].tolist(), second[:top].tolist(), strict=True)
            ],
            contacts=chances.round(4).tolist(),
        )


def places_apart(length: int) -> np.ndarray:
    """|i - j|, [L, L]"""
    place = np.arange(length)
    return np.abs(place[:, None] - place)


def ranked(chances: np.ndarray, apart: int) -> tuple[np.ndarray, np.ndarray]:
    """Each pair of residues so far apart once, by chances [L, L], most probable first."""
    first, second = np.triu_indices(len(chances), apart)
    order = np.argsort(-chances[first, second], kind="stable")
    return first[order], second[order]


def precision(chances: np.ndarray, real: np.ndarray, apart: int) -> float:
    """Share of the L / 5 most probable pairs, so far apart, that touch; of a chain with none to ask about 0."""
    count = max(1, len(chances) // 5)
    first, second = ranked(chances, apart)
    return float(real[first[:count], second[:count]].mean()) if len(first) else 0.0


def touching(pairs: Sequence[Sequence[int]], length: int) -> np.ndarray:
    """bool [L, L], symmetric, of pairs counted from 0; those beyond the length are passed over."""
    real = np.zeros((length, length), bool)
    for i, j in pairs:
        if max(i, j) < length:
            real[i, j] = real[j, i] = True
    return real
