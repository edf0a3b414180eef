"""generate: how a text goes on, token by token.

One graph reads: from an empty cache it reads a prompt, from a full one the next token, or several guessed ones to see
which of them it would have written. A bundle of several sizes can write with any of them, with the shallowest that is
sure enough of a token (`auto`), or with all together (`speculative`: the shallowest guesses, the deepest corrects, and
the text is the deepest's own).
"""
# S new tokens, V vocabulary, L H P d as in a cache

import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from enfold.errors import TooLarge, WrongUse, require
from enfold.modalities import Arrays, Spec
from enfold.resources import resource
from enfold.tasks import Graphs, Prepared, Task, softmax

_DRAFTED = 4  # tokens guessed at once


class GenerateSpec(Spec):
    graph: str  # input_ids [B, S], cache [B, L, 2, H, P, d] -> out_logits [B, S, V], out_cache of P + S
    tokenizer: str  # inside the bundle
    caches: dict[str, tuple[int, ...]]  # size -> shape of an empty cache; of a bundle of one size, its only one
    context: int = Field(ge=2)  # tokens of prompt and answer together
    end: str = "<eos>"
    prompt: str = "{}"
    confidence: float = Field(0.9, gt=0, le=1)  # at which `auto` lets a shallower size write, unless a request says


class GenerateOptions(BaseModel, extra="forbid"):
    max_tokens: int = Field(32, ge=1, le=4096)
    temperature: float = Field(0.0, ge=0, le=10, description="0 takes the most probable token each time")
    top_p: float = Field(1.0, gt=0, le=1, description="of the most probable tokens, those that make up this share")
    seed: int = Field(0, ge=0)
    stop: list[str] = Field([], max_length=8, description="texts before which the answer ends")
    depth: Literal["size", "auto", "speculative"] = Field("size", description="which of a bundle's sizes write")
    confidence: float | None = Field(
        None, gt=0, le=1, description="auto: the probability at which a shallower size may write; else the bundle's own"
    )
    budget_ms: float | None = Field(None, gt=0, description="milliseconds after which no further token is begun")


class Piece(BaseModel):
    text: str


class GenerateAnswer(BaseModel):
    text: str
    tokens: int
    finish: Literal["end", "stop", "length", "budget"]
    sizes: list[str] = Field(description="which size wrote each token")
    proposed: int = Field(0, description="speculative: tokens that the shallowest guessed")
    accepted: int = Field(0, description="speculative: of these, as the deepest would have written them")


class Generate(Task[GenerateAnswer]):
    name = "generate"
    Spec, Options, Answer = GenerateSpec, GenerateOptions, GenerateAnswer
    encodes, modality = False, "text"

    def parts(self, options: GenerateOptions) -> bool:
        return True  # so that a prompt that is too long shows as several

    def run(self, graphs: Graphs, prepared: Prepared, options: GenerateOptions) -> list[GenerateAnswer]:
        answers = []
        for samples in prepared.samples:
            *_, whole = self.stream(graphs, Prepared([samples], {}), options)
            assert isinstance(whole, GenerateAnswer)
            answers.append(whole)
        return answers

    def stream(self, graphs: Graphs, prepared: Prepared, options: GenerateOptions) -> Iterator[BaseModel]:
        """`Piece`s of text, then the `GenerateAnswer`."""
        [samples] = prepared.samples
        prompt = [int(id) for id in samples[0].arrays["input_ids"]]
        if len(samples) > 1 or len(prompt) >= self.spec.context:
            most = self.spec.context - 1
            raise TooLarge(f"the prompt has more than {most} tokens, all that leave room for an answer: shorten it")
        room, started = min(options.max_tokens, self.spec.context - len(prompt)), time.monotonic()
        written, sizes, sent, finish = list[int](), list[str](), 0, "length"
        writer = self._writer(graphs, prompt, options)
        longest = max(map(len, options.stop), default=0)
        for token, size in writer:
            if token == self._end:
                finish = "end"
                break
            written.append(token)
            sizes.append(size)
            text = self._text(written)
            if found := [text.index(stop) for stop in options.stop if stop in text]:
                finish, text = "stop", text[: min(found)]
                break
            ready = len(text) - max(0, longest - 1)  # what might yet become a stop waits
            if ready > sent and not text.endswith("\ufffd"):  # nor half a character
                yield Piece(text=text[sent:ready])
                sent = ready
            if len(written) == room:
                break
            if options.budget_ms is not None and (time.monotonic() - started) * 1000 > options.budget_ms:
                finish = "budget"
                break
        if finish != "stop":
            text = self._text(written)
        if text[sent:]:
            yield Piece(text=text[sent:])
        counts = {"proposed": writer.proposed, "accepted": writer.accepted}
        yield GenerateAnswer(text=text, tokens=len(written), finish=finish, sizes=sizes, **counts)

    def measure(self, answers: Sequence[GenerateAnswer], truth: Sequence[str]) -> dict[str, float]:
        """The F1 of the longest common run of words, in order (ROUGE-L, Lin 2004), and how many are exactly right."""
        pairs = [(answer.text.split(), actual.split()) for answer, actual in zip(answers, truth, strict=True)]
        return {
            "rouge_l": float(np.mean([_rouge_l(*pair) for pair in pairs])),
            "exact": float(np.mean([have == want for have, want in pairs])),
        }

    def _writer(self, graphs: Graphs, prompt: list[int], options: GenerateOptions) -> "Writer":
        own = self.size or next(iter(self.spec.caches))
        if options.depth == "size":
            return Writer(self, graphs, prompt, options, (own,))
        if self.size is None:
            raise WrongUse(f"option 'depth' is '{options.depth}', but this bundle has one size only: leave it out")
        if options.depth == "speculative" and options.temperature:
            raise WrongUse("option 'depth' is 'speculative', which writes the most probable text: set temperature to 0")
        return Writer(self, graphs, prompt, options, tuple(self.spec.caches))

    def reader(self, graphs: Graphs, size: str) -> "Reader":
        graph = self.spec.graph if self.size is None else f"{self.spec.graph}.{size}"
        return Reader(graphs, graph, self.spec.caches[size])

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizers = require("tokenizers", "text", "writing text")
        with resource(self.folder, self.spec.tokenizer) as file:
            return tokenizers.Tokenizer.from_file(str(file))

    @cached_property
    def _end(self) -> int | None:
        found: int | None = self._tokenizer.token_to_id(self.spec.end)
        return found

    def _text(self, ids: list[int]) -> str:
        found: str = self._tokenizer.decode(ids)
        return found


class Reader:
    """One size with its cache: reads what it has not seen yet of a text that grows."""

    def __init__(self, graphs: Graphs, graph: str, empty: tuple[int, ...]):
        self._graphs, self._graph = graphs, graph
        self._cache, self._seen = np.zeros((1, *empty), np.float32), 0

    def read(self, ids: list[int]) -> np.ndarray:
        """Logits after each of the tokens that are new to it, [S, V]."""
        inputs: Arrays = {"input_ids": np.array([ids[self._seen :]], np.int64), "cache": self._cache}
        outputs = self._graphs(self._graph, inputs)
        self._cache, self._seen = outputs["out_cache"], len(ids)
        logits: np.ndarray = outputs["out_logits"][0]
        return logits

    def forget(self, count: int) -> None:
        """All but the first `count` tokens."""
        if count < self._seen:
            self._cache, self._seen = np.ascontiguousarray(self._cache[..., :count, :]), count


class Writer:
    """Endless (token, size that wrote it), by one size or several."""

    def __init__(
        self, task: Generate, graphs: Graphs, prompt: list[int], options: GenerateOptions, sizes: tuple[str, ...]
    ):
        """sizes   shallowest first"""
        self._ids, self._options, self._sizes = list(prompt), options, sizes
        self._confidence = task.spec.confidence if options.confidence is None else options.confidence
        self._readers = {size: task.reader(graphs, size) for size in sizes}
        self._rng = np.random.default_rng(options.seed)
        self.proposed = self.accepted = 0

    def __iter__(self) -> Iterator[tuple[int, str]]:
        while True:
            found = self._guessed() if self._options.depth == "speculative" else [self._sure()]
            for token, size in found:
                self._ids.append(token)
                yield token, size

    def _sure(self) -> tuple[int, str]:
        """The next token by the shallowest size that is sure enough of it; the deepest may always write.

        A deeper one catches up with all the tokens it has missed at once, so what it reads is exact.
        """
        for size in self._sizes:
            logits = self._readers[size].read(self._ids)[-1]
            if size == self._sizes[-1] or softmax(logits).max() >= self._confidence:
                break
        return self._drawn(logits), size

    def _guessed(self) -> list[tuple[int, str]]:
        """Tokens that the shallowest guessed as the deepest would have written them, and one more by that.

        Leviathan et al. 2023, arXiv:2211.17192, without chance: the text is the deepest's own.
        """
        first, last = self._sizes[0], self._sizes[-1]
        known, guesses = len(self._ids), list[int]()
        for _ in range(_DRAFTED):
            guesses.append(int(self._readers[first].read(self._ids + guesses)[-1].argmax()))
        # After each known token that is new to it and after each guess, what the deepest would write.
        wanted = self._readers[last].read(self._ids + guesses)[-len(guesses) - 1 :].argmax(1)
        right = next((at for at, guess in enumerate(guesses) if guess != wanted[at]), len(guesses))
        self.proposed, self.accepted = self.proposed + len(guesses), self.accepted + right
        for reader in self._readers.values():
            reader.forget(known + right)
        return [*((guess, first) for guess in guesses[:right]), (int(wanted[right]), last)]

    def _drawn(self, logits: np.ndarray) -> int:
        options = self._options
        if not options.temperature:
            return int(logits.argmax())
        chances = softmax(logits / options.temperature)
        order = np.argsort(-chances, kind="stable")
        kept = order[: int(np.searchsorted(np.cumsum(chances[order]), options.top_p)) + 1]
        return int(self._rng.choice(kept, p=chances[kept] / chances[kept].sum()))


def _rouge_l(have: list[str], want: list[str]) -> float:
    """F1 of the longest common subsequence of two lists of words."""
    row = [0] * (len(want) + 1)
    for word in have:
        before = 0
        for at, other in enumerate(want, 1):
            before, row[at] = row[at], before + 1 if word == other else max(row[at], row[at - 1])
    return 2 * row[-1] / max(1, len(have) + len(want))
