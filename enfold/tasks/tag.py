"""tag: what each residue of a protein is part of, one label for every one of them, with its probability.

A chain that is longer than the encoder takes is read in windows that overlap; where two of them speak of a residue,
their probabilities are averaged.
"""
# L residues, T = their window's with <cls> and <sep>, C labels

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, Field

from enfold.errors import WrongUse
from enfold.modalities import Sample, Spec
from enfold.tasks import Graphs, Prepared, Task, softmax


class TagSpec(Spec):
    graph: str  # input_ids, attention_mask [B, T] -> out_tag [B, T, C], logits
    labels: dict[str, str]  # letter -> what it means, in the order of the logits


class TagOptions(BaseModel, extra="forbid"):
    pass


class TagAnswer(BaseModel):
    sequence: str = Field(description="the residues as they were read")
    tags: str = Field(description="the most probable letter of each")
    labels: dict[str, str] = Field(description="what the letters mean")
    probabilities: list[list[float]] = Field(description="of each residue, in the order of the labels")


class Tag(Task[TagAnswer]):
    name = "tag"
    Spec, Options, Answer = TagSpec, TagOptions, TagAnswer
    encodes, modality = False, "protein"

    def parts(self, options: TagOptions) -> bool:
        return True

    def run(self, graphs: Graphs, prepared: Prepared, options: TagOptions) -> list[TagAnswer]:
        return [self._answer(graphs, samples) for samples in prepared.samples]

    def measure(self, answers: Sequence[TagAnswer], truth: Sequence[str]) -> dict[str, float]:
        """accuracy over all residues (of secondary structure Q3), and its mean over chains; f1 of each label.

        truth   the true letters of every chain, of which those that are no label are passed over
        """
        pairs = [(np.array(list(answer.tags)), np.array(list(own))) for answer, own in _paired(answers, truth)]
        known = [np.isin(own, list(self.spec.labels)) for _, own in pairs]
        found = [(tags[these], own[these]) for (tags, own), these in zip(pairs, known, strict=True) if these.any()]
        tags, own = (np.concatenate(column) for column in zip(*found, strict=True))
        f1 = {
            f"f1_{letter}": float(2 * ((tags == letter) & (own == letter)).sum() / max(1, size))
            for letter in self.spec.labels
            for size in [(tags == letter).sum() + (own == letter).sum()]
        }
        by_chain = float(np.mean([(tags == own).mean() for tags, own in found]))
        return {"accuracy": float((tags == own).mean()), "chain_accuracy": by_chain} | f1

    def _answer(self, graphs: Graphs, samples: Sequence[Sample]) -> TagAnswer:
        sequence: str = samples[0].origin["sequence"]
        summed = np.zeros((len(sequence), len(self.spec.labels)))
        for sample in samples:
            inputs = {name: values[None] for name, values in sample.arrays.items()}
            logits = graphs(self.spec.graph, inputs)["out_tag"][0, 1:-1]
            summed[sample.origin["start"] :][: len(logits)] += softmax(logits)
        shares = summed / summed.sum(1, keepdims=True)
        letters = np.array(list(self.spec.labels))
        return TagAnswer(
            sequence=sequence,
            tags="".join(letters[shares.argmax(1)]),
            labels=self.spec.labels,
            probabilities=shares.round(4).tolist(),
        )


def _paired(answers: Sequence[TagAnswer], truth: Sequence[str]) -> list[tuple[TagAnswer, str]]:
    pairs = list(zip(answers, truth, strict=True))
    for answer, own in pairs:
        if len(answer.tags) != len(own):
            raise WrongUse(f"a chain of {len(answer.tags)} residues has {len(own)} true tags: each residue has its own")
    return pairs
