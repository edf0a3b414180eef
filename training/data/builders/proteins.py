"""proteins: 26,000 sequences of UniProt, 6,000 of them of ten functions, held out by families.

The sequences with molecular functions that metastudent learns from (January 2014), which are its BLAST database. A
function is one of ten terms of the Gene Ontology, for proteins of which all terms lie below one of them alone: as many
of each. Proteins are taken by the hash of their accession; those that share words of residues are of one family.
"""
# N proteins

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from training.data.builders import Facts, Package, write
from training.data.homologs import families

FUNCTIONS = {
    "GO:0001071": "transcription factor",
    "GO:0005198": "structural molecule",
    "GO:0005215": "transporter",
    "GO:0016491": "oxidoreductase",
    "GO:0016740": "transferase",
    "GO:0016787": "hydrolase",
    "GO:0016829": "lyase",
    "GO:0016853": "isomerase",
    "GO:0016874": "ligase",
    "GO:0030234": "enzyme regulator",
}
OF_EACH, OTHERS = 600, 20_000
LEAST, MOST = 40, 1000  # residues
_LETTERS = np.frombuffer(b"-ABCDEFGHIKLMNPQRSTVWXYZU*OJ", np.uint8)  # of a residue's number in BLAST's files
_HEADER = re.compile(rb"([A-Z0-9]+)\|(GO:[GO:0-9,]+)")
_FOLDER = "usr/share/metastudent-data/dataset_201401"

FACTS = Facts(
    name="proteins",
    modality="protein",
    title="Proteins: 26,000 sequences of UniProt, 6,000 of them of ten functions",
    licence="GPL-2+ (metastudent-data), of the package; UniProt and Gene Ontology: CC BY 4.0",
    packages=(
        Package(
            registry="debian",
            name="metastudent-data",
            version="2.0.1-8",
            file="metastudent-data_2.0.1-8_all.deb",
            size_bytes=224_684_540,
            sha256="020ed0c560a5ba96f39c434399b3ecf0fa790a4776c4aac24458f837969ae54b",
            wanted=(f"{_FOLDER}/MFO/goasp.fasta", f"{_FOLDER}/fullTransitiveClosureGO.txt", f"{_FOLDER}/nameMapping"),
        ),
    ),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write the manifest, sequences included, into `target`."""
    folder = packages["metastudent-data"] / _FOLDER
    database = folder / "MFO/goasp.fasta"
    headers = [(one.decode(), terms.decode().split(",")) for one, terms in _HEADER.findall(_bytes(database, ".phr"))]
    ends = sequence_offsets(_bytes(database, ".pin"))
    residues = np.frombuffer(_bytes(database, ".psq"), np.uint8)
    names = dict(line.split("\t")[:2] for line in (folder / "nameMapping.txt").read_text().splitlines())
    above = _functions_above(folder / "fullTransitiveClosureGO.txt")
    rows = [
        {
            "id": headers[i][0],
            "protein": _LETTERS[residues[ends[i] : ends[i + 1] - 1]].tobytes().decode(),
            "label": label,
            "terms": "; ".join(dict.fromkeys(names.get(term, term) for term in headers[i][1])),
        }
        for i, label in chosen(headers, np.diff(ends) - 1, above).items()
    ]
    family = families([row["protein"] for row in rows])
    write(FACTS, [row | {"group": rows[first]["id"]} for row, first in zip(rows, family, strict=True)], target)


def chosen(
    headers: list[tuple[str, list[str]]], lengths: np.ndarray, above: Mapping[str, frozenset[str]]
) -> dict[int, str | None]:
    """Proteins that are taken, each with the function that is its label; None for those without one.

    headers   accession and terms of each of N
    lengths   [N], in residues
    above     a term's functions
    """
    fit = [i for i in range(len(headers)) if LEAST <= lengths[i] <= MOST]
    taken: dict[int, str | None] = {}
    counts: Counter[str] = Counter()
    others = 0
    for i in sorted(fit, key=lambda i: hashlib.sha256(headers[i][0].encode()).digest()):
        functions = frozenset[str]().union(*(above.get(term, frozenset()) for term in headers[i][1]))
        label = FUNCTIONS[next(iter(functions))] if len(functions) == 1 else None
        if label is not None and counts[label] < OF_EACH:
            taken[i] = label
            counts[label] += 1
        elif others < OTHERS:
            taken[i] = None
            others += 1
    return taken


def sequence_offsets(index: bytes) -> np.ndarray:
    """Where each sequence of a BLAST database begins in its .psq, and where the last ends, int64 [N + 1].

    Of version 4: version, kind, title, date, N, residues, longest, then N + 1 offsets of headers and of sequences.
    """
    at = 8
    for _ in ("title", "date"):
        at += 4 + int.from_bytes(index[at : at + 4], "big")
    count = int.from_bytes(index[at : at + 4], "big")
    first = at + 4 + 8 + 4 + 4 * (count + 1)
    return np.frombuffer(index, ">u4", count + 1, first).astype(np.int64)


def _functions_above(closure: Path) -> dict[str, frozenset[str]]:
    """Of every term the functions that it is or lies below."""
    found: defaultdict[str, set[str]] = defaultdict(set, {term: {term} for term in FUNCTIONS})
    for line in closure.read_text().splitlines():
        term, _, ancestor, _ = line.split("\t")
        if ancestor in FUNCTIONS:
            found[term].add(ancestor)
    return {term: frozenset(functions) for term, functions in found.items()}


def _bytes(database: Path, suffix: str) -> bytes:
    return database.with_name(database.name + suffix).read_bytes()
