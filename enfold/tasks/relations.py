"""relations: how far the atoms of a molecule are expected to lie from each other in space, told from its bonds alone.

In ångström, as in the computed conformers that the model was fitted to. Where an item has places itself, they are not
looked at. Of a molecule that is larger than the encoder takes, the answer is for its first piece.
"""
# n atoms of an answer, N of a batch, M at most

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, Field

from enfold.errors import BadItem
from enfold.modalities import Arrays, Sample, Spec
from enfold.modalities.molecule import symbol
from enfold.tasks import Graphs, Prepared, Task


class RelationsSpec(Spec):
    graph: str  # inputs of the molecule entry [B, N, …] -> out_relations [B, N, N], ångström, symmetric


class RelationsOptions(BaseModel, extra="forbid"):
    pass


class RelationsAnswer(BaseModel):
    atoms: list[str] = Field(
        description="heavy atoms in the order of the item: element, and number among all atoms as they were written"
    )
    distances: list[list[float]] = Field(description="[n, n] of each atom from each, in ångström")


class Relations(Task[RelationsAnswer]):
    name = "relations"
    Spec, Options, Answer = RelationsSpec, RelationsOptions, RelationsAnswer
    encodes, modality = False, "molecule"

    def run(self, graphs: Graphs, prepared: Prepared, options: RelationsOptions) -> list[RelationsAnswer]:
        return [self._answer(graphs, sample) for [sample, *_] in prepared.samples]

    def measure(self, answers: Sequence[RelationsAnswer], truth: Sequence[np.ndarray]) -> dict[str, float]:
        """Mean absolute error in ångström over pairs of atoms, mean over molecules that have two or more.

        truth   distances [n, n] of each molecule, atoms in the order of its answer
        """
        return {"mae": mean_error([np.array(answer.distances) for answer in answers], truth)}

    def _answer(self, graphs: Graphs, sample: Sample) -> RelationsAnswer:
        if not sample.arrays["degrees"].all():
            raise BadItem("distances are told from bonds, which views 3d leave out: leave out views")
        inputs = {name: values[None] for name, values in unplaced(sample.arrays).items()}
        found = graphs(self.spec.graph, inputs)["out_relations"][0].astype(np.float64)
        numbers, elements = sample.origin["numbers"], sample.arrays["atoms"][:, 0]
        order = np.argsort(numbers)
        return RelationsAnswer(
            atoms=[f"{symbol(int(elements[i]))}{numbers[i]}" for i in order],
            distances=found[np.ix_(order, order)].round(4).tolist(),
        )


def unplaced(arrays: Arrays) -> Arrays:
    """The same molecule by its bonds alone."""
    return arrays | {name: np.zeros_like(arrays[name]) for name in ("placed", "places")}


def between(places: np.ndarray) -> np.ndarray:
    """Distances [n, n] of places [n, 3]."""
    found: np.ndarray = np.linalg.norm(places[:, None] - places, axis=2)
    return found


def mean_error(told: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> float:
    """Mean absolute difference over pairs, mean over matrices [n, n] of two or more atoms; 0 where there are none."""
    apart = [np.abs(one - own)[np.triu_indices(len(own), 1)] for one, own in zip(told, truth, strict=True)]
    return float(np.mean([pairs.mean() for pairs in apart if len(pairs)] or [0.0]))
