"""swaps: which words of a text look as if another had stood there?

A detector that was trained on texts with words swapped at random says it of every token. Di Liello 2023,
arXiv:2309.08272.
"""
# B texts, T tokens

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from pydantic import BaseModel, Field

from enfold.modalities import Sample, Spec
from enfold.modalities.text import TOKENIZER, Text, TextPreprocess
from enfold.tasks import Graphs, Prepared, Task


class SwapsSpec(Spec):
    graph: str  # input_ids, attention_mask [B, T] -> out_swaps [B, T], logits
    tokenizer: str = TOKENIZER
    max_tokens: int = Field(256, ge=8)
    prefix: str = ""  # as the encoder's texts have it


class SwapsOptions(BaseModel, extra="forbid"):
    least: float = Field(0.0, ge=0, le=1, description="probability from which a token is named")


class Swapped(BaseModel):
    start: int = Field(description="in the text, in characters")
    end: int
    probability: float


class SwapsAnswer(BaseModel):
    tokens: list[Swapped] = Field(description="in the order of the text: its beginning, as far as the encoder takes it")


class Swaps(Task[SwapsAnswer]):
    name = "swaps"
    Spec, Options, Answer = SwapsSpec, SwapsOptions, SwapsAnswer
    encodes, modality = False, "text"

    def run(self, graphs: Graphs, prepared: Prepared, options: SwapsOptions) -> list[SwapsAnswer]:
        return [self._answer(graphs, sample, options.least) for [sample, *_] in prepared.samples]

    def measure(self, answers: Sequence[SwapsAnswer], truth: Sequence[Sequence[int]]) -> dict[str, float]:
        """How many pairs of a swapped and another token are told the right way round; 1/2 by chance.

        truth   of each text 1 for every token that was swapped, else 0
        """
        found = np.array([token.probability for answer in answers for token in answer.tokens])
        real = np.concatenate([np.asarray(one, bool) for one in truth])
        return {"auc": auc(found, real)}

    def _answer(self, graphs: Graphs, sample: Sample, least: float) -> SwapsAnswer:
        places = self._text.places(sample.origin["text"])
        logits = graphs(self.spec.graph, self._text.collate([sample]))["out_swaps"][0].astype(np.float64)
        likely = 1 / (1 + np.exp(-logits))
        return SwapsAnswer(
            tokens=[
                Swapped(start=start, end=end, probability=float(chance))
                for (start, end), chance in zip(places, likely, strict=True)
                if end > start and chance >= least
            ]
        )

    @cached_property
    def _text(self) -> Text:
        """Reads texts as the encoder's own entry does."""
        facts = self.spec.model_dump(exclude={"graph"})
        return Text(TextPreprocess(overlap_tokens=0, **facts), folder=self.folder)


def auc(scores: np.ndarray, real: np.ndarray) -> float:
    """Share of pairs of a real one and another, scores [N], that the real one leads; a tie is half, as is nothing."""
    if real.all() or not real.any():
        return 0.5
    others, of_real = np.sort(scores[~real]), scores[real]
    below = np.searchsorted(others, of_real, "left") + np.searchsorted(others, of_real, "right")
    return float(below.mean() / (2 * len(others)))
