"""molecules: 12,000 organic molecules of up to 20 heavy atoms, 9,700 with their boiling point, held out by scaffold.

Formulas, names and boiling points (Yaws's collection, by CAS number) are those of the package `chemicals`. Where atoms
lie is computed and not measured: a conformer by ETKDGv3 (Wang et al. 2020), relaxed in the force field MMFF94, or UFF
where that lacks an element. Molecules with a boiling point come first, then others by the hash of their number. A
molecule's group is the scaffold of its rings (Bemis and Murcko 1996), of which the largest are trained on (Wu et al.
2018, MoleculeNet, arXiv:1703.00564); those without rings are one group.
"""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers, rdMolDescriptors
from rdkit.Chem.Scaffolds import MurckoScaffold

from training.data.builders import Facts, Package, write

ITEMS = 12_000
LEAST, MOST = 2, 20  # heavy atoms
ELEMENTS = frozenset({5, 6, 7, 8, 9, 14, 15, 16, 17, 35, 53})  # deuterium is not among them
HOTTEST = (
    900.0  # kelvin, above which a boiling point is a slip of the table: ethyl azide boils at 323 K and not 1,769 K
)
SEED, TRIES = 7, 20  # of a conformer
_RELAXED = 500  # steps of the force field, at most
_FORMULAS = ("Identifiers/chemical identifiers pubchem large.tsv", "Identifiers/chemical identifiers pubchem small.tsv")
_POINTS = "Phase Change/Yaws Boiling Points.tsv"

FACTS = Facts(
    name="molecules",
    modality="molecule",
    title="Molecules: 12,000 organic ones of up to 20 heavy atoms, 9,700 of them with their boiling point",
    licence="MIT (chemicals); geometry computed with RDKit",
    packages=(
        Package(
            registry="pypi",
            name="chemicals",
            version="1.5.2",
            file="chemicals-1.5.2-py3-none-any.whl",
            size_bytes=22_288_884,
            sha256="f85ef7f36e77fee634686c26562929ee61026cd548d89cebd57b2251ca843d6e",
            wanted=tuple(f"chemicals/{path}" for path in (*_FORMULAS, _POINTS)),
        ),
    ),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write the manifest, molecules included, into `target`."""
    rdBase.DisableLog("rdApp.*")
    folder = packages["chemicals"] / "chemicals"
    told = {row[0]: float(row[1]) for row in _lines(folder / _POINTS) if row[0] != "CAS"}
    points = {number: point for number, point in told.items() if point <= HOTTEST}
    rows: list[dict[str, Any]] = []
    for number, name, mol in chosen(folder, points):
        if len(rows) == ITEMS:
            break
        if (placed := in_space(mol)) is None:
            continue
        rows.append(
            {
                "id": number,
                "molecule": json.dumps({**placed, "name": name}),
                "title": name,
                "label": None,
                "group": scaffold(mol) or "no rings",
                "formula": rdMolDescriptors.CalcMolFormula(mol),
                "boiling_point": points.get(number),  # in kelvin
            }
        )
    splits = by_size([row["group"] for row in rows])
    write(FACTS, [row | {"split": split} for row, split in zip(rows, splits, strict=True)], target)


def chosen(folder: Path, points: Mapping[str, float]) -> Iterator[tuple[str, str, Any]]:
    """CAS number, name and RDKit's molecule: those with a boiling point first, each formula once."""
    told = {row[1]: (row[4], row[7] if len(row) > 7 else "") for path in _FORMULAS for row in _lines(folder / path)}
    seen = set[str]()
    for number in sorted(told, key=lambda one: (one not in points, hashlib.sha256(one.encode()).digest())):
        smiles, name = told[number]
        mol = None if "." in smiles else Chem.MolFromSmiles(smiles)
        if mol is None or not LEAST <= mol.GetNumHeavyAtoms() <= MOST:
            continue
        elements = {atom.GetAtomicNum() for atom in mol.GetAtoms()}
        if 6 in elements and elements <= ELEMENTS and (formula := Chem.MolToSmiles(mol)) not in seen:
            seen.add(formula)
            yield number, name, mol


def in_space(mol: Any) -> dict[str, Any] | None:
    """SMILES, and where its atoms lie in ångström, in its order; None where no conformer is found."""
    whole = Chem.AddHs(mol)
    settings: Any = rdDistGeom.ETKDGv3()
    settings.randomSeed = SEED
    settings.maxIterations = TRIES
    if rdDistGeom.EmbedMolecule(whole, settings) != 0:
        return None
    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(whole):
        rdForceFieldHelpers.MMFFOptimizeMolecule(whole, maxIters=_RELAXED)
    elif rdForceFieldHelpers.UFFHasAllMoleculeParams(whole):
        rdForceFieldHelpers.UFFOptimizeMolecule(whole, maxIters=_RELAXED)
    heavy = Chem.RemoveHs(whole)
    smiles = Chem.MolToSmiles(heavy)
    order = json.loads(heavy.GetProp("_smilesAtomOutputOrder").replace(",]", "]"))
    return {"smiles": smiles, "coordinates": heavy.GetConformer().GetPositions()[order].round(3).tolist()}


def scaffold(mol: Any) -> str:
    """Of the largest component its rings and what joins them, without stereochemistry; "" where there are none."""
    largest = max(Chem.GetMolFrags(mol, asMols=True), key=lambda one: (one.GetNumHeavyAtoms(), Chem.MolToSmiles(one)))
    found: str = MurckoScaffold.MurckoScaffoldSmiles(mol=largest, includeChirality=False)
    return found


def by_size(groups: Sequence[str], *, train: float = 0.7, val: float = 0.1) -> list[str]:
    """A split for each item, whole groups only: the largest groups train, then val, and the rare ones test."""
    counts = Counter(groups)
    split, before = {}, 0
    for group in sorted(counts, key=lambda one: (-counts[one], one)):
        share = (before + counts[group] / 2) / len(groups)
        split[group] = "train" if share < train else "val" if share < train + val else "test"
        before += counts[group]
    return [split[group] for group in groups]


def _lines(file: Path) -> Iterator[list[str]]:
    with file.open(newline="") as content:
        yield from csv.reader(content, delimiter="\t", quoting=csv.QUOTE_NONE)
