"""TAPE: a transformer of proteins learns which residues were masked, and is judged by tasks that proteins pose.

Rao, Bhattacharya, Thomas, Duan, Chen, Canny, Abbeel and Song, "Evaluating Protein Transfer Learning with TAPE",
NeurIPS 2019, arXiv:1906.08230. The tasks are evaluations and adaptations of its recipe.
Our reading where the paper is silent: what comes in for a residue is any of the 20 standard ones; the layer that names
residues looks them up among the encoder's own embeddings, as BERT's does.
"""
# B proteins, T tokens, V vocabulary

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities import Arrays
from enfold.modalities.protein import FIRST, MASK, STANDARD, ProteinPreprocess, tokens
from training.blocks.token_swaps import drawn, masked
from training.blocks.word_head import WordHead
from training.encoders import Encoder
from training.encoders.bert import Bert
from training.heads.residues import Residues, ResiduesConfig
from training.methods import Batch, Item, Losses, Method
from training.views.protein import random_window


class TapeConfig(BaseModel, frozen=True, extra="forbid"):
    share: float = Field(0.15, gt=0, lt=1)  # of residues that are chosen; of them 80 % masked, 10 % any, 10 % as is


class Tape(Method):
    Config = TapeConfig
    config: TapeConfig
    encoder: Bert
    standard: Tensor

    def __init__(self, encoder: Encoder, config: TapeConfig, preprocess: ProteinPreprocess):
        super().__init__(encoder, config, preprocess)
        if not isinstance(encoder, Bert):
            raise WrongUse("method 'tape' reads residues both ways: it needs encoder 'bert'")
        if (most := preprocess.max_residues + 2) > encoder.config.positions:
            raise WrongUse(
                f"preprocess.max_residues {preprocess.max_residues} makes {most} tokens, but the encoder has "
                f"{encoder.config.positions} positions"
            )
        self.word_head = WordHead(encoder.dim, encoder.vocabulary)
        self.register_buffer("standard", torch.from_numpy(tokens(STANDARD)), persistent=False)

    @property
    def task_head(self) -> Residues:  # type: ignore[override]
        """What a server can ask: which residue it would put in place of one."""
        return Residues(self.encoder, ResiduesConfig(), self.word_head)

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        return random_window(item.value, rng, self.preprocess)

    def forward(self, batch: Batch) -> Losses:
        longest = int(batch["attention_mask"].sum(1).max())
        ids, mask = batch["input_ids"][:, :longest], batch["attention_mask"][:, :longest]
        at = drawn(ids >= FIRST, self.config.share)  # [B, T]
        logits = self.logits(masked(ids, at, MASK, self.standard), mask, at)
        count = at.sum().clamp(min=1)
        right = (logits.argmax(1) == ids[at]).sum() / count
        return {"loss": F.cross_entropy(logits, ids[at], reduction="sum") / count, "accuracy": right}

    def logits(self, ids: Tensor, mask: Tensor, at: Tensor) -> Tensor:
        """Of every token of the vocabulary, at the places `at` [B, T]: [sum of at, V]."""
        hidden = self.encoder({"input_ids": ids, "attention_mask": mask}).tokens[at]
        found: Tensor = self.word_head(hidden, self.encoder.net.embeddings.word_embeddings.weight)
        return found


METHOD = Tape
