"""Structural objectives: find or restore swapped tokens instead of masked ones; tell which texts belong together.

Di Liello, "Structural Self-Supervised Objectives for Transformers", PhD thesis, University of Trento 2023,
arXiv:2309.08272; pairs of sentences and paragraphs: Di Liello et al. 2022, arXiv:2205.10455.
Our reading where the paper is silent: swaps come from the vocabulary without its special tokens; a step takes one of
the structures, as likely as another, and of its pairs a third each is positive, hard and easy; the clusters of C-RTS
are of the encoder's own word embeddings, so that it goes on from a training that has made some.
"""
# B texts, T tokens, S tokens of a piece, R pairs' room, D features, V vocabulary

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities import Arrays, Modality
from enfold.modalities.text import Text, TextPreprocess
from training.blocks.pairs import NOTHING, frame, joined, piece
from training.blocks.token_swaps import ClusterSwaps, any_word, drawn, masked
from training.blocks.word_head import WordHead
from training.encoders import Encoder, Inputs
from training.encoders.bert import Bert
from training.heads import Head
from training.heads.pairs import Pairs, PairsConfig
from training.heads.swaps import Swaps, SwapsConfig
from training.methods import Batch, Item, Losses, Method
from training.views.text import paragraphs, sentences

Structure = Literal["ssp", "sp", "psd"]
_CHARACTERS = 8  # of a token, at most in the mean: a piece of so many fills a window
_MASKS = ("<mask>", "[MASK]")
_POSITIVE, _HARD = 0, 1  # of the kinds of a pair; the third is easy


class StructuralConfig(BaseModel, frozen=True, extra="forbid"):
    # rts: which tokens were swapped; crts: for likely ones; slm: what swapped ones were; mlm: what masked ones were
    # (the baseline).
    tokens: Literal["rts", "crts", "slm", "mlm"] = "rts"
    # Beside it, of two texts: sentences of one paragraph (ssp)? a sentence of this paragraph (sp)? paragraphs of one
    # document (psd)?
    structures: tuple[Structure, ...] = ()
    share: float = Field(0.15, gt=0, lt=1)  # of tokens that are swapped or masked
    clusters: int = Field(100, ge=2)  # of crts
    beta: float = Field(2.0, ge=0)  # of crts: 0 takes no notice of what was missed
    everywhere: bool = False  # mlm looks up every token's logits, as the library does; the loss is the same


class Structural(Method):
    Config = StructuralConfig
    config: StructuralConfig
    encoder: Bert
    preprocess: TextPreprocess
    takes_sides = True
    fresh = ("structure.", "swaps.")
    special: Tensor
    words: Tensor

    def __init__(
        self,
        encoder: Encoder,
        config: StructuralConfig,
        preprocess: TextPreprocess,
        sides: Mapping[str, Modality[Any]],
    ):
        super().__init__(encoder, config, preprocess)
        if not isinstance(encoder, Bert):
            raise WrongUse("method 'structural_ssl' reads texts both ways: it needs encoder 'bert'")
        if (most := preprocess.max_tokens) > encoder.config.positions:
            raise WrongUse(f"preprocess.max_tokens is {most}, but the encoder has {encoder.config.positions} positions")
        reader = next((reader for reader in sides.values() if isinstance(reader, Text)), None)
        if reader is None:
            raise WrongUse("method 'structural_ssl' reads with a text column's tokenizer: name one in [sides.question]")
        self._reader, self._room = reader, preprocess.max_tokens - 3
        special = torch.tensor(sorted(reader.special))
        every = torch.arange(encoder.vocabulary)
        self.register_buffer("special", special, persistent=False)
        self.register_buffer("words", every[~torch.isin(every, special)], persistent=False)
        if config.tokens in ("rts", "crts"):
            self.detector = Swaps(encoder, SwapsConfig(max_tokens=preprocess.max_tokens, prefix=preprocess.prefix))
        else:
            self.word_head = WordHead(encoder.dim, encoder.vocabulary)
        if config.tokens == "mlm":
            self._mask = _mask_of(reader)
        if config.tokens == "crts":
            self.swaps = ClusterSwaps(self.words, config.clusters, config.beta, encoder.vocabulary)
            self.swaps.group(self.embeddings[self.words])
        if config.structures:
            self._begin, self._end = frame(reader)
            self.structure = Pairs(encoder, PairsConfig(max_tokens=preprocess.max_tokens))
        self._judged: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def embeddings(self) -> Tensor:
        """Of every token, before any block [V, D]."""
        found: Tensor = self.encoder.net.embeddings.word_embeddings.weight
        return found

    @property
    def task_head(self) -> Head:  # type: ignore[override]
        """What a server can ask: who belongs together, or else which tokens were swapped; masks leave no answer."""
        found: Head = self.structure if self.config.structures else self.detector
        return found

    def carry(self, state: dict[str, Tensor]) -> None:
        super().carry(state)
        if self.config.tokens == "crts":
            self.swaps.group(self.embeddings[self.words])

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """input_ids, attention_mask [T] of a window; or of each structure first, second and hard [R].

        `second` belongs to `first`; `hard` is of the same document and does not, NOTHING where there is none.
        """
        if not self.config.structures:
            return self._window(item.value, rng)
        found: Arrays = {}
        for name in self.config.structures:
            made = PAIRS[name]([sentences(one) for one in paragraphs(item.value)], rng)
            # A document without such a pair is read alone.
            texts = made or (item.value[: _CHARACTERS * self.preprocess.max_tokens], "", "")
            pieces = (piece(self._reader, text, self._room) for text in texts)
            found |= {f"{name}_{part}": own for part, own in zip(("first", "second", "hard"), pieces, strict=True)}
        return found

    def forward(self, batch: Batch) -> Losses:
        inputs, related = self.inputs(batch)
        ids = inputs["input_ids"]
        real = inputs["attention_mask"].bool() & ~torch.isin(ids, self.special)  # [B, T]
        at = drawn(real, self.config.share)
        seen = self.corrupted(ids, at)
        tokens = self.encoder(inputs | {"input_ids": seen}).tokens
        losses = {"tokens": self._token_loss(tokens, ids, seen, at, real)}
        if related is not None:
            losses["structure"] = _mean(
                F.cross_entropy(self.structure(tokens), related, reduction="none"), related >= 0
            )
        drawn_again = (seen == ids)[at].float().mean()  # of swaps; masks leave a tenth as they are
        return {"loss": torch.stack(list(losses.values())).sum(), "drawn_again": drawn_again} | losses

    def inputs(self, batch: Batch) -> tuple[Inputs, Tensor | None]:
        """The texts of a batch; of pairs whether they belong together too: 1, 0, or -100 where nothing is known."""
        if not self.config.structures:
            longest = int(batch["attention_mask"].sum(1).max())
            return {name: values[:, :longest] for name, values in batch.items()}, None
        name = self.config.structures[int(torch.randint(len(self.config.structures), ()))]
        first, second, hard = (batch[f"{name}_{part}"] for part in ("first", "second", "hard"))
        kind = torch.randint(3, (len(first), 1), device=first.device)
        # Any other document's is an easy negative, and stands in where the document has no hard one.
        other = torch.where((kind == _HARD) & (hard != NOTHING).any(1, keepdim=True), hard, second.roll(1, 0))
        beside = torch.where(kind == _POSITIVE, second, other)
        known = (second != NOTHING).any(1) & (beside != NOTHING).any(1)
        pairs = joined(first, beside, begin=self._begin, end=self._end, most=self.preprocess.max_tokens)
        return pairs, torch.where(known, (kind[:, 0] == _POSITIVE).long(), -100)

    def corrupted(self, ids: Tensor, at: Tensor) -> Tensor:
        """Token numbers [B, T] with others at the places `at` [B, T]."""
        if self.config.tokens == "mlm":
            return masked(ids, at, self._mask, self.words)
        words = self.swaps(ids) if self.config.tokens == "crts" else any_word(ids, self.words)
        return torch.where(at, words, ids)

    def after_step(self, progress: float) -> None:
        if self._judged is not None:
            self.swaps.learn(*self._judged)
            self._judged = None

    def _token_loss(self, tokens: Tensor, ids: Tensor, seen: Tensor, at: Tensor, real: Tensor) -> Tensor:
        if self.config.tokens in ("rts", "crts"):
            logits = self.detector(tokens)  # [B, T, 2]
            if self.config.tokens == "crts":
                self._judged = ids[at], seen[at], logits.detach()[at].argmax(1) == 0
            return _mean(F.cross_entropy(logits.transpose(1, 2), at.long(), reduction="none"), real)
        if self.config.everywhere:
            logits = self.word_head(tokens, self.embeddings)  # [B, T, V]
            return _mean(F.cross_entropy(logits.transpose(1, 2), ids, reduction="none"), at)
        found = F.cross_entropy(self.word_head(tokens[at], self.embeddings), ids[at], reduction="sum")
        return found / at.sum().clamp(min=1)

    def _window(self, text: str, rng: np.random.Generator) -> Arrays:
        """From the beginning of any sentence on."""
        starts = [one for paragraph in paragraphs(text) for one in sentences(paragraph)]
        start = text.find(starts[int(rng.integers(len(starts)))])
        own = self._reader.prepare(text[start : start + _CHARACTERS * self.preprocess.max_tokens])[0].arrays
        return {name: np.pad(values, (0, self.preprocess.max_tokens - len(values))) for name, values in own.items()}


Pair = tuple[str, str, str]  # first, second, hard


def same_paragraph(document: list[list[str]], rng: np.random.Generator) -> Pair | None:
    """Two sentences of one paragraph in any order, and one of another."""
    if (at := _of_several(document, rng)) is None:
        return None
    first, second = rng.permutation(len(document[at]))[:2]
    others = [one for place, own in enumerate(document) if place != at for one in own]
    return document[at][first], document[at][second], _any(others, rng)


def of_paragraph(document: list[list[str]], rng: np.random.Generator) -> Pair | None:
    """A sentence, its paragraph without it, and another paragraph."""
    if (at := _of_several(document, rng)) is None:
        return None
    sentence = _any(document[at], rng)
    rest = " ".join(one for one in document[at] if one != sentence)
    others = [" ".join(own) for place, own in enumerate(document) if place != at]
    return sentence, rest, _any(others, rng)


def same_document(document: list[list[str]], rng: np.random.Generator) -> Pair | None:
    """Two paragraphs in any order; all negatives are easy."""
    if len(document) < 2:
        return None
    first, second = (" ".join(document[place]) for place in rng.permutation(len(document))[:2])
    return first, second, ""


PAIRS = {"ssp": same_paragraph, "sp": of_paragraph, "psd": same_document}


def _of_several(document: list[list[str]], rng: np.random.Generator) -> int | None:
    """A paragraph of two different sentences or more."""
    fit = [place for place, own in enumerate(document) if len(set(own)) > 1]
    return fit[int(rng.integers(len(fit)))] if fit else None


def _any(texts: list[str], rng: np.random.Generator) -> str:
    return texts[int(rng.integers(len(texts)))] if texts else ""


def _mean(losses: Tensor, over: Tensor) -> Tensor:
    return (losses * over).sum() / over.sum().clamp(min=1)


def _mask_of(reader: Text) -> int:
    found = next((id for id in map(reader.token_id, _MASKS) if id is not None), None)
    if found is None:
        raise WrongUse(
            f"objective 'mlm' hides tokens behind {' or '.join(_MASKS)}: let the recipe say tokenizer.pairs = true"
        )
    return found


METHOD = Structural
