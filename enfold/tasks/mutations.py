"""mutations: which exchanges of residues a model of masked residues finds likely, best first.

The score of a mutation is its log-odds: how much more likely the new residue is than the one that stands there, in
natural logarithms, where that place alone is masked. Of several at once it is their sum. So Meier et al. 2021,
"Language models enable zero-shot prediction of the effects of mutations on protein function", doi
10.1101/2021.07.09.450648, rank what a protein may bear. In a chain that is longer than the encoder takes, a place is
seen in the window whose ends are farthest from it.
"""
# L residues of a chain, T = their window's with <cls> and <sep>, P places that are masked, V tokens

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pydantic import BaseModel, Field, field_validator

from enfold.errors import BadItem, TooLarge
from enfold.modalities import Sample, Spec
from enfold.modalities.protein import MASK, STANDARD, tokens
from enfold.tasks import Graphs, Prepared, Task

MOST_PLACES = 1024  # of a chain that are masked for one answer, one by one
_BATCH = 16  # copies of a window, each with another place masked
_ONE = re.compile(r"([A-Z*])([0-9]{1,9})([A-Z*])")

Single = tuple[str, int, str]  # residue, place counted from 1, new residue


class MutationsSpec(Spec):
    graph: str  # input_ids, attention_mask [B, T] -> out_mutations [B, T, V], logits of what stands at a place


class MutationsOptions(BaseModel, extra="forbid"):
    mutations: list[str] = Field(
        [],
        max_length=10_000,
        description="such as A42G, places counted from 1, several at once as A42G:L50P; all single ones if there are "
        "none",
    )
    top: int = Field(20, ge=1, le=20 * MOST_PLACES, description="how many of all single ones to name, best first")

    @field_validator("mutations")
    @classmethod
    def _can_be_read(cls, mutations: list[str]) -> list[str]:
        places = {place for name in mutations for _, place, _ in singles(name)}
        if len(places) > MOST_PLACES:
            raise ValueError(f"they are at {len(places):,} places; at most {MOST_PLACES:,} are masked for one answer")
        return mutations


class Mutation(BaseModel):
    mutation: str
    score: float = Field(description="log-odds of the new residues against the old ones, above 0 where likelier")


class MutationsAnswer(BaseModel):
    sequence: str = Field(description="the residues as they were read")
    mutations: list[Mutation] = Field(description="best first")
    places: list[int] = Field(description="P places that were masked, counted from 1")
    residues: str = Field(description="the 20 residues in the order of the scores")
    scores: list[list[float]] = Field(description="[P, 20]: of each residue against the one that stands there")


class Mutations(Task[MutationsAnswer]):
    name = "mutations"
    Spec, Options, Answer = MutationsSpec, MutationsOptions, MutationsAnswer
    encodes, modality = False, "protein"

    def parts(self, options: MutationsOptions) -> bool:
        return True

    def run(self, graphs: Graphs, prepared: Prepared, options: MutationsOptions) -> list[MutationsAnswer]:
        return [self._answer(graphs, samples, options) for samples in prepared.samples]

    def measure(self, answers: Sequence[MutationsAnswer], truth: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """Rank correlation (Spearman's) of scores and measured effects, mean over chains.

        truth   mutation -> effect of each chain, more is better; those that were not answered are passed over
        """
        found = []
        for answer, effects in zip(answers, truth, strict=True):
            known = [(one.score, effects[one.mutation]) for one in answer.mutations if one.mutation in effects]
            scores, measured = np.array(known).reshape(-1, 2).T
            found.append(rank_correlation(scores, measured))
        return {"spearman": float(np.mean(found))}

    def _answer(self, graphs: Graphs, samples: Sequence[Sample], options: MutationsOptions) -> MutationsAnswer:
        sequence: str = samples[0].origin["sequence"]
        asked = {name: singles(name) for name in options.mutations}
        places = sorted(_places(sequence, asked) if asked else _all_places(sequence))
        scores = self._scores(graphs, samples, places)  # [P, 20]
        row = {place: number for number, place in enumerate(places, 1)}
        if asked:
            summed = {
                name: sum(scores[row[place] - 1, STANDARD.index(new)] for _, place, new in own)
                for name, own in asked.items()
            }
        else:
            summed = {
                f"{sequence[place - 1]}{place}{new}": score
                for place, own in zip(places, scores, strict=True)
                for new, score in zip(STANDARD, own, strict=True)
                if new != sequence[place - 1]
            }
        ranked = sorted(summed.items(), key=lambda one: -one[1])
        return MutationsAnswer(
            sequence=sequence,
            mutations=[
                Mutation(mutation=name, score=float(score)) for name, score in ranked[: None if asked else options.top]
            ],
            places=places,
            residues=STANDARD,
            scores=scores.round(4).tolist(),
        )

    def _scores(self, graphs: Graphs, samples: Sequence[Sample], places: Sequence[int]) -> np.ndarray:
        """Log-odds of the standard residues against the one at each place, float64 [P, 20]."""
        sequence = samples[0].origin["sequence"]
        window = np.array([_clearest(samples, place) for place in places], int)
        scores = np.zeros((len(places), len(STANDARD)))
        for number in np.unique(window):
            sample, rows = samples[number], np.flatnonzero(window == number)
            for at in range(0, len(rows), _BATCH):
                some = rows[at : at + _BATCH]
                inputs = {name: np.repeat(values[None], len(some), 0) for name, values in sample.arrays.items()}
                copy, token = np.arange(len(some)), np.array([places[i] for i in some]) - sample.origin["start"]
                inputs["input_ids"][copy, token] = MASK  # <cls> comes first, and places are counted from 1
                logits = graphs(self.spec.graph, inputs)["out_mutations"][copy, token].astype(np.float64)  # [B, V]
                own = tokens("".join(sequence[places[i] - 1] for i in some))
                scores[some] = logits[:, tokens(STANDARD)] - logits[copy, own][:, None]
        return scores


def singles(name: str) -> list[Single]:
    """What "A42G:L50P" is made of. Raises ValueError."""
    found = []
    for one in name.upper().split(":"):
        if not (read := _ONE.fullmatch(one.strip())):
            raise ValueError(
                f"'{name[:40]}' is no mutation: write the residue, its place counted from 1 and the new residue, such "
                "as A42G; several at once as A42G:L50P"
            )
        old, place, new = read.groups()
        if foreign := {old, new} - set(STANDARD):
            raise ValueError(
                f"'{name[:40]}' names '{min(foreign)}', which is none of the 20 residues: {', '.join(STANDARD)}"
            )
        found.append((old, int(place), new))
    if len({place for _, place, _ in found}) < len(found):
        raise ValueError(f"'{name[:40]}' changes a place twice")
    return found


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's, of values [N] and [N]; equal ones share their mean rank. 0 where one of them does not vary."""
    if len(np.unique(one)) < 2 or len(np.unique(other)) < 2:
        return 0.0
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _places(sequence: str, asked: Mapping[str, Iterable[Single]]) -> set[int]:
    """Where mutations are. Raises BadItem for one that is none of this chain."""
    found = set()
    for name, own in asked.items():
        for old, place, _ in own:
            if not 1 <= place <= len(sequence):
                raise BadItem(
                    f"'{name[:40]}': the protein has {len(sequence):,} residues, counted from 1, and no {place}"
                )
            if (real := sequence[place - 1]) != old:
                raise BadItem(f"'{name[:40]}': residue {place} of the protein is {real}, not {old}")
            found.add(place)
    return found


def _all_places(sequence: str) -> list[int]:
    """Of the standard residues, counted from 1. Raises TooLarge."""
    if len(sequence) > MOST_PLACES:
        raise TooLarge(
            f"the protein has {len(sequence):,} residues; at most {MOST_PLACES:,} are masked for one answer: name the "
            "mutations, or send its domains"
        )
    return [place for place, letter in enumerate(sequence, 1) if letter in STANDARD]


def _clearest(samples: Sequence[Sample], place: int) -> int:
    """The number of the window whose nearer end is farthest from a place counted from 1."""
    nearer = []
    for sample in samples:
        inside = place - 1 - sample.origin["start"]
        nearer.append(min(inside, len(sample.arrays["input_ids"]) - 3 - inside))
    return int(np.argmax(nearer))


def _ranks(values: np.ndarray) -> np.ndarray:
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean: np.ndarray = counts.cumsum() - (counts - 1) / 2
    return mean[which]
