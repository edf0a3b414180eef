"""peptides: 4,620 short chains, which kill microbes or are of proteins of UniProt, held out by families.

AMPvsUniProt of modlAMP (Müller et al. 2017), repeats left out, and what is said to be both.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from training.data.builders import Facts, Package, write
from training.data.homologs import families

CLASSES = {"0": "other", "1": "antimicrobial"}
WORD, SHARED = 5, 4  # of chains of 30 residues: eight in a row, or several runs of fewer

FACTS = Facts(
    name="peptides",
    modality="protein",
    title="Peptides: 4,620 short sequences, antimicrobial or not",
    licence="BSD-3-Clause (modlamp)",
    packages=(
        Package(
            registry="pypi",
            name="modlamp",
            version="4.3.3",
            file="modlamp-4.3.3-py3-none-any.whl",
            size_bytes=178_326,
            sha256="6948bcbc4a9614d10b6b47a051d4576c42fe8e5487fbbeb3cfe0d8033eb27f91",
            wanted=("modlamp/data/AMPvsUniProt.csv",),
        ),
    ),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write the manifest, sequences included, into `target`."""
    lines = (packages["modlamp"] / "modlamp/data/AMPvsUniProt.csv").read_text().splitlines()[1:]  # counts and classes
    told: defaultdict[str, set[str]] = defaultdict(set)
    for sequence, number in (line.split(",") for line in lines):
        told[sequence.strip()].add(CLASSES[number.strip()])
    found = {sequence: labels.pop() for sequence, labels in told.items() if len(labels) == 1}
    ids = [hashlib.sha256(sequence.encode()).hexdigest()[:16] for sequence in found]
    grouped = zip(ids, found.items(), families(list(found), word=WORD, shared=SHARED), strict=True)
    rows = [
        {"id": id, "protein": sequence, "label": label, "group": ids[first]} for id, (sequence, label), first in grouped
    ]
    write(FACTS, rows, target)
