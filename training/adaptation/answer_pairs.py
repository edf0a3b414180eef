"""Answer selection: the whole encoder with a fresh head on pairs of question and sentence, by cross-entropy.

Questions are the side `question` of the documents that the stage may see; what is right and wrong is said in
`training.evaluation.answer_selection`. Di Liello et al. 2022, arXiv:2205.10455.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch.nn import functional as F

from enfold.modalities import Arrays, Modality
from enfold.modalities.text import Text, TextPreprocess
from training.artefacts import few_labels, save
from training.blocks.pairs import frame, joined, piece
from training.encoders import Encoder
from training.evaluation import Subject
from training.evaluation.answer_selection import QUESTIONS, SIDE, Question, questions
from training.heads import save_head
from training.heads.pairs import Pairs, PairsConfig
from training.loop import fit
from training.methods import Batch, Item, Losses, Method
from training.recipe import Adapt
from training.run import Run
from training.schedule import train_config


class AnswerPairsConfig(BaseModel, frozen=True, extra="forbid"):
    candidates: int = Field(6, ge=2)  # sentences beside each question
    most: int = Field(2, ge=1)  # of them of its own document


class AnswerPairs(Method):
    """Items are pairs (question, sentence), labelled 1 where the sentence is right."""

    Config = AnswerPairsConfig
    config: AnswerPairsConfig
    takes_sides = True

    def __init__(
        self,
        encoder: Encoder,
        config: AnswerPairsConfig,
        preprocess: TextPreprocess,
        sides: Mapping[str, Modality[Any]],
    ):
        super().__init__(encoder, config, preprocess)
        reader = sides[SIDE]
        assert isinstance(reader, Text)
        self._reader, self._most = reader, preprocess.max_tokens
        self._begin, self._end = frame(reader)
        self.head = Pairs(encoder, PairsConfig(max_tokens=self._most))

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """first, second: tokens of the two texts; label"""
        first, second = (piece(self._reader, text, self._most - 3) for text in item.value)
        return {"first": first, "second": second, "label": np.array(item.label)}

    def forward(self, batch: Batch) -> Losses:
        inputs = joined(batch["first"], batch["second"], begin=self._begin, end=self._end, most=self._most)
        return {"loss": F.cross_entropy(self.head(self.encoder(inputs).tokens), batch["label"])}


def adapt(stage: Adapt, run: Run, subject: Subject) -> dict[str, Any]:
    assert subject.encoder is not None
    tuner = AnswerPairs.build(subject.encoder, stage.config, run.modality.preprocess, run.sides)
    data = few_labels(subject.data("train"), stage.labels, run.seed)
    asked = questions(data, run, candidates=tuner.config.candidates, most=tuner.config.most, seed=run.seed)
    folder, settings = run.folder(stage.name), train_config(stage.train)
    trained = fit(tuner, pairs(asked), settings, folder, seed=run.seed, probe=None, threads=run.threads)
    save(tuner.encoder, run, stage)
    save_head(folder, tuner.head)
    known = questions(subject.data("val"), run, candidates=tuner.config.candidates, most=tuner.config.most, seed=0)
    return trained | {"labels": len(data), "val_accuracy": accuracy(tuner, pairs(known[:QUESTIONS]))}


def pairs(asked: list[Question]) -> list[Item]:
    every = [(one.text, text, right) for one in asked for text, right in zip(one.sentences, one.right, strict=True)]
    return [Item((question, text), int(right), i) for i, (question, text, right) in enumerate(every)]


@torch.inference_mode()
def accuracy(tuner: AnswerPairs, items: list[Item]) -> float:
    """Share of pairs that the head tells right."""
    tuner.eval()
    right = 0
    for at in range(0, len(items), 64):
        made = [tuner.example(item, np.random.default_rng(0)) for item in items[at : at + 64]]
        first, second, label = (torch.from_numpy(np.stack([one[name] for one in made])) for name in made[0])
        inputs = joined(first, second, begin=tuner._begin, end=tuner._end, most=tuner._most)
        right += int((tuner.head(tuner.encoder(inputs).tokens).argmax(1) == label).sum())
    return right / len(items)
