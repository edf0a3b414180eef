"""Pieces of a text: paragraphs, which an empty line sets apart, and their sentences."""

import re

_PARAGRAPH = re.compile(r"\n\s*\n")
# After a mark that ends a sentence, with its closing quotes, before what may begin one; or at the end of a line.
_SENTENCE = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"')\]]))\s+(?=[\"'(\[]?[A-Z0-9])|\n+")


def paragraphs(text: str) -> list[str]:
    return [part.strip() for part in _PARAGRAPH.split(text) if part.strip()]


def sentences(paragraph: str) -> list[str]:
    """Of a paragraph of running text; a line of a list is one too."""
    return [part.strip() for part in _SENTENCE.split(paragraph) if part.strip()]
