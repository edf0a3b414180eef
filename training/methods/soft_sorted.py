"""SoFT: one language model tuned so that several prefixes of its blocks are complete models.

Kavehzadeh et al., "Sorted LLaMA: Unlocking the Potential of Intermediate Layers of Large Language Models for Dynamic
Inference Using Sorted Fine-Tuning (SoFT)", EACL 2024 Findings, arXiv:2309.08968.
Our reading where the paper is silent: the losses of the exits are averaged. With the whole depth as the only exit this
is plain language modelling or plain fine-tuning: what it starts from, and its baseline.
"""
# B batch, T tokens, D features, V vocabulary

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from enfold.modalities import Arrays, Modality
from enfold.modalities.text import Text, TextPreprocess
from training.encoders import Encoder
from training.encoders.causal_lm import CausalLM
from training.heads.language import Language, LanguageConfig, least_confidence
from training.methods import Batch, Calibration, Item, Losses, Method
from training.tokenizer import END

_IGNORED = -100  # a target that takes no loss
_HELD_OUT, _BATCH = 500, 50  # items by which confidence is calibrated
_CHARACTERS = 8  # of a token, at most in the mean: a piece of so many fills a window


class SoFTConfig(BaseModel, frozen=True, extra="forbid"):
    exits: tuple[int, ...] = ()  # that are trained; without any, all that the encoder has
    at_once: Literal["all", "one"] = "all"  # one: a single exit, drawn for each step (SortedNet, arXiv:2309.00255)
    instruct: bool = True  # the side `prompt` comes before the text and takes no loss; else windows of plain text
    own_heads: bool = False  # the baseline: on a frozen model every exit learns a norm and a head of its own


class SoFT(Method):
    Config = SoFTConfig
    config: SoFTConfig
    encoder: CausalLM
    task_head: Language
    takes_sides = True
    fresh = ("own.",)

    def __init__(
        self,
        encoder: Encoder,
        config: SoFTConfig,
        preprocess: TextPreprocess,
        sides: Mapping[str, Modality[Any]],
    ):
        super().__init__(encoder, config, preprocess)
        if not isinstance(encoder, CausalLM):
            raise WrongUse("method 'soft_sorted' tunes a stack of causal blocks: it needs encoder 'causal_lm'")
        if not isinstance(reader := sides.get("prompt"), Text):
            raise WrongUse("method 'soft_sorted' reads instructions: let the recipe name a text column [sides.prompt]")
        self.exits = config.exits or encoder.exits
        if unknown := set(self.exits) - set(encoder.exits):
            raise WrongUse(f"soft_sorted: exit {unknown.pop()} is none of the encoder's {encoder.exits}")
        self._reader = reader
        self.task_head = Language(encoder, LanguageConfig(context=preprocess.max_tokens))
        self.own = nn.ModuleDict()
        if config.own_heads:
            encoder.requires_grad_(False)
            self.own.update({str(exit): self._own_head(encoder) for exit in self.exits})

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """input_ids, attention_mask, targets int64 [T]: of each token the next one, or nothing to be learnt."""
        if self.config.instruct:
            return self.sequence(item.side("prompt"), item.value)
        reach = _CHARACTERS * self.preprocess.max_tokens
        start = int(rng.integers(max(1, len(item.value) - reach + 1)))
        piece = self._reader.prepare(item.value[start : start + reach])[0]
        return self._padded(piece.arrays["input_ids"], learnt_from=1)

    def forward(self, batch: Batch) -> Losses:
        encoded = self.encoder(batch)
        exits = self.exits
        if self.config.at_once == "one":
            exits = (exits[int(torch.randint(len(exits), ()))],)
        targets = batch["targets"].flatten()
        losses = {n: F.cross_entropy(self.logits(encoded.features, n).flatten(0, 1), targets) for n in exits}
        return {"loss": torch.stack(list(losses.values())).mean()} | {f"exit{n}": loss for n, loss in losses.items()}

    def logits(self, features: Mapping[str, Tensor], exit: int) -> Tensor:
        """Of the next token after `exit` blocks, [B, T, V]: by the head that all exits share, or by the exit's own."""
        head = self.own[str(exit)] if self.config.own_heads else self.encoder.logits
        logits: Tensor = head(features[f"exit{exit}"])
        return logits

    @torch.inference_mode()
    def calibrated(self, held_out: Sequence[Item]) -> Calibration:
        """How sure a shallower exit must be of a token to write it, on items that were not trained on."""
        exits, count = self.encoder.exits, min(_HELD_OUT, len(held_out))
        if len(exits) == 1 or not count:
            return Calibration()
        made = [self.example(held_out[i], np.random.default_rng(i)) for i in range(count)]
        sure, losses = [], []
        for at in range(0, count, _BATCH):
            batch = default_collate(made[at : at + _BATCH])
            features, real = self.encoder(batch).features, batch["targets"] >= 0
            chances = [self.encoder.logits(features[f"exit{n}"][real]).log_softmax(1) for n in exits]
            sure.append(torch.stack([one.max(1).values.exp() for one in chances]))
            losses.append(torch.stack([F.nll_loss(one, batch["targets"][real], reduction="none") for one in chances]))
        return Calibration({"confidence": least_confidence(torch.cat(sure, 1).numpy(), torch.cat(losses, 1).numpy())})

    def sequence(self, prompt: str, answer: str) -> Arrays:
        """An instruction with its answer, of which alone is learnt."""
        asked = self._reader.prepare(prompt)[0].arrays["input_ids"]
        whole = self._reader.prepare(f"{prompt} {answer}")[0].arrays["input_ids"]
        end = [id for id in (self._reader.token_id(END),) if id is not None]
        return self._padded(np.append(whole, end), learnt_from=len(asked))

    def _padded(self, ids: np.ndarray, learnt_from: int) -> Arrays:
        """learnt_from   place of the first token that is a target"""
        T = self.preprocess.max_tokens
        ids = ids[: T + 1]
        inputs, mask, targets = np.zeros(T, np.int64), np.zeros(T, np.int64), np.full(T, _IGNORED)
        inputs[: len(ids) - 1], mask[: len(ids) - 1] = ids[:-1], 1
        targets[learnt_from - 1 : len(ids) - 1] = ids[learnt_from:]
        return {"input_ids": inputs, "attention_mask": mask, "targets": targets}

    @staticmethod
    def _own_head(encoder: CausalLM) -> nn.Sequential:
        """A norm and a head that begin as the shared ones."""
        head = nn.Linear(encoder.dim, encoder.vocabulary, bias=False)
        head.weight = nn.Parameter(encoder.words.weight.detach().clone())
        return nn.Sequential(nn.RMSNorm(encoder.dim), head)


METHOD = SoFT
