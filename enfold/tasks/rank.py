"""rank: how relevant texts are to a query.

By "cosine" the bundle's text encoder embeds query and texts, and their angle says it: as good as the encoder, and texts
may be embedded beforehand. By "pairs" a graph reads query and text together (a cross-encoder; Nogueira and Cho 2019,
arXiv:1901.04085): slower and better.
"""
# B texts, T tokens of a pair

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from enfold.errors import require
from enfold.modalities import Arrays, Spec
from enfold.modalities.text import TOKENIZER, Text, TextPreprocess
from enfold.resources import resource
from enfold.tasks import Graphs, Prepared, Task

_BATCH = 16  # pairs, of similar length


class RankSpec(Spec):
    by: Literal["cosine", "pairs"]
    # cosine: the text entry's encode graph, input_ids, attention_mask [B, T] -> out_embedding [B, D]
    # pairs: input_ids, attention_mask, token_type_ids [B, T] (of which it may leave out the last) -> out_rank [B, 1]
    graph: str
    tokenizer: str = TOKENIZER
    max_tokens: int = Field(256, ge=8)  # of a query, or of a pair; special tokens included
    query_prefix: str = ""  # put before every query, as some encoders were trained ("query: ")


class RankOptions(BaseModel, extra="forbid"):
    query: str = Field(description="what the texts shall be relevant to")


class RankAnswer(BaseModel):
    score: float = Field(description="cosine in [-1, 1], or of pairs the probability of being relevant")


class Rank(Task[RankAnswer]):
    name = "rank"
    Spec, Options, Answer = RankSpec, RankOptions, RankAnswer
    modality = "text"
    trial = {"query": "What is this about?"}

    def __init__(self, spec: RankSpec, folder: Path, size: str | None = None):
        super().__init__(spec, folder, size)
        self.encodes = spec.by == "cosine"

    def run(self, graphs: Graphs, prepared: Prepared, options: RankOptions) -> list[RankAnswer]:
        query = self._text.read(options.query)
        if self.encodes:
            inputs = self._text.collate(self._text.prepare(query))
            scores = cosine(graphs(self.spec.graph, inputs)["out_embedding"][0], prepared.encoded["out_embedding"])
        else:
            scores = self._pairs(graphs, query, [sample.origin["text"] for [sample] in prepared.samples])
        return [RankAnswer(score=float(score)) for score in scores]

    def measure(self, answers: Sequence[RankAnswer], truth: Sequence[float]) -> dict[str, float]:
        """Of one query: the discounted gain of the order found, of the best order's (1: none is better)."""
        gains = np.asarray(truth, float)
        found = gains[np.argsort([-answer.score for answer in answers], kind="stable")]
        discount = 1 / np.log2(np.arange(len(gains)) + 2)
        return {"ndcg": float((found * discount).sum() / max((np.sort(gains)[::-1] * discount).sum(), 1e-12))}

    def _pairs(self, graphs: Graphs, query: str, texts: list[str]) -> np.ndarray:
        """Probabilities [B], longest pairs first so that a batch holds little padding."""
        pairs = self._pair_tokenizer.encode_batch([(self.spec.query_prefix + query, text) for text in texts])
        order = sorted(range(len(pairs)), key=lambda row: -len(pairs[row].ids))
        logits = np.empty(len(pairs))
        for at in range(0, len(order), _BATCH):
            rows = order[at : at + _BATCH]
            logits[rows] = graphs(self.spec.graph, _padded([pairs[row] for row in rows]))["out_rank"].reshape(-1)
        return 1 / (1 + np.exp(-logits))

    @cached_property
    def _text(self) -> Text:
        """Reads queries by the rules of every text."""
        spec = self.spec
        longest = {"max_tokens": spec.max_tokens, "overlap_tokens": 0}
        return Text(TextPreprocess(tokenizer=spec.tokenizer, prefix=spec.query_prefix, **longest), folder=self.folder)

    @cached_property
    def _pair_tokenizer(self) -> Any:
        tokenizers = require("tokenizers", "text", "reading text")
        with resource(self.folder, self.spec.tokenizer) as file:
            tokenizer = tokenizers.Tokenizer.from_file(str(file))
            tokenizer.no_padding()
            tokenizer.enable_truncation(self.spec.max_tokens)
        return tokenizer


def cosine(query: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """[D] x [B, D] -> [B]"""
    lengths = np.linalg.norm(query) * np.linalg.norm(texts, axis=1)
    angles: np.ndarray = texts @ query / np.maximum(lengths, 1e-12)
    return angles


def _padded(pairs: list[Any]) -> Arrays:
    """int64 [B, T], padding masked out."""
    longest = max(len(pair.ids) for pair in pairs)
    found = {
        name: np.zeros((len(pairs), longest), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    for row, pair in enumerate(pairs):
        found["input_ids"][row, : len(pair.ids)] = pair.ids
        found["attention_mask"][row, : len(pair.ids)] = 1
        found["token_type_ids"][row, : len(pair.ids)] = pair.type_ids
    return found
