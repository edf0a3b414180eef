"""protein: one chain of residues, as FASTA, as a plain sequence, or from a structure (PDB, mmCIF) with its coordinates.

A decoded item is a `Chain`. Letters are IUPAC's, the ambiguous B, J, X and Z among them; gaps of an alignment and the
stop at the end are left out, lower case is read as upper. Tokens are those of TAPE (Rao et al. 2019, arXiv:1906.08230):
<cls>, a token for each residue, <sep>.
"""
# L residues, T = L + 2 tokens

import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, WithJsonSchema, model_validator

from enfold.archives import Slice
from enfold.errors import BadItem, TooLarge, require
from enfold.modalities import Arrays, Modality, Part, Sample, Spec, Stored, written_bytes

RESIDUES = "ABCDEFGHIKLMNOPQRSTUVWXYZ"  # each with a token of its own; J, leucine or isoleucine, is <unk>
STANDARD = "ACDEFGHIKLMNPQRSTVWY"  # those of the genetic code
PAD, MASK, CLS, SEP, UNK = range(5)
FIRST = 5  # token of the first residue: what stands before it is no residue
# Residues that behave alike, and the colour that each group is drawn in.
COLOURS = {
    "AVLIMJ": "#8fa9c9",  # aliphatic
    "FWY": "#c9a3d6",  # aromatic
    "KRH": "#e08a80",  # positive
    "DE": "#7fb3a0",  # negative
    "STNQ": "#a9cf8a",  # polar
    "GP": "#e8c97a",  # bends the chain
    "CU": "#e6e07a",  # with sulphur or selenium
    "BOXZ": "#c4c4c4",  # rare, or not known
}
COLOUR_OF = {letter: colour for letters, colour in COLOURS.items() for letter in letters}
_FASTA = (".fasta", ".fa", ".faa")
_GAPS = re.compile(r"[\s.\-]+")
_FOREIGN = re.compile(f"[^{RESIDUES}J]")
_PDB = re.compile(r"^(?:ATOM  |HETATM|HEADER    |SEQRES )", re.MULTILINE)
_MMCIF = re.compile(r"^(?:data_|_atom_site\.)", re.MULTILINE)
_NUCLEIC, _NUCLEIC_LENGTH = set("ACGTUN"), 30  # so many of these letters alone, with A, C and G, are no protein
_SHOWN = 8  # chains named in an error


@dataclass(frozen=True)
class Chain:
    sequence: str  # [L]
    name: str = ""
    coordinates: np.ndarray | None = None  # float32 [L, 3], ångström: of C-beta, of C-alpha where there is none

    def contacts(self, nearer: float = 8.0) -> np.ndarray:
        """Which residues lie nearer than so many ångström to each other: bool [L, L]. Raises BadItem."""
        if self.coordinates is None:
            raise BadItem("the protein has a sequence and no coordinates: send a structure (PDB, mmCIF)")
        apart = np.linalg.norm(self.coordinates[:, None] - self.coordinates, axis=2)
        return np.asarray(apart < nearer)


class ProteinPreprocess(Spec):
    """From residues to token ids [T] of `max_residues` + 2 at most."""

    max_residues: int = Field(510, ge=4)
    overlap: int = Field(64, ge=0)  # residues shared by neighbouring windows

    @model_validator(mode="after")
    def _windows_move(self) -> "ProteinPreprocess":
        if self.overlap >= self.max_residues:
            raise ValueError(f"overlap {self.overlap} must be less than max_residues {self.max_residues}")
        return self


class ProteinLimits(Spec):
    max_bytes: int = 16 * 2**20
    max_residues: int = 100_000
    max_parts: int = 1024


class ProteinJson(BaseModel, extra="forbid"):
    protein: Annotated[
        Any,
        WithJsonSchema(
            {
                "description": "a sequence, or the text of a FASTA, PDB or mmCIF file that holds one chain; or an "
                "object: a sequence with a name, or a structure and which of its chains is meant",
                "anyOf": [
                    {"type": "string"},
                    {
                        "type": "object",
                        "required": ["sequence"],
                        "properties": {"sequence": {"type": "string"}, "name": {"type": "string"}},
                    },
                    {
                        "type": "object",
                        "required": ["structure"],
                        "properties": {"structure": {"type": "string"}, "chain": {"type": "string"}},
                    },
                ],
            }
        ),
    ]


class Protein(Modality[Chain]):
    name = "protein"
    media_types = dict.fromkeys(_FASTA, "text/x-fasta") | {
        ".pdb": "chemical/x-pdb",
        ".ent": "chemical/x-pdb",
        ".cif": "chemical/x-mmcif",
        ".mmcif": "chemical/x-mmcif",
    }
    shared_types = {".json": "application/json", ".txt": "text/plain"}
    Preprocess, Limits, Json = ProteinPreprocess, ProteinLimits, ProteinJson
    batch_cost, light_bytes, ragged, inline, written = 2048, 4096, True, True, True

    @classmethod
    def records(cls, file: Path) -> list[Slice]:
        """Of a FASTA file with more than one, each under the first word of its header."""
        starts: dict[str, int] = {}
        with file.open("rb") as content:
            for line in content if file.name.lower().endswith(_FASTA) else ():
                if line.startswith(b">"):
                    name = " ".join(line[1:].decode(errors="replace").split()[:1]) or "record"
                    starts[name if name not in starts else f"{name} {len(starts) + 1}"] = content.tell() - len(line)
        ends = [*list(starts.values())[1:], file.stat().st_size]
        found = [Slice(file, name, at, end - at) for (name, at), end in zip(starts.items(), ends, strict=False)]
        return found if len(found) > 1 else []

    @property
    def input_size(self) -> int:
        """Tokens of the vocabulary."""
        return FIRST + len(RESIDUES)

    def read(self, item: Any) -> Chain:
        """From a file, its text, the object that JSON has, or a `Chain`. Raises BadItem or TooLarge.

        Of a structure the first model is taken; one of several different chains must be named.
        """
        if isinstance(item, Chain):
            return self._checked(item)
        if isinstance(item, str):
            item = item.encode("utf-8", "surrogatepass")
        if isinstance(item, Stored):
            item = self._decoded(self.file_bytes(item))
        if not isinstance(item, Mapping):
            raise BadItem(f"a protein is a sequence, a structure or a file of one, not {type(item).__name__}")
        given = {name: value for name, value in item.items() if value is not None}
        fields = {"sequence": "name", "structure": "chain"}
        content = next((name for name in fields if name in given), None)
        if content is None or set(given) - {content, fields[content]}:
            raise BadItem("a protein object has a sequence, and a name if it likes; or a structure, and its chain")
        if wrong := next((name for name, value in given.items() if not isinstance(value, str)), None):
            raise BadItem(f"{wrong} of a protein is a text, not {type(given[wrong]).__name__}")
        if content == "structure":
            return self._checked(_chain_of(given["structure"], given.get("chain")))
        return self._checked(Chain(given["sequence"], given.get("name", "")))

    def from_json(self, item: ProteinJson) -> bytes:
        """The text, or the object as the JSON it came in. Raises BadItem."""
        return written_bytes(item.protein, self.name)

    def prepare(self, value: Chain, *, parts: bool = False) -> list[Sample]:
        """Samples {"input_ids", "attention_mask": int64 [T]}: the beginning alone, or every window."""
        long, step = self.preprocess.max_residues, self.preprocess.max_residues - self.preprocess.overlap
        count = len(value.sequence)
        starts = [*range(0, max(count - self.preprocess.overlap, 1), step)] if parts else [0]
        if len(starts) > self.limits.max_parts:
            raise TooLarge(
                f"the protein has {count:,} residues, {len(starts):,} windows of {long}; at most "
                f"{self.limits.max_parts:,}: send its domains"
            )
        ids = tokens(value.sequence)
        made = [framed(ids[start : start + long]) for start in starts]
        whole = [Part(index=i, start=at, end=min(at + long, count)) for i, at in enumerate(starts)]
        kept = whole if len(starts) > 1 else [None]
        return [
            Sample(
                {"input_ids": one, "attention_mask": np.ones(len(one), np.int64)},
                part,
                {"sequence": value.sequence, "start": start},
            )
            for one, part, start in zip(made, kept, starts, strict=True)
        ]

    def collate(self, samples: Sequence[Sample]) -> Arrays:
        """Pad to the longest: [B, T]; padding has attention 0."""
        longest = max(map(self.cost, samples))
        return {
            name: np.stack([np.pad(one.arrays[name], (0, longest - self.cost(one))) for one in samples])
            for name in ("input_ids", "attention_mask")
        }

    def prepared(self, arrays: Arrays) -> list[Sample]:
        """Of input_ids and attention_mask [N, T]: <cls>, residues, <sep>, then padding."""
        ids, mask = arrays["input_ids"], arrays["attention_mask"]
        most = self.preprocess.max_residues + 2
        if ids.shape != mask.shape:
            raise BadItem(f"input_ids {list(ids.shape)} and attention_mask {list(mask.shape)} are not of one shape")
        if not 3 <= ids.shape[1] <= most:
            raise BadItem(f"a row has {ids.shape[1]} tokens; this model takes 3 to {most}, <cls> and <sep> among them")
        if ids.min() < 0 or ids.max() >= self.input_size:
            raise BadItem(f"input_ids go from {ids.min()} to {ids.max()}; the vocabulary has {self.input_size} tokens")
        if not np.isin(mask, (0, 1)).all() or (mask[:, 1:] > mask[:, :-1]).any() or not (mask.sum(1) >= 3).all():
            raise BadItem("attention_mask is 1 for <cls>, the residues and <sep>, then 0 for padding")
        if not ((ids >= FIRST) & (mask == 1)).any(1).all():
            raise BadItem(f"a row has no residue: input_ids from {FIRST} on are residues, those below special tokens")
        return super().prepared(arrays)

    def words(self, value: Chain, part: Part | None = None) -> str | None:
        """What its header says."""
        return value.name or None

    def cost(self, sample: Sample) -> int:
        return len(sample.arrays["input_ids"])  # tokens

    def mark(self, value: Chain) -> str:
        """A digest of the sequence: a structure is a copy of its sequence."""
        return hashlib.sha256(value.sequence.encode()).hexdigest()

    def thumbnail(self, value: Chain, side: int = 96) -> bytes:
        """Residues line by line, each in the colour of its group."""
        from PIL import Image, ImageColor

        across = int(np.ceil(np.sqrt(min(len(value.sequence), side * side))))
        shades = {letter: ImageColor.getrgb(colour) for letter, colour in COLOUR_OF.items()}
        cells = np.full((across * across, 3), 255, np.uint8)
        shown = value.sequence[: across * across]
        cells[: len(shown)] = [shades[letter] for letter in shown]
        page, file = Image.fromarray(cells.reshape(across, across, 3)), io.BytesIO()
        page.resize((side, side), Image.Resampling.NEAREST).save(file, "WEBP", quality=85)
        return file.getvalue()

    def _decoded(self, data: bytes) -> Any:
        """By what its lines begin with: a file may come without a name."""
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadItem(
                f"the protein is no text (byte {error.start}): send FASTA, a sequence, PDB or mmCIF"
            ) from None
        if text.lstrip().startswith("{"):
            try:
                return json.loads(text)
            except (ValueError, RecursionError) as error:
                raise BadItem(f"the protein is no JSON, or cut short ({str(error)[:80]})") from None
        if text.lstrip().startswith(">"):
            return _record(text)
        return {"structure" if _PDB.search(text) or _MMCIF.search(text) else "sequence": text}

    def _checked(self, chain: Chain) -> Chain:
        """In upper case, without gaps, nothing but residues. Raises BadItem or TooLarge."""
        if chain.coordinates is not None:
            sequence = chain.sequence
        else:
            sequence = _GAPS.sub("", chain.sequence).upper().removesuffix("*")
        if len(sequence) > self.limits.max_residues:
            raise TooLarge(
                f"the protein has {len(sequence):,} residues; at most {self.limits.max_residues:,}: send its domains"
            )
        if not sequence:
            raise BadItem("the sequence is empty: there is no residue in it")
        if found := _FOREIGN.search(sequence):
            where = f"letter {found.start() + 1} of the sequence is {found[0]!r}"
            if found[0] == "*":
                raise BadItem(f"{where}, a stop: cut the protein there, or choose another reading frame")
            raise BadItem(f"{where}, which is no residue: they are {', '.join(RESIDUES + 'J')}")
        if len(sequence) >= _NUCLEIC_LENGTH and set("ACG") <= set(sequence) <= _NUCLEIC:
            raise BadItem(f"the sequence is of {', '.join(sorted(set(sequence)))} alone, a nucleic acid: translate it")
        return Chain(sequence, chain.name, chain.coordinates)


def tokens(sequence: str) -> np.ndarray:
    """Of residues, int64 [L]; a letter without a token of its own is <unk>."""
    return _TOKENS[np.frombuffer(sequence.encode(), np.uint8)]


def framed(ids: np.ndarray) -> np.ndarray:
    """<cls>, the residues, <sep>: int64 [L + 2]."""
    return np.concatenate([[CLS], ids, [SEP]])


_TOKENS = np.full(128, UNK, np.int64)
_TOKENS[[ord(letter) for letter in RESIDUES]] = FIRST + np.arange(len(RESIDUES))


def _record(text: str) -> dict[str, str]:
    """The one record of a FASTA text."""
    parser = require("Bio.SeqIO.FastaIO", "protein", "reading FASTA").SimpleFastaParser
    try:
        records = list(parser(io.StringIO(text)))
    except ValueError as error:
        raise BadItem(f"the FASTA cannot be read ({error})") from None
    if len(records) != 1:
        raise BadItem(
            f"the FASTA holds {len(records):,} records and an item is one: send them one by one, or name the file as a "
            "source"
        )
    [(name, sequence)] = records
    return {"sequence": sequence, "name": name.strip()}


def _chain_of(text: str, wanted: str | None) -> Chain:
    """A chain of the first model of a PDB or mmCIF text: the one wanted, or the one that all are alike."""
    pdb = require("Bio.PDB", "protein", "reading a structure")
    parser = pdb.MMCIFParser(QUIET=True) if _MMCIF.search(text) else pdb.PDBParser(QUIET=True)
    try:
        structure = parser.get_structure("", io.StringIO(text))
        chains = {chain.id: _residues(chain) for model in list(structure)[:1] for chain in model}
        name = " ".join(str(structure.header.get(field) or "") for field in ("idcode", "name")).strip()
    except Exception as error:  # its parsers raise whatever the lines lead them to
        raise BadItem(f"the structure is damaged or cut short ({str(error)[:80]})") from None
    chains = {id: chain for id, chain in chains.items() if chain.sequence}
    listed = ", ".join(f"{id} ({len(chain.sequence)})" for id, chain in list(chains.items())[:_SHOWN])
    if not chains:
        raise BadItem("the structure has no residue of a protein with coordinates in its first model")
    if wanted is not None and wanted not in chains:
        raise BadItem(f"the structure has no chain '{wanted[:20]}' of a protein: it has {listed}")
    if wanted is None and len({chain.sequence for chain in chains.values()}) > 1:
        raise BadItem(
            f"the structure has {len(chains)} different chains, {listed}: send one of them, or name it in JSON "
            '({"structure": "…", "chain": "A"})'
        )
    found = next(iter(chains.values())) if wanted is None else chains[wanted]
    return Chain(found.sequence, name, found.coordinates)


def _residues(chain: Any) -> Chain:
    """The residues of a protein that a chain of a structure has coordinates of, modified ones as what they were."""
    data = require("Bio.Data", "protein", "reading a structure")
    plain = {name.upper(): one for name, one in data.IUPACData.protein_letters_3to1_extended.items()}
    known = data.PDBData.protein_letters_3to1_extended | plain
    letters, places = [], []
    for residue in chain:
        hetero, name = residue.id[0], residue.resname.strip().upper()
        # Waters, ligands and single amino acids between them are no part of the chain.
        if "CA" not in residue or (hetero.strip() and (name in plain or name not in known)):
            continue
        letters.append(known.get(name, "X"))
        places.append(residue["CB" if "CB" in residue else "CA"].coord)
    return Chain("".join(letters), coordinates=np.array(places, np.float32).reshape(-1, 3))
