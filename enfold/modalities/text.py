"""text: a string, a UTF-8 file, or a column of a table; long documents as windows.

A decoded text is a str in Unicode NFC. Tokens come from the bundle's own tokenizer.json, so any script the encoder
was trained on works and no other library decides where words end.
"""
# T tokens

import hashlib
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from enfold.archives import Packed
from enfold.errors import BadItem, TooLarge, require
from enfold.modalities import Arrays, Modality, Part, Sample, Spec
from enfold.resources import resource

WORDS = 10_000  # characters of an item's text that are kept beside its vector
TOKENIZER = "resources/tokenizer.json"  # inside a bundle, and inside a run that trained one


class TextPreprocess(Spec):
    """From str to token ids [T], T at most `max_tokens`."""

    tokenizer: str = TOKENIZER
    max_tokens: int = Field(256, ge=8)  # special tokens included
    overlap_tokens: int = Field(32, ge=0)  # shared by neighbouring windows
    prefix: str = ""  # put before every text, as some encoders were trained ("query: ")


class TextLimits(Spec):
    max_bytes: int = 4 * 2**20
    max_characters: int = 200_000


class TextJson(BaseModel, extra="forbid"):
    text: str


class Text(Modality[str]):
    name = "text"
    media_types = {".txt": "text/plain", ".md": "text/markdown"}
    Preprocess, Limits, Json = TextPreprocess, TextLimits, TextJson
    batch_cost, light_bytes, ragged, inline, written = 1024, 4096, True, True, True

    @property
    def input_size(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    def read(self, item: Any) -> str:
        """A str in NFC from a str, UTF-8 bytes or the path of a text file (a Path: a str is the text itself)."""
        if isinstance(item, bytes | Path | Packed):
            try:
                item = self.file_bytes(item).decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise BadItem(f"the text is not UTF-8 (byte {error.start}): convert it first") from None
        if not isinstance(item, str):
            raise BadItem(f"a text is a str, UTF-8 bytes or a path, not {type(item).__name__}")
        if len(item) > self.limits.max_characters:
            most = self.limits.max_characters
            raise TooLarge(f"the text has {len(item):,} characters; at most {most:,}: split it into documents")
        if not item.strip():
            raise BadItem("the text is empty")
        try:
            item.encode()
        except UnicodeEncodeError as error:
            raise BadItem(
                f"the text holds a lone surrogate at character {error.start}: it is not valid Unicode"
            ) from None
        return unicodedata.normalize("NFC", item)

    def from_json(self, item: TextJson) -> bytes:
        try:
            return item.text.encode()
        except UnicodeEncodeError as error:
            raise BadItem(
                f"the text holds a lone surrogate at character {error.start}: it is not valid Unicode"
            ) from None

    def prepare(self, value: str, *, parts: bool = False) -> list[Sample]:
        """Samples {"input_ids": int64 [T], "attention_mask": int64 [T]}: the beginning alone, or every window."""
        prefix = self.preprocess.prefix
        whole = self._tokenizer.encode(prefix + value)
        windows = [whole, *whole.overflowing] if parts else [whole]
        several = len(windows) > 1
        return [
            Sample(
                {
                    "input_ids": np.array(window.ids, np.int64),
                    "attention_mask": np.ones(len(window.ids), np.int64),
                },
                part=_span(index, window.offsets, len(prefix)) if several else None,
                origin={"text": value},
            )
            for index, window in enumerate(windows)
        ]

    def collate(self, samples: Sequence[Sample]) -> Arrays:
        """Pad to the longest: [B, T]; padding has attention 0."""
        longest = max(len(sample.arrays["input_ids"]) for sample in samples)
        batch = {name: np.zeros((len(samples), longest), np.int64) for name in ("input_ids", "attention_mask")}
        batch["input_ids"] += self._pad_id
        for row, sample in enumerate(samples):
            for name, values in sample.arrays.items():
                batch[name][row, : len(values)] = values
        return batch

    def prepared(self, arrays: Arrays) -> list[Sample]:
        """Of input_ids and attention_mask [N, T]: what the graph would look up beyond its tables is refused."""
        ids, mask = arrays["input_ids"], arrays["attention_mask"]
        if ids.shape != mask.shape:
            raise BadItem(f"input_ids {list(ids.shape)} and attention_mask {list(mask.shape)} are not of one shape")
        if not 1 <= ids.shape[1] <= self.preprocess.max_tokens:
            raise BadItem(f"a row has {ids.shape[1]} tokens; this model takes 1 to {self.preprocess.max_tokens}")
        if ids.min() < 0 or ids.max() >= self.input_size:
            raise BadItem(
                f"input_ids go from {ids.min()} to {ids.max()}; the vocabulary has {self.input_size:,} tokens"
            )
        if not np.isin(mask, (0, 1)).all() or not mask.any(1).all():
            raise BadItem("attention_mask is 1 for a token and 0 for padding, with at least one 1 in a row")
        return super().prepared(arrays)

    def words(self, value: str, part: Part | None = None) -> str:
        """The window's own text; of a whole item its beginning."""
        return value[part.start : part.end] if part else value[:WORDS]

    def cost(self, sample: Sample) -> int:
        return len(sample.arrays["input_ids"])  # tokens

    def mark(self, value: str) -> str:
        """A digest of the words, blind to case and spacing."""
        return hashlib.sha256(" ".join(value.casefold().split()).encode()).hexdigest()

    def texts(self, value: str) -> list[str]:
        return [value]

    def thumbnail(self, value: str, side: int = 96) -> bytes:
        """The first words, drawn."""
        import io
        import textwrap

        from PIL import Image, ImageDraw

        page, file = Image.new("RGB", (side, side), "white"), io.BytesIO()
        lines = textwrap.wrap(value[:400], width=max(side // 6, 4))[: max(side // 12, 1)]
        ImageDraw.Draw(page).multiline_text((3, 3), "\n".join(lines), fill=(40, 40, 40), spacing=2, font_size=9)
        page.save(file, "WEBP", quality=85)
        return file.getvalue()

    def token_id(self, token: str) -> int | None:
        """The number of a token of the vocabulary; None for one that is not in it."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    def pair(self, first: str, second: str) -> list[int]:
        """Tokens of two texts that are read together."""
        ids: list[int] = self._tokenizer.encode(first, second).ids
        return ids

    def places(self, value: str) -> list[tuple[int, int]]:
        """Where each token of its beginning lies in the text, in characters; those that stand for nothing at (0, 0)."""
        prefix = self.preprocess.prefix
        found = self._tokenizer.encode(prefix + value).offsets
        return [(max(start - len(prefix), 0), max(end - len(prefix), 0)) for start, end in found]

    @cached_property
    def special(self) -> frozenset[int]:
        """Numbers of the tokens that stand for no text."""
        return frozenset(id for id, token in self._tokenizer.get_added_tokens_decoder().items() if token.special)

    def of_tokens(self, ids: Sequence[int]) -> str:
        """The text that tokens of the vocabulary stand for. Raises BadItem for a number that is none of them."""
        unknown = next((id for id in ids if not 0 <= id < 2**31 or self._tokenizer.id_to_token(id) is None), None)
        if unknown is not None:
            raise BadItem(
                f"token {unknown} is not in this model's vocabulary of {self.input_size:,}: send the text itself, "
                "other models' tokens mean nothing here"
            )
        text: str = self._tokenizer.decode(ids)
        return text

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizers = require("tokenizers", "text", "reading text")
        if self.folder is None:
            raise BadItem("this text entry has no tokenizer: open it from a bundle")
        with resource(self.folder, self.preprocess.tokenizer) as file:
            tokenizer = tokenizers.Tokenizer.from_file(str(file))
            tokenizer.no_padding()
            tokenizer.enable_truncation(self.preprocess.max_tokens, stride=self.preprocess.overlap_tokens)
        return tokenizer

    @cached_property
    def _pad_id(self) -> int:
        known = (self.token_id(token) for token in ("[PAD]", "<pad>", "<|padding|>"))
        return next((id for id in known if id is not None), 0)  # masked out by attention 0 whatever it is


def _span(index: int, offsets: list[tuple[int, int]], prefix: int) -> Part:
    """Where a window lies in the text, in characters, special tokens (0, 0) left out."""
    real = [(start, end) for start, end in offsets if end > start]
    start, end = (real[0][0], real[-1][1]) if real else (prefix, prefix)
    return Part(index=index, start=max(start - prefix, 0), end=max(end - prefix, 0))
