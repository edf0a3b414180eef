"""chains: 50 protein chains of the Protein Data Bank as PDB files, with what each residue is part of and touches.

MDAnalysis' tests of its secondary structure: states are DSSP's (Kabsch and Sander 1983), H helix, E strand, C coil.
Residues touch whose C-beta atoms lie nearer than 8 ångström. No two chains of different splits share a family.
"""
# L residues

import gzip
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from enfold.modalities.protein import Protein, ProteinPreprocess
from training.data.builders import Facts, Package, write
from training.data.homologs import families
from training.data.splits import assign_splits

TRAIN, TEST = 0.6, 0.24  # shares: of so few chains a tenth would judge nothing
_FOLDER = "mdanalysistests-2.11.0/MDAnalysisTests/data/dssp"

FACTS = Facts(
    name="chains",
    modality="protein",
    title="Chains: 50 protein structures with the secondary structure and contacts of every residue",
    licence="LGPL-3+ (MDAnalysisTests), of the package; Protein Data Bank: CC0",
    packages=(
        Package(
            registry="pypi",
            name="MDAnalysisTests",
            version="2.11.0",
            file="mdanalysistests-2.11.0.tar.gz",
            size_bytes=59_555_441,
            sha256="5edeb5b01805da728b202103aa8d2b5974a37f1005ab1fe0150ed7d59702d2ea",
            wanted=(_FOLDER,),
        ),
    ),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write the structures and the manifest into `target`."""
    reader, rows, sequences = Protein(ProteinPreprocess()), [], []
    for told in sorted((packages["MDAnalysisTests"] / _FOLDER).glob("*.dssp")):
        name = told.name.removesuffix(".pdb.dssp")
        content = gzip.decompress(told.with_name(f"{name}.pdb.gz").read_bytes())
        chain = reader.read(content)
        states = told.read_text().split()[0].replace("-", "C")
        assert len(states) == len(chain.sequence), f"{name}: {len(states)} states of {len(chain.sequence)} residues"
        (target / f"{name}.pdb").write_bytes(content)
        sequences.append(chain.sequence)
        rows.append(
            {
                "id": name,
                "path": f"{name}.pdb",
                "label": None,
                "states": states,
                "contacts": json.dumps(np.argwhere(np.triu(chain.contacts(), 1)).tolist()),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        )
    groups = [str(rows[first]["id"]) for first in families(sequences)]
    splits = assign_splits(groups, [None] * len(rows), train=TRAIN, test=TEST)
    beside = zip(rows, groups, splits, strict=True)
    write(FACTS, [row | {"group": group, "split": split} for row, group, split in beside], target)
