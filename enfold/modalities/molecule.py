"""molecule: atoms and the bonds between them (SMILES, mol block, SDF), where they lie in space (SDF, XYZ), or both.

A decoded item is a `Structure`: heavy atoms in RDKit's canonical order, so that the way in which a molecule was written
changes nothing. Of salts and mixtures the largest component is the item. An encoder sees for every pair of atoms how
many bonds lie between them and which, how far apart they are, or both.
"""

# n atoms of a molecule, N of a sample, M atoms at most, E bonds, F features of an atom, P bonds of a path

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
from pydantic import BaseModel, Field, WithJsonSchema

from enfold.archives import Slice
from enfold.errors import BadItem, TooLarge, require
from enfold.modalities import Arrays, Modality, Part, Sample, Spec, Stored, written_bytes
from enfold.modalities.table import padded

# Values of each feature of an atom; 0 is padding. Element, side of a stereocentre, charge, hydrogens, radical
# electrons, hybridisation, aromatic, in a ring.
FEATURES = (119, 4, 10, 10, 6, 8, 3, 3)
TYPES, STEREO = 4, 3  # single, double, triple, aromatic; none, Z, E
BONDS = TYPES * STEREO * 2  # kinds of bonds, with conjugation; counted from 1, 0 is none
FARTHEST = 10  # bonds between two atoms that are counted; more count as so many
PATH = 5  # bonds of a path that are looked at, its first
DEGREES = 9  # neighbours of an atom, 8 at most, counted from 1
Views = Literal["both", "2d", "3d"]
_SHADES = {
    1: "#909090",
    6: "#404040",
    7: "#3050f0",
    8: "#e02020",
    9: "#40b060",
    15: "#e08020",
    16: "#c0a010",
    17: "#20b020",
}
_OTHER = "#8050b0"
_SMILES, _SDF = (".smi", ".smiles"), (".sdf", ".mol")
_END = re.compile(r"^M {2}END\s*$", re.MULTILINE)
_NEXT = re.compile(r"^\$\$\$\$\s*$", re.MULTILINE)
_BETWEEN = b"$$$$"
_COUNTS = re.compile(r"^.*V[23]000\s*$", re.MULTILINE)
_BONDS = re.compile(r"^(?:.{3}([ \d]{2}\d).*V2000|M {2}V30 COUNTS +\d+ +(\d{1,9}))\b", re.MULTILINE)
_XYZ = re.compile(r"\s*\d+[ \t]*\r?\n")
_LINES = 8  # of a mol block for each atom, at most
_FAR = 1e4  # ångström from the origin, at most
_NUMBER = "number"  # that an atom is called by while others are taken away
_TRIES = 10_000  # of orders of bonds, until those of a file of places fit


@dataclass(frozen=True)
class Structure:
    smiles: str  # canonical, of what is kept
    atoms: np.ndarray  # int64 [n, F], as FEATURES says
    bonds: np.ndarray  # int64 [E, 3]: two atoms, kind
    numbers: np.ndarray  # int64 [n], of each among all atoms of the item as it was written, counted from 1
    places: np.ndarray | None = None  # float32 [n, 3], ångström
    name: str = ""
    views: Views = "both"  # of what there is, what is meant

    def relations(self, atoms: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bonds between the atoms given, k of them: how many + 1, int64 [k, k], and the first P on the way [k, k, P].

        The way is a shortest one, through the atom that comes first where there are several. 0 is none.
        """
        column = {int(atom): place for place, atom in enumerate(atoms)}
        hops = np.zeros((len(column), len(column)), np.int64)
        ways = np.zeros((len(column), len(column), PATH), np.int64)
        for row, start in enumerate(column):
            for atom, (far, way) in self._reached(start).items():
                if (place := column.get(atom)) is not None:
                    hops[row, place] = 1 + min(far, FARTHEST)
                    ways[row, place, : len(way)] = way
        return hops, ways

    def nearest_first(self) -> np.ndarray:
        """Every atom [n], breadth first from the one with the most bonds."""
        return np.array(list(self._reached(int(np.argmax([len(others) for others in self._beside])))))

    def _reached(self, start: int) -> dict[int, tuple[int, tuple[int, ...]]]:
        """Every atom, nearest first: how many bonds away it is, and the kinds of the first P on the way there."""
        found: dict[int, tuple[int, tuple[int, ...]]] = {start: (0, ())}
        waiting = [start]
        for atom in waiting:
            far, way = found[atom]
            for other, kind in self._beside[atom].items():
                if other not in found:
                    found[other] = (far + 1, way if far >= PATH else (*way, kind))
                    waiting.append(other)
        return found

    @cached_property
    def _beside(self) -> list[dict[int, int]]:
        """Of every atom its neighbours in their order, and the kind of the bond to each."""
        found: list[dict[int, int]] = [{} for _ in self.atoms]
        for one, other, kind in sorted([*self.bonds.tolist(), *self.bonds[:, [1, 0, 2]].tolist()]):
            found[one][other] = kind
        return found


class MoleculePreprocess(Spec):
    """To atoms [N, F] and what lies between them [N, M, …]."""

    max_atoms: int = Field(64, ge=2)  # M, hydrogens left out: a larger molecule is cut into pieces
    views: Views = "both"  # of bonds and places, where an item has both, what the encoder sees


class MoleculeLimits(Spec):
    max_bytes: int = 2**20
    max_letters: int = 2_000  # of a SMILES
    max_atoms: int = 500  # as written, hydrogens among them
    max_neighbours: int = 16  # of an atom
    max_rings: int = 100  # bonds beyond those that hold a molecule together: looking for rings takes long in many
    max_placed: int = 250  # of a file without bonds, which must be found
    max_parts: int = 64


class MoleculeJson(BaseModel, extra="forbid"):
    molecule: Annotated[
        Any,
        WithJsonSchema(
            {
                "description": "a SMILES, or the text of a mol block, an SDF file of one record or an XYZ file; or an "
                "object: one of them with a name; coordinates: places of the atoms of a SMILES, in its order; "
                "views: 2d for its bonds alone, 3d for its places alone",
                "anyOf": [
                    {"type": "string"},
                    {
                        "type": "object",
                        "required": ["smiles"],
                        "properties": {
                            "smiles": {"type": "string"},
                            "coordinates": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
                            "name": {"type": "string"},
                            "views": {"enum": ["both", "2d", "3d"]},
                        },
                    },
                    {
                        "type": "object",
                        "required": ["block"],
                        "properties": {
                            "block": {"type": "string"},
                            "name": {"type": "string"},
                            "views": {"enum": ["both", "2d", "3d"]},
                        },
                    },
                ],
            }
        ),
    ]


class Molecule(Modality[Structure]):
    name = "molecule"
    media_types = dict.fromkeys(_SMILES, "chemical/x-daylight-smiles") | {
        ".sdf": "chemical/x-mdl-sdfile",
        ".mol": "chemical/x-mdl-molfile",
    }
    shared_types = {".xyz": "chemical/x-xyz", ".json": "application/json", ".txt": "text/plain"}
    Preprocess, Limits, Json = MoleculePreprocess, MoleculeLimits, MoleculeJson
    batch_cost, ragged, inline, written = 1024, True, True, True

    @classmethod
    def records(cls, file: Path) -> list[Slice]:
        """Of an SDF file, or of a file of SMILES, with more than one, each under its name."""
        kinds = {**dict.fromkeys(_SMILES, _lines), **dict.fromkeys(_SDF, _blocks)}
        with file.open("rb") as content:
            find = kinds.get(file.suffix.lower())
            found = list(find(content)) if find else []
        starts: dict[str, tuple[int, int]] = {}
        for number, (name, start, end) in enumerate(found, 1):
            name = name or "record"
            starts[name if name not in starts else f"{name} {number}"] = start, end
        return [Slice(file, name, at, end - at) for name, (at, end) in starts.items()] if len(found) > 1 else []

    @property
    def input_size(self) -> int:
        """M."""
        return int(self.preprocess.max_atoms)

    def read(self, item: Any) -> Structure:
        """From a file, its text, the object that JSON has, or a `Structure`. Raises BadItem or TooLarge."""
        if isinstance(item, Structure):
            return item
        if isinstance(item, str):
            item = item.encode("utf-8", "surrogatepass")
        if isinstance(item, Stored):
            item = self._decoded(self.file_bytes(item))
        if not isinstance(item, Mapping):
            raise BadItem(f"a molecule is a SMILES, a mol block or a file of one, not {type(item).__name__}")
        try:
            return self._structure({name: value for name, value in item.items() if value is not None})
        except (RuntimeError, ValueError, OverflowError) as error:  # what RDKit's own checks find late
            raise BadItem(f"RDKit cannot make a molecule of it ({str(error).strip()[:80]})") from None

    def from_json(self, item: MoleculeJson) -> bytes:
        """The text, or the object as the JSON it came in. Raises BadItem."""
        return written_bytes(item.molecule, self.name)

    def prepare(self, value: Structure, *, parts: bool = False) -> list[Sample]:
        """Samples {"atoms": int64 [N, F], "degrees", "placed": int64 [N], "hops": int64 [N, M], "ways": int64
        [N, M, P], "places": float32 [N, 3]}.

        Degrees and hops are counted from 1, and 0 where bonds are not seen; placed is 1 where places are. A molecule of
        more than M atoms is cut into pieces of neighbours: the first alone, or all. Raises BadItem for one that lacks
        what shall be seen of it.
        """
        most, count = self.preprocess.max_atoms, len(value.atoms)
        if count <= most:
            return [self._sample(value, np.arange(count), None)]
        order = value.nearest_first()
        starts = range(0, count if parts else most, most)
        if len(starts) > self.limits.max_parts:
            raise TooLarge(f"the molecule makes {len(starts)} pieces; at most {self.limits.max_parts}")
        pieces = [np.sort(order[start : start + most]) for start in starts]
        return [
            self._sample(value, piece, Part(index=i, start=start, end=start + len(piece)) if parts else None)
            for i, (start, piece) in enumerate(zip(starts, pieces, strict=True))
        ]

    def collate(self, samples: Sequence[Sample]) -> Arrays:
        """Pad to the most atoms: [B, N, …]."""
        most = max(map(self.cost, samples))
        return {name: np.stack([padded(one.arrays[name], most) for one in samples]) for name in samples[0].arrays}

    def prepared(self, arrays: Arrays) -> list[Sample]:
        """Of what `prepare` makes, [B, N, …]; padding comes last."""
        M, atoms, (B, N) = self.preprocess.max_atoms, arrays["atoms"], arrays["atoms"].shape[:2]
        shapes = {
            "atoms": (len(FEATURES),),
            "degrees": (),
            "placed": (),
            "hops": (M,),
            "ways": (M, PATH),
            "places": (3,),
        }
        for name, shape in shapes.items():
            if arrays[name].shape != (B, N, *shape):
                raise BadItem(f"{name} is {list(arrays[name].shape)}; this model takes {[B, N, *shape]}")
        if not 1 <= N <= M:
            raise BadItem(f"a row has {N} atoms; this model takes 1 to {M}")
        for name, most in {"degrees": DEGREES, "placed": 1, "hops": 1 + FARTHEST, "ways": BONDS}.items():
            if arrays[name].min() < 0 or arrays[name].max() > most:
                raise BadItem(f"{name} go from {arrays[name].min()} to {arrays[name].max()}; they are 0 to {most}")
        if (atoms < 0).any() or (atoms >= FEATURES).any():
            raise BadItem(f"atoms have features below {list(FEATURES)}, each counted from 1; 0 is padding")
        real = atoms[..., 0] > 0  # [B, N]
        if not real[:, 0].all() or (real[:, 1:] > real[:, :-1]).any():
            raise BadItem("atoms come first, then padding of noughts")
        if not ((arrays["placed"] > 0) | (arrays["degrees"] > 0))[real].all():
            raise BadItem("an atom has a degree, counted from 1, or a place: else nothing of it would be seen")
        return super().prepared(arrays)

    def words(self, value: Structure, part: Part | None = None) -> str | None:
        """Its name."""
        return value.name or None

    def cost(self, sample: Sample) -> int:
        return len(sample.arrays["atoms"])

    def mark(self, value: Structure) -> str:
        """A digest of the canonical SMILES: a molecule in space is a copy of its formula."""
        return hashlib.sha256(value.smiles.encode()).hexdigest()

    def thumbnail(self, value: Structure, side: int = 96) -> bytes:
        """Its formula as chemists draw it."""
        from PIL import Image

        file = io.BytesIO()
        drawing(value, 4 * side).resize((side, side), Image.Resampling.LANCZOS).save(file, "WEBP", quality=85)
        return file.getvalue()

    def _sample(self, value: Structure, atoms: np.ndarray, part: Part | None) -> Sample:
        wanted = self.preprocess.views if value.views == "both" else value.views
        if wanted == "3d" and value.places is None:
            raise BadItem("the molecule has no coordinates in space, which are to be looked at: send SDF or XYZ of it")
        flat, placed = wanted != "3d", wanted != "2d" and value.places is not None
        n, M = len(atoms), self.preprocess.max_atoms
        arrays = {
            "atoms": value.atoms[atoms],
            "degrees": np.zeros(n, np.int64),
            "placed": np.full(n, int(placed)),
            "hops": np.zeros((n, M), np.int64),
            "ways": np.zeros((n, M, PATH), np.int64),
            "places": np.zeros((n, 3), np.float32),
        }
        if flat:
            count = np.bincount(value.bonds[:, :2].ravel(), minlength=len(value.atoms))
            arrays["degrees"] = 1 + np.minimum(count[atoms], DEGREES - 1)
            arrays["hops"][:, :n], arrays["ways"][:, :n] = value.relations(atoms)
        if placed and value.places is not None:
            arrays["places"] = value.places[atoms] - value.places[atoms].mean(0)
        return Sample(arrays, part, {"numbers": value.numbers[atoms]})

    def _decoded(self, data: bytes) -> Any:
        """By what stands in it: a file may come without a name."""
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadItem(f"the molecule is no text (byte {error.start}): send SMILES, SDF or XYZ") from None
        if text.lstrip().startswith("{"):
            try:
                return json.loads(text)
            except (ValueError, RecursionError) as error:
                raise BadItem(f"the molecule is no JSON, or cut short ({str(error)[:80]})") from None
        if _COUNTS.search(text) or _END.search(text) or _XYZ.match(text):
            return {"block": text}
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) > 1:
            raise BadItem(
                f"the file has {len(lines):,} lines, each a SMILES, and an item is one: send them one by one, or name "
                "the file as a source"
            )
        smiles, _, name = (lines[0].strip() if lines else "").partition(" " if " " in "".join(lines) else "\t")
        return {"smiles": smiles, "name": name.strip()}

    def _structure(self, given: Mapping[str, Any]) -> Structure:
        content = next((name for name in ("smiles", "block") if name in given), None)
        known = {content, "name", "views", *(["coordinates"] if content == "smiles" else [])}
        if content is None or set(given) - known:
            raise BadItem(
                "a molecule object has a smiles, and coordinates if it likes; or a block; each with a name and views"
            )
        if wrong := next((name for name in (content, "name") if not isinstance(given.get(name, ""), str)), None):
            raise BadItem(f"{wrong} of a molecule is a text, not {type(given[wrong]).__name__}")
        if (views := given.get("views", "both")) not in ("both", "2d", "3d"):
            raise BadItem(f"views of a molecule are both, 2d or 3d, not {repr(views)[:40]}")
        name, text = given.get("name", ""), given[content]
        if content == "smiles":
            mol, places = self._of_smiles(text), given.get("coordinates")
            if places is not None:
                _place(mol, places)
        elif _XYZ.match(text) and not _COUNTS.search(text):
            mol = self._of_xyz(text)
        else:
            mol = self._of_block(text)
            name = name or text.partition("\n")[0].strip()
        # A lone surrogate, which JSON may hold, could be neither stored nor sent.
        return replace(_kept(mol), name=name.encode(errors="replace").decode(), views=views)

    def _of_smiles(self, text: str) -> Any:
        if len(smiles := text.strip()) > self.limits.max_letters:
            raise TooLarge(f"the SMILES has {len(smiles):,} letters; at most {self.limits.max_letters:,} are read")
        if not smiles:
            raise BadItem("the SMILES is empty: there is no atom in it")
        return self._sound(_chem().MolFromSmiles(smiles, sanitize=False), f"SMILES '{smiles[:60]}'")

    def _of_block(self, text: str) -> Any:
        records = [one for one in _NEXT.split(text) if one.strip()]
        if len(records) > 1:
            raise BadItem(
                f"the SDF holds {len(records):,} records and an item is one: send them one by one, or name the file as "
                "a source"
            )
        end = _END.search(text)
        block = text[: end.end()] if end else text
        if (lines := block.count("\n")) > _LINES * self.limits.max_atoms:
            raise TooLarge(
                f"the mol block has {lines:,} lines, too many for {self.limits.max_atoms:,} atoms: no more are read"
            )
        # Before it is read, for RDKit looks for rings at once.
        bonds = max((int(old or new) for old, new in _BONDS.findall(block)), default=0)
        if bonds > self.limits.max_atoms + self.limits.max_rings:
            raise TooLarge(f"the mol block has {bonds:,} bonds, more than {self.limits.max_atoms:,} atoms may have")
        mol = _chem().MolFromMolBlock(block, sanitize=False, removeHs=False)
        mol = self._sound(mol, "mol block (atoms, coordinates or bonds are damaged or cut short)")
        if mol.GetNumConformers() and not mol.GetConformer().Is3D():
            mol.RemoveAllConformers()  # a drawing on paper tells nothing of space
        return _with_sides(mol)

    def _of_xyz(self, text: str) -> Any:
        """Bonds are those that distances allow, of a neutral molecule with all its hydrogens."""
        self._few(len(text.splitlines()), self.limits.max_placed)  # a line an atom
        chem, bonds = _chem(), require("rdkit.Chem.rdDetermineBonds", "molecule", "reading an XYZ file")
        try:
            mol = chem.MolFromXYZBlock(text)
            if mol is None or not mol.GetNumAtoms():
                raise ValueError("its lines are not an element and three numbers each")
            if not np.isfinite(mol.GetConformer().GetPositions()).all():
                raise ValueError("a coordinate is not finite")
            bonds.DetermineBonds(mol, charge=0, maxIterations=_TRIES)
        except Exception as error:  # RDKit raises whatever the places lead it to
            raise BadItem(
                f"no bonds fit the XYZ file ({str(error).strip()[:80] or 'unknown'}): they are found by distances, "
                "of a neutral molecule with all its hydrogens; else send SDF"
            ) from None
        return _with_sides(self._sound(mol, "XYZ file"))

    def _few(self, count: int, most: int) -> None:
        if count > most:
            raise TooLarge(f"the molecule has {count:,} atoms; at most {most:,} are read")

    def _sound(self, mol: Any, what: str) -> Any:
        """Checked as chemistry. Raises BadItem or TooLarge."""
        if mol is None:
            raise BadItem(f"RDKit cannot read the {what}")
        chem = _chem()
        self._few(mol.GetNumAtoms(), self.limits.max_atoms)
        if (most := max((atom.GetDegree() for atom in mol.GetAtoms()), default=0)) > self.limits.max_neighbours:
            raise TooLarge(f"an atom has {most:,} neighbours; at most {self.limits.max_neighbours:,} are read")
        if (rings := mol.GetNumBonds() - mol.GetNumAtoms() + len(chem.GetMolFrags(mol))) > self.limits.max_rings:
            raise TooLarge(f"the molecule has {rings:,} rings; at most {self.limits.max_rings:,} are read")
        if not mol.GetNumAtoms():
            raise BadItem("the molecule is empty: there is no atom in it")
        if any(atom.GetAtomicNum() == 0 for atom in mol.GetAtoms()):
            raise BadItem("the molecule has an atom without an element (*, R): say which, or leave it out")
        if problems := chem.DetectChemistryProblems(mol):
            raise BadItem(f"the molecule is no sound chemistry: {problems[0].Message()[:120]}")
        try:
            chem.SanitizeMol(mol)
        except Exception as error:  # what the problems above do not foresee
            raise BadItem(f"the molecule is no sound chemistry: {str(error).strip()[:120]}") from None
        return mol


def drawing(value: Structure, side: int) -> Any:
    """The formula as chemists draw it, laid out by RDKit: a Pillow image of side x side pixels.

    RDKit's own drawing asks for libraries of X11, which a server has no other use for.
    """
    from PIL import Image, ImageDraw, ImageFont

    mol = _chem().MolFromSmiles(value.smiles)
    require("rdkit.Chem.rdDepictor", "molecule", "drawing a molecule").Compute2DCoords(mol)
    _chem().Kekulize(mol, clearAromaticFlags=True)
    flat = mol.GetConformer().GetPositions()[:, :2] * [1, -1]
    unit = min(0.8 * side / max(np.ptp(flat, axis=0).max(), 1e-6), side / 5)  # pixels of an ångström
    at = (flat - (flat.min(0) + flat.max(0)) / 2) * unit + side / 2
    page = Image.new("RGB", (side, side), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(max(8.0, 0.5 * unit))
    for bond in mol.GetBonds():
        ends = at[[bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()]]
        count = {"DOUBLE": 2, "TRIPLE": 3}.get(str(bond.GetBondType()), 1)
        along = (ends[1] - ends[0]) / max(float(np.linalg.norm(ends[1] - ends[0])), 1e-6)
        for place in range(count):
            beside = along[::-1] * [-1, 1] * (place - (count - 1) / 2) * 0.2 * unit
            draw.line([*(ends[0] + beside), *(ends[1] + beside)], fill="#404040", width=max(1, round(unit / 20)))
    for atom, place in zip(mol.GetAtoms(), at, strict=True):
        if label := _label(atom):
            draw.ellipse((*(place - 0.28 * unit), *(place + 0.28 * unit)), fill="white")
            draw.text(tuple(place), label, fill=shade(atom.GetAtomicNum()), font=font, anchor="mm")
    return page


def shade(element: int) -> str:
    """The colour that chemists give an element."""
    return _SHADES.get(element, _OTHER)


def symbol(element: int) -> str:
    found: str = _chem().GetPeriodicTable().GetElementSymbol(element)
    return found


def _label(atom: Any) -> str:
    """What stands at an atom: nothing at a carbon that lines lead to, else element, hydrogens and charge."""
    hydrogens, charge = atom.GetTotalNumHs(), atom.GetFormalCharge()
    if atom.GetSymbol() == "C" and atom.GetDegree() and not charge and not atom.GetIsotope():
        return ""
    told = f"H{hydrogens if hydrogens > 1 else ''}" if hydrogens else ""
    sign = f"{abs(charge) if abs(charge) > 1 else ''}{'+' if charge > 0 else '-'}" if charge else ""
    return f"{atom.GetIsotope() or ''}{atom.GetSymbol()}{told}{sign}"


@cache
def _chem() -> ModuleType:
    """RDKit's chemistry; what it has to say goes into errors, and never onto the server's output."""
    require("rdkit.RDLogger", "molecule", "reading a molecule").DisableLog("rdApp.*")
    return require("rdkit.Chem", "molecule", "reading a molecule")


def _with_sides(mol: Any) -> Any:
    """With its stereocentres and double bonds as they lie in space; a SMILES says for itself which it knows."""
    if mol.GetNumConformers():
        _chem().AssignStereochemistryFrom3D(mol)
    return mol


def _place(mol: Any, places: Any) -> None:
    """Put the atoms of a SMILES where an item says. Raises BadItem."""
    try:
        found = np.array(places, float)
    except (ValueError, TypeError, OverflowError):
        raise BadItem("coordinates are a list of three numbers for each atom") from None
    if found.shape != (mol.GetNumAtoms(), 3):
        raise BadItem(
            f"coordinates are {list(found.shape)} and the SMILES has {mol.GetNumAtoms()} atoms: three numbers each, in "
            "its order"
        )
    if not (np.abs(found) <= _FAR).all():  # nor NaN
        raise BadItem(f"coordinates hold a number that is not finite, or beyond {_FAR:g} ångström")
    conformer = _chem().Conformer(len(found))
    conformer.SetPositions(found)
    conformer.Set3D(True)
    mol.AddConformer(conformer)


def _kept(mol: Any) -> Structure:
    """The largest component without hydrogens, in canonical order."""
    chem = _chem()
    for number, atom in enumerate(mol.GetAtoms(), 1):
        atom.SetIntProp(_NUMBER, number)
    pieces = chem.GetMolFrags(mol, asMols=True) if "." in chem.MolToSmiles(mol) else (mol,)
    mol = min(pieces, key=lambda one: (-one.GetNumHeavyAtoms(), -_weight(one), chem.MolToSmiles(one)))
    mol = chem.RemoveHs(mol)
    chem.AssignStereochemistry(mol, cleanIt=True, force=True)
    mol = chem.RenumberAtoms(mol, np.argsort(list(chem.CanonicalRankAtoms(mol))).tolist())
    chem.AssignStereochemistry(mol, cleanIt=True, force=True)
    places = None
    if mol.GetNumConformers():
        places = mol.GetConformer().GetPositions()
        if not (np.abs(places) <= _FAR).all():  # nor NaN
            raise BadItem(f"coordinates hold a number that is not finite, or beyond {_FAR:g} ångström")
        if len(places) > 1 and (np.ptp(places, axis=0) == 0).all():
            raise BadItem("all atoms lie in one place: the molecule has no coordinates")
    if chem.MolFromSmiles(smiles := chem.MolToSmiles(mol)) is None:
        raise BadItem(f"the molecule is no sound chemistry: '{smiles[:60]}' cannot be read again")
    return Structure(
        smiles=smiles,
        atoms=np.array([_features(atom) for atom in mol.GetAtoms()], np.int64),
        bonds=np.array(
            [[bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), _kind(bond)] for bond in mol.GetBonds()], np.int64
        ).reshape(-1, 3),
        numbers=np.array([atom.GetIntProp(_NUMBER) for atom in mol.GetAtoms()], np.int64),
        places=None if places is None else places.astype(np.float32),
    )


def _weight(mol: Any) -> float:
    return float(sum(atom.GetMass() for atom in mol.GetAtoms()))


def _features(atom: Any) -> list[int]:
    side = atom.GetProp("_CIPCode") if atom.HasProp("_CIPCode") else ""
    hybrids = ("S", "SP", "SP2", "SP3", "SP3D", "SP3D2")
    kind = str(atom.GetHybridization())
    return [
        atom.GetAtomicNum(),
        1 + ("", "R", "S").index(side if side in ("R", "S") else ""),
        5 + int(np.clip(atom.GetFormalCharge(), -4, 4)),
        1 + min(atom.GetTotalNumHs(), 8),
        1 + min(atom.GetNumRadicalElectrons(), 4),
        1 + (hybrids.index(kind) if kind in hybrids else len(hybrids)),
        1 + atom.GetIsAromatic(),
        1 + atom.IsInRing(),
    ]


def _kind(bond: Any) -> int:
    types = ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC")
    kind, stereo = str(bond.GetBondType()), str(bond.GetStereo())
    side = {"STEREOZ": 1, "STEREOCIS": 1, "STEREOE": 2, "STEREOTRANS": 2}.get(stereo, 0)
    number = types.index(kind) if kind in types else 0  # of coordination count as single
    return 1 + (number * STEREO + side) * 2 + int(bond.GetIsConjugated())


def _lines(content: BinaryIO) -> Iterator[tuple[str, int, int]]:
    """The name of every SMILES of a file, a line each, and where its bytes begin and end."""
    for line in content:
        if line.strip():
            yield line.decode(errors="replace").split(None, 1)[-1].strip(), content.tell() - len(line), content.tell()


def _blocks(content: BinaryIO) -> Iterator[tuple[str, int, int]]:
    """The first line of every record of an SDF file, and where its bytes begin and end."""
    start, lines = 0, list[bytes]()
    for line in chain(iter(content.readline, b""), [_BETWEEN]):  # the last record may lack its end
        if line.strip() != _BETWEEN:
            lines.append(line)
            continue
        if any(one.strip() for one in lines):
            yield lines[0].decode(errors="replace").strip(), start, start + sum(map(len, lines))
        start, lines = content.tell(), []
