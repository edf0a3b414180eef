"""Items of every modality: what the contract suite, and whoever else needs a real file of a kind, goes by.

A modality is in the suite by having its examples here: a file for every suffix that it reads.
"""

import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import laspy
import networkx
import nibabel
import numpy as np
import pyarrow as pa
import soundfile
import trimesh
from Bio.Data.IUPACData import protein_letters_1to3_extended
from Bio.PDB import MMCIFIO, PDBParser
from PIL import Image
from pyarrow import parquet
from rdkit import Chem
from rdkit.Chem import rdDistGeom
from tokenizers import Tokenizer, models, pre_tokenizers

from enfold.modalities import get
from enfold.modalities.audio import AudioPreprocess
from enfold.modalities.graph import GraphPreprocess
from enfold.modalities.image import ImagePreprocess, Tile
from enfold.modalities.molecule import MoleculePreprocess
from enfold.modalities.multispectral import Band, MultispectralPreprocess, Raster
from enfold.modalities.points import PointsPreprocess
from enfold.modalities.protein import ProteinPreprocess
from enfold.modalities.radiance import RadiancePreprocess
from enfold.modalities.records import RecordsPreprocess
from enfold.modalities.series import SeriesPreprocess
from enfold.modalities.splats import SplatsPreprocess, ply
from enfold.modalities.table import TablePreprocess
from enfold.modalities.text import TOKENIZER, TextPreprocess
from enfold.modalities.trajectory import TrajectoryPreprocess
from enfold.modalities.video import VideoPreprocess
from enfold.modalities.volume import VolumePreprocess
from tests import scans
from training.data.rasters import geotiff


@dataclass(frozen=True)
class Examples:
    preprocess: Any
    files: dict[str, bytes]  # suffix -> a file
    large: bytes  # one that the encoder takes in parts, and that costs no less than any of `files`
    bad: dict[str, bytes]  # what is wrong -> a file
    write: Callable[[Path], None] = field(default=lambda folder: None)  # the resources that preprocess names


def examples(modality: str) -> Examples:
    """Raises KeyError for a modality without examples: write them."""
    found: Examples = globals()[f"_{modality}"]()
    return found


def reader(modality: str, folder: Path) -> Any:
    """The modality, with its resources written to `folder`."""
    found = examples(modality)
    found.write(folder)
    return get(modality)(found.preprocess, folder=folder)


def _audio() -> Examples:
    noise = np.random.default_rng(0).normal(0, 0.1, (24_000, 2))
    vorbis = sound(noise, "OGG", "VORBIS", 22_050)
    return Examples(
        AudioPreprocess(rate=8000, mels=16, frames=200),
        {
            ".wav": sound(noise[:9000], "WAV"),
            ".flac": sound(noise, "FLAC"),
            ".ogg": vorbis,
            ".oga": vorbis,
            ".opus": sound(noise, "OGG", "OPUS", 24_000),
            ".mp3": sound(noise, "MP3", rate=44_100),
        },
        large=sound(np.tile(noise, (5, 1)), "FLAC"),
        bad={
            "a text": b"nothing of the kind",
            "no samples": sound(noise[:0], "WAV"),
            "eight samples a second": sound(noise[:40], "WAV", rate=8),
            "not a number": sound(np.full(800, np.nan), "WAV", "FLOAT"),
            "infinite": sound(np.full(800, np.inf), "WAV", "FLOAT"),
            "twenty channels": sound(np.zeros((800, 20)), "WAV"),
            "a format that is none of these": sound(noise, "AIFF"),
        },
    )


def _image() -> Examples:
    kinds = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".gif": "GIF", ".bmp": "BMP"}
    kinds |= {".tif": "TIFF", ".tiff": "TIFF"}
    moving = io.BytesIO()
    frames = [Image.fromarray(_colours(8, 8, seed)) for seed in range(3)]
    frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:])
    return Examples(
        ImagePreprocess(size=16, tile=Tile(side=16)),
        {suffix: _picture(kind) for suffix, kind in kinds.items()},
        large=_picture("PNG", 64),
        bad={"an animation": moving.getvalue(), "one pixel": _picture("PNG", 1), "a text": b"nothing of the kind"},
    )


BANDS = ("red", "green", "blue", "night")


def bands(side: int, seed: int = 0) -> Raster:
    """Four bands of uint16 on a map, one pixel a tenth of a degree."""
    values = np.random.default_rng(seed).integers(1, 3000, (len(BANDS), side, side)).astype(np.uint16)
    return Raster(values, BANDS, np.array([[0.1, 0, 10], [0, -0.1, 50]]), "EPSG:4326")


def _multispectral() -> Examples:
    small, infinite = bands(24), np.full((4, 8, 8), np.inf, np.float32)
    kinds = (".geotiff", ".gtiff", ".tif", ".tiff")
    return Examples(
        MultispectralPreprocess(bands=tuple(Band(name=name, mean=1500, std=600) for name in BANDS), size=16, tile=16),
        {**dict.fromkeys(kinds, geotiff(small)), ".npy": npy(small.values)},
        large=geotiff(bands(64)),
        bad={
            "three bands": geotiff(Raster(small.values[:3], BANDS[:3])),
            "bands without names": geotiff(Raster(small.values)),
            "an array of three bands": npy(small.values[:3]),
            "two axes": npy(small.values[0]),
            "no pixels": npy(small.values[:, :0]),
            "objects": npy(np.array([[[None]]])),
            "complex": npy(small.values.astype(np.complex64)),
            "infinity": npy(infinite),
            "nothing measured": npy(np.full((4, 8, 8), np.nan, np.float32)),
            "a picture": _picture("PNG"),
            "a text": b"nothing of the kind",
            "nothing": b"",
        },
    )


def _table() -> Examples:
    row = {"age": 61, "sex": "f", "smoker": True, "grade": None, "note": "a b c d e f g h"}
    spread = [row | {"age": 30.5, "smoker": False}, row | {"age": 90, "grade": 2}, row | {"grade": 3}]

    def write(folder: Path) -> None:
        modality = get("table")(None)
        words(folder, "abcdefghijklmnopqrstuvwxyz")
        for path, content in get("table")(modality.Preprocess()).learnt(map(modality.read, spread)).items():
            (folder / path).write_bytes(content)

    listed = ",".join(row) + "\n61,f,true,,a b c d e f g h\n"
    return Examples(
        TablePreprocess(max_tokens=16, name_pieces=4),
        {".json": json.dumps(row).encode(), ".csv": listed.encode()},
        large=json.dumps(row | {f"{one} {two}": f"{two} {one}" for one in "abcd" for two in "efgh"}).encode(),
        bad={
            "nothing": b"",
            "an empty object": b"{}",
            "no values": b'{"age": null, "sex": NaN}',
            "a list": b'[{"age": 3}]',
            "a list in a cell": b'{"age": [1, 2]}',
            "an object in a cell": b'{"age": {"years": 3}}',
            "cut short": b'{"age": 3',
            "infinity": b'{"age": Infinity}',
            "a huge number": b'{"age": ' + b"9" * 400 + b"}",
            "far from training": b'{"age": 1e9}',
            "a word for a number": b'{"age": "old"}',
            "none of the trained columns": b'{"weight": 3}',
            "no name": b'{"": 3}',
            "a name twice": b'{"age": 3, "age": 4}',
            "a name twice in a CSV": b"age,age\n3,4\n",
            "two rows": b"age,sex\n3,f\n4,m\n",
            "a cell too many": b"age\n3,4\n",
            "two encodings": "note,sex\né,f\n".encode() + b"\xe9",
            "a text of 1 MB": json.dumps({"note": "x" * 2**20}).encode(),
            "a CSV with a text of 1 MB": b"note\n" + b"x" * 2**20,
            "too many columns": json.dumps({f"c{i}": i for i in range(10_001)}).encode(),
            "deep": b'{"age": ' + b"[" * 100_000,
        },
        write=write,
    )


def _records() -> Examples:
    events = [
        {"time": 0, "code": "weight", "value": 81.5},
        {"time": 0, "code": "cough"},
        {"time": 40.5, "code": "weight", "value": 79},
        {"time": 400, "code": "fever", "value": 38.5},
    ]
    person = {"events": events, "about": {"age": 61, "sex": "f"}, "until": 800}
    others = [person | {"about": {"age": 30, "sex": "m"}}, person]
    listed = "time,code,value\n0,weight,81.5\n40.5,weight,79\n0,cough,\n60,fever,39\n500,cough,\n"

    def write(folder: Path) -> None:
        modality = get("records")(RecordsPreprocess())
        (folder / "resources").mkdir(parents=True, exist_ok=True)
        for path, content in modality.learnt(map(modality.read, others)).items():
            (folder / path).write_bytes(content)

    def event(**facts: Any) -> bytes:
        return json.dumps([{"time": 1, "code": "cough"} | facts]).encode()

    return Examples(
        RecordsPreprocess(max_visits=8, visit_codes=3, places=4),
        {
            ".json": json.dumps(person).encode(),
            ".csv": listed.encode(),
            ".parquet": columnar(
                {"time": [0.0, 3, 9, 400], "code": ["cough", "fever", "weight", "cough"], "value": [None, 39, 80, None]}
            ),
        },
        large=json.dumps([{"time": 30 * i, "code": "cough"} for i in range(30)]).encode(),
        bad={
            "nothing": b"",
            "a text": b"nothing of the kind",
            "no events": b'{"events": [], "about": {"age": 3}}',
            "a number": b'{"events": 3}',
            "another field": b'{"events": [{"time": 1, "code": "cough"}], "name": "x"}',
            "an event without a time": b'[{"code": "cough"}]',
            "an event without a code": event(code=" "),
            "a negative time": event(time=-3),
            "infinity": b'[{"time": Infinity, "code": "cough"}]',
            "a time in seconds": event(time=1_700_000_000),
            "no time": event(time="yesterday"),
            "days and dates": b'[{"time": 1, "code": "cough"}, {"time": "2020-01-01", "code": "cough"}]',
            "words for a value": event(value="high"),
            "an event after the end": b'{"events": [{"time": 9, "code": "cough"}], "until": 8}',
            "no code that training knows": event(code="plague"),
            "a long code": event(code="x" * 300),
            "a fact of another kind": b'{"events": [{"time": 1, "code": "cough"}], "about": {"age": "old"}}',
            "several persons": b"person,time,code\n1,0,cough\n2,3,cough\n",
            "a row too long": b"time,code\n1,cough,3\n",
            "two encodings": "time,code\n1,é\n".encode() + b"2,\xe9\n",
            "too many events": b"time,code\n" + b"1,a\n" * 200_001,
            "deep": b"[" * 100_000,
        },
        write=write,
    )


def _trajectory() -> Examples:
    def steps(count: int) -> dict[str, Any]:
        return {"actions": [i % 3 for i in range(count)], "rewards": [0.25 * i for i in range(count)]}

    def changed(**facts: Any) -> bytes:
        return json.dumps(steps(4) | facts).encode()

    return Examples(
        TrajectoryPreprocess(actions=3, horizon=8),
        {".json": changed()},
        large=json.dumps(steps(20)).encode(),
        bad={
            "nothing": b"",
            "a text": b"nothing of the kind",
            "a list": b"[1, 2]",
            "no rewards": b'{"actions": [1]}',
            "rewards of null": changed(rewards=None),
            "fewer rewards": changed(rewards=[1]),
            "a fourth action": changed(actions=[0, 1, 2, 3]),
            "a negative action": changed(actions=[0, 1, 2, -1]),
            "half an action": changed(actions=[0, 1, 2, 0.5]),
            "infinity": changed(rewards=[0, 1, 2, float("inf")]),
            "words": changed(rewards=[0, 1, 2, "much"]),
            "a state too few": changed(observations=[1, 1, 1, 1]),
            "states of two lengths": changed(observations=[[1], [1], [1], [1], [1, 2]]),
            "states of two numbers": changed(observations=[[1, 2]] * 5),
            "an end without a beginning": changed(next_observations=[1, 1, 1, 1]),
            "another field": changed(done=[False] * 4),
            "a query of two numbers": changed(query=[1, 2]),
            "deep": b'{"actions": ' + b"[" * 100_000,
        },
    )


PEPTIDE = "MKTAYIAKQRWGDEVHPFSNCLXB"


def pdb(*sequences: str, element: str = "ATOM  ") -> bytes:
    """Chains A, B, … of a file of the Protein Data Bank, each a helix of C-alpha and C-beta."""
    names, lines, serial = {letter: name.upper() for letter, name in protein_letters_1to3_extended.items()}, [], 0
    for number, sequence in enumerate(sequences):
        chain = "ABCDEFGH"[number]
        for place, letter in enumerate(sequence, 1):
            turn, rise = np.radians(100 * place), 1.5 * place
            for atom, far in (("CA", 2.3), ("CB", 3.3))[: 1 if letter == "G" else 2]:
                serial += 1
                x, y, z = far * np.cos(turn) + 20 * number, far * np.sin(turn), rise
                lines.append(
                    f"{element}{serial:5d}  {atom:<3} {names[letter]} {chain}{place:4d}    {x:8.3f}{y:8.3f}{z:8.3f}"
                    "  1.00  0.00           C"
                )
        lines.append("TER")
    return "\n".join([*lines, "END", ""]).encode()


def mmcif(file: bytes) -> bytes:
    """The same as mmCIF."""
    written, found = MMCIFIO(), io.StringIO()
    written.set_structure(PDBParser(QUIET=True).get_structure("one", io.StringIO(file.decode())))
    written.save(found)
    return found.getvalue().encode()


ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


def folded(smiles: str, name: str = "", *, flat: bool = False, seed: int = 1) -> Any:
    """A molecule of RDKit with its hydrogens, in space or drawn on paper."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    if not flat:
        assert rdDistGeom.EmbedMolecule(mol, randomSeed=seed) == 0
    mol.SetProp("_Name", name)
    return mol


def sdf(*molecules: Any) -> bytes:
    """A file of so many records."""
    return "".join(f"{Chem.MolToMolBlock(one)}> <source>\ntests\n\n$$$$\n" for one in molecules).encode()


def _molecule() -> Examples:
    space, paper = folded(ASPIRIN, "aspirin"), folded(ASPIRIN, "aspirin", flat=True)
    block, line = Chem.MolToMolBlock(space), Chem.MolToMolBlock(space).splitlines()[4][:10]

    def changed(**facts: Any) -> bytes:
        return json.dumps({"smiles": "CCO"} | facts).encode()

    return Examples(
        MoleculePreprocess(max_atoms=16),
        {
            **dict.fromkeys((".smi", ".smiles"), f"{ASPIRIN} aspirin\n".encode()),
            ".txt": ASPIRIN.encode(),
            ".sdf": sdf(space),
            ".mol": Chem.MolToMolBlock(paper).encode(),
            ".xyz": Chem.MolToXYZBlock(space).encode(),
            ".json": changed(coordinates=[[0, 0, 0], [1.5, 0, 0], [2, 1.3, 0]], name="alcohol"),
        },
        large=("C1CC1" + "CC(O)C" * 12).encode(),
        bad={
            "nothing": b"",
            "blanks": b" \n",
            "no SMILES": b"nothing of the kind",
            "a ring that does not close": b"C1CC",
            "five bonds of carbon": b"C(C)(C)(C)(C)C",
            "no aromatic ring": b"c1cccc1",
            "any atom": b"C*",
            "parentheses alone": b"(" * 3000,
            "ten thousand atoms": b"C" * 10_000,
            "a thousand and one": b"[H]" + b"C" * 1_001,
            "two SMILES": b"CCO\nCCN\n",
            "two records": sdf(space, paper),
            "no UTF-8": b"\xff\xfeCC",
            "a block cut short": block[:300].encode(),
            "no block": b"\n\n\nV2000\nM  END\n",
            "NaN in a block": block.replace(line, "       nan").encode(),
            "words in a block": block.replace(line, "     north").encode(),
            "a block of too many lines": (block[:300] + "\n" * 9_000).encode(),
            "all in one place": changed(coordinates=[[1, 1, 1]] * 3),
            "an XYZ file without hydrogens": Chem.MolToXYZBlock(Chem.RemoveHs(space)).encode(),
            "an XYZ file of words": b"2\n\nC x y z\nO 1 1 1\n",
            "an XYZ file of NaN": b"2\n\nC nan 0 0\nO 1 1 1\n",
            "an XYZ file of too many": b"300\n\n" + b"He 0 0 0\n" * 300,
            "fewer coordinates": changed(coordinates=[[0, 0, 0]]),
            "NaN": changed(coordinates=[[0, 0, 0], [1, 0, 0], [2, 1, float("nan")]]),
            "infinity": changed(coordinates=[[0, 0, 0], [1, 0, 0], [2, 1, float("inf")]]),
            "a huge number": changed(coordinates=[[0, 0, 0], [1, 0, 0], [2, 1, 10**400]]),
            "words for coordinates": changed(coordinates="here"),
            "no coordinates to look at": changed(views="3d"),
            "other views": changed(views="4d"),
            "a list": changed(smiles=["C"]),
            "another field": changed(charge=1),
            "no molecule": b'{"name": "alcohol"}',
            "cut short": b'{"smiles": "CCO"',
        },
    )


def _protein() -> Examples:
    fasta, folded = f">one of us\n{PEPTIDE[:12]}\n{PEPTIDE[12:].lower()}\n".encode(), pdb(PEPTIDE)
    two = pdb("MKTAYI", "WGDEVH")
    return Examples(
        ProteinPreprocess(max_residues=16, overlap=4),
        {
            **dict.fromkeys((".fasta", ".fa", ".faa"), fasta),
            **dict.fromkeys((".pdb", ".ent"), folded),
            **dict.fromkeys((".cif", ".mmcif"), mmcif(folded)),
            ".json": json.dumps({"sequence": PEPTIDE, "name": "one of us"}).encode(),
            ".txt": f"{PEPTIDE[:10]} {PEPTIDE[10:]}*\n".encode(),
        },
        large=f">long\n{PEPTIDE * 9}".encode(),
        bad={
            "nothing": b"",
            "blanks": b" \n",
            "gaps alone": b">gaps\n---...---\n",
            "a header alone": b">nobody\n",
            "two records": fasta + fasta,
            "a number": b"MKT4AYI",
            "a letter beyond ASCII": "MKTÄYI".encode(),
            "a stop within": b"MKT*AYI",
            "a gene": b">gene\n" + b"ATGACCGCGTACATT" * 3,
            "no UTF-8": b"\xff\xfeMKT",
            "two chains": two,
            "two chains in mmCIF": mmcif(two),
            "a chain that is not there": json.dumps({"structure": two.decode(), "chain": "C"}).encode(),
            "a chain of a sequence": b'{"sequence": "MKT", "chain": "A"}',
            "a number for a sequence": b'{"sequence": 3}',
            "a list": b'{"sequence": ["M"]}',
            "cut short": b'{"sequence": "MKT"',
            "a structure without atoms": b"HEADER    HYDROLASE\nSEQRES   1 A    3  MET LYS THR\nEND\n",
            "coordinates that are words": folded.replace(b"1.500", b"north"),
            "water alone": pdb("X", element="HETATM").replace(b"XAA", b"HOH"),
            "mmCIF without atoms": b"data_one\n_entry.id one\n",
            "mmCIF cut within a loop": mmcif(folded)[:600],
            "deep": b'{"sequence": ' + b"[" * 100_000,
        },
    )


def ring(count: int) -> dict[str, Any]:
    """A graph of so many nodes in a circle, each with two numbers and a text; node 1 is its centre."""
    nodes = [{"id": f"n{i}", "text": f"{'red' if i % 2 else 'blue'} thing", "x": [i / 10, i % 3]} for i in range(count)]
    return {"nodes": nodes, "edges": [[f"n{i}", f"n{(i + 1) % count}"] for i in range(count)], "centre": "n1"}


def graphml(count: int) -> bytes:
    """A circle again, its numbers by name."""
    made = networkx.cycle_graph(count)
    for node, facts in made.nodes(data=True):
        facts |= {"charge": node % 2, "mass": 1.5 * node, "text": "green thing"}
    return "\n".join(networkx.generate_graphml(made)).encode()


def _graph() -> Examples:
    def changed(**facts: Any) -> bytes:
        return json.dumps(ring(5) | facts).encode()

    def numbers(*rows: Any) -> bytes:
        return json.dumps({"x": rows, "edges": [[0, 1]]}).encode()

    file = graphml(4)
    return Examples(
        GraphPreprocess(features=2, neighbours=3, max_nodes=8),
        {".json": changed(), ".graphml": file},
        large=json.dumps(ring(20)).encode(),
        bad={
            "nothing": b"",
            "a text": b"nothing of the kind",
            "a list": b"[[0, 1]]",
            "no nodes": b'{"nodes": [], "edges": []}',
            "a node twice": changed(nodes=ring(5)["nodes"] + ring(1)["nodes"]),
            "an edge into nowhere": changed(edges=[["n0", "n9"]]),
            "an edge of three": changed(edges=[["n0", "n1", "n2"]]),
            "an edge of one end": changed(edges=[{"source": "n0"}]),
            "edges that are a number": changed(edges=3),
            "nodes that are words": changed(nodes=["n0", "n1"]),
            "a node that is null": changed(nodes=[None]),
            "null for a number": numbers([1, 2], [1, None]),
            "null for an edge": changed(edges=[None]),
            "null for an end": changed(edges=[["n0", None]]),
            "a centre elsewhere": changed(centre="n9"),
            "a text too few": changed(nodes=[*ring(5)["nodes"][1:], {"id": "n0", "x": [1, 2]}]),
            "NaN": numbers([1, 2], [1, float("nan")]),
            "infinity": numbers([1, 2], [float("inf"), 2]),
            "a huge number": numbers([1, 2], [10**400, 2]),
            "a word for a number": numbers([1, 2], [1, "much"]),
            "three numbers": numbers([1, 2, 3], [1, 2, 3]),
            "one number more": numbers([1, 2], [1, 2, 3]),
            "no numbers": b'{"nodes": [{"id": 1}, {"id": 2}], "edges": [[1, 2]]}',
            "a number under another name": file.replace(b'"charge"', b'"load"', 1).replace(
                b'<data key="d0">0</data>', b"", 1
            ),
            "a document type": b"<!DOCTYPE graphml>" + file,
            "a document type in UTF-16": ("<!DOCTYPE graphml>" + file.decode()).encode("utf-16-le"),
            "GraphML that is none": file.replace(b"graphml", b"graph"),
            "an edge into nowhere in GraphML": file.replace(b'target="1"', b'target="9"'),
            "deep": b'{"nodes": ' + b"[" * 100_000,
        },
    )


def words(folder: Path, known: Sequence[str]) -> None:
    """A tokenizer of these words."""
    numbers = {word: i for i, word in enumerate(("[PAD]", "[UNK]", *known))}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    (folder / "resources").mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / TOKENIZER))


def _text() -> Examples:
    return Examples(
        TextPreprocess(max_tokens=8, overlap_tokens=2),
        dict.fromkeys((".txt", ".md"), b"a b c"),
        large=b"a b c d " * 9,
        bad={"nothing": b"", "blanks": b" \n", "no UTF-8": b"\xff\xfe a"},
        write=lambda folder: words(folder, "abcdefghijklmnopqrstuvwxyz"),
    )


def _video() -> Examples:
    still, frames = _picture("PNG"), [_colours(24, 32, seed) for seed in range(9)]
    return Examples(
        VideoPreprocess(size=16, frames=3),
        {
            ".mp4": film(frames, "mp4", "libx264"),
            ".webm": film(frames, "webm", "libvpx-vp9"),
            ".gif": animation(frames, "GIF"),
            ".webp": animation(frames, "WEBP"),
            ".frames.zip": zipped({f"{i}.png": still for i in range(9)}),
        },
        large=animation([_colours(24, 32, seed) for seed in range(20)], "GIF"),
        bad={
            "a text": b"nothing of the kind",
            "no frames": film([], "mp4", "mpeg4"),
            "an empty zip": zipped({}),
            "a frame that is none": zipped({"1.png": still, "2.png": b"no picture"}),
            "frames of two sizes": zipped({"1.png": still, "2.png": _picture("PNG", 25)}),
        },
    )


def _points() -> Examples:
    box = trimesh.creation.box((2, 1, 0.5))
    cloud = np.random.default_rng(0).normal(size=(300, 3)) * (3, 2, 1)

    def exported(thing: Any, kind: str) -> bytes:
        found = thing.export(file_type=kind)
        return found.encode() if isinstance(found, str) else bytes(found)

    def las(file: str) -> bytes:
        scan, made = laspy.create(), io.BytesIO()
        scan.header.scales = (0.001, 0.001, 0.001)
        scan.xyz = cloud
        scan.write(made, do_compress=file == "laz")
        return made.getvalue()

    huge = exported(trimesh.PointCloud(cloud), "ply").replace(b"vertex 300", b"vertex 900000000", 1)
    holes = cloud.copy()
    holes[7, 1] = np.nan
    scan, squeezed, many = las("las"), las("laz"), struct.pack("<I", 4_000_000_000)
    [table] = struct.unpack_from("<q", squeezed, laspy.open(io.BytesIO(squeezed)).header.offset_to_point_data)
    return Examples(
        PointsPreprocess(points=64, patches=8, neighbours=4, window=4.0),
        {
            ".ply": exported(trimesh.PointCloud(cloud), "ply"),
            ".obj": exported(box, "obj"),
            ".stl": exported(box, "stl"),
            ".xyz": "\n".join(" ".join(map(str, row)) for row in cloud).encode(),
            ".las": scan,
            ".laz": squeezed,
            ".npy": npy(cloud),
        },
        large=npy(np.concatenate([cloud, cloud + np.array((40, 0, 0)), cloud + np.array((0, 40, 0))])),
        bad={
            "nothing": b"",
            "a text": b"nothing of the kind",
            "no points": npy(np.zeros((0, 3))),
            "one point": npy(np.ones((1, 3))),
            "one place": npy(np.ones((50, 3))),
            "two axes": npy(cloud[:, :2]),
            "NaN": npy(holes),
            "far away": npy(cloud * 1e30),
            "objects": npy(np.array([[None] * 3] * 9)),
            "a header that never ends": npy(cloud).replace(b"}", b"(", 1),
            "records without number": scan[:100] + many + scan[104:],
            "chunks without number": squeezed[: table + 4] + many + squeezed[table + 8 :],
            "no faces": b"solid nothing\nendsolid nothing\n",
            "no area": b"v 0 0 0\nv 1 1 1\nv 2 2 2\n" * 3 + b"f 1 2 3\n",
            "an announcement": huge,
        },
    )


def splats(count: int, seed: int = 0) -> np.ndarray:
    """A cloud of small Gaussians of all colours, [count, 14]."""
    rng = np.random.default_rng(seed)
    turn = rng.normal(size=(count, 4))
    turn *= np.sign(turn[:, :1]) / np.linalg.norm(turn, axis=1, keepdims=True)
    place, opacity = rng.normal(size=(count, 3)) * (3, 2, 1), rng.uniform(0.1, 0.9, (count, 1))
    scale, colour = rng.uniform(0.05, 0.3, (count, 3)), rng.uniform(-1.5, 1.5, (count, 3))
    return np.concatenate([place, opacity, scale, turn, colour], 1)


def _splats() -> Examples:
    cloud = splats(300)

    def changed(column: int, to: float) -> np.ndarray:
        other = cloud.copy()
        other[7, column] = to
        return other

    apart = [cloud, cloud, cloud]
    for number, offset in enumerate(((0, 0), (40, 0), (0, 40))):
        apart[number] = cloud.copy()
        apart[number][:, :2] += offset
    file = ply(cloud)
    return Examples(
        SplatsPreprocess(splats=64, patches=8, neighbours=10, window=4.0),
        {".ply": file},
        large=ply(np.concatenate(apart)),
        bad={
            "nothing": b"",
            "a text": b"nothing of the kind",
            "no splats": ply(cloud[:0]),
            "one splat": ply(cloud[:1]),
            "one place": ply(cloud[[0] * 50]),
            "NaN": ply(changed(1, np.nan)),
            "far away": ply(changed(0, 1e30)),
            "no rotation": ply(np.where(np.arange(14) // 4 == 2, 0.0, np.where(np.arange(14) == 7, 0.0, cloud))),
            "no opacities": file.replace(b"float opacity", b"float clarity"),
            "bare points": bytes(trimesh.PointCloud(cloud[:, :3]).export(file_type="ply")),
            "an announcement": file.replace(b"vertex 300", b"vertex 100000000"),
            "a list": file.replace(b"property float nx", b"property list uchar int nx"),
        },
    )


def field(side: int = 12, metres: float = 2.4) -> dict[str, np.ndarray]:
    """The arrays of a radiance field: a floor, and a block on it of a colour of its own."""
    density, rgb = np.zeros((side, side, side), np.float32), np.full((side, side, side, 3), 0.5, np.float32)
    density[:, :, 0], density[2:6, 3:7, 1:5] = 40, 30
    rgb[2:6, 3:7, 1:5] = (0.8, 0.2, 0.1)
    return {"density": density, "rgb": rgb, "bounds": np.array([[-1.0, 0, 0], [metres - 1, metres, metres]])}


def npz(**arrays: np.ndarray) -> bytes:
    """Arrays as a .npz file, whatever they are."""
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=True, **arrays)
    return file.getvalue()


def _radiance() -> Examples:
    found = field()
    holes, infinite = found["density"].copy(), found["rgb"].copy()
    holes[3, 3, 3], infinite[3, 3, 3, 0] = np.nan, np.inf
    bounds = found["bounds"]
    return Examples(
        RadiancePreprocess(size=16, voxel=0.2),
        {".npz": npz(**found)},
        large=npz(**field(30, 6.0)),
        bad={
            "nothing": b"",
            "a text": b"nothing of the kind",
            "a picture": _picture("PNG"),
            "an empty zip": zipped({}),
            "no bounds": npz(density=found["density"], rgb=found["rgb"]),
            "bounds of one corner": npz(**found | {"bounds": bounds[0]}),
            "bounds the wrong way round": npz(**found | {"bounds": bounds[::-1]}),
            "bounds without height": npz(**found | {"bounds": bounds * (1, 1, 0)}),
            "bounds that are not finite": npz(**found | {"bounds": bounds * np.nan}),
            "bounds far away": npz(**found | {"bounds": bounds * 1e30}),
            "negative density": npz(**found | {"density": -found["density"]}),
            "a density that is not finite": npz(**found | {"density": holes}),
            "a density of 1e300": npz(**found | {"density": found["density"].astype(float) * 1e300}),
            "a colour that is not finite": npz(**found | {"rgb": infinite}),
            "colours of 0 to 255 as floats": npz(**found | {"rgb": found["rgb"] * 255}),
            "four channels": npz(**found | {"rgb": np.repeat(found["rgb"], 2, 3)[..., :4]}),
            "no channels": npz(**found | {"rgb": found["rgb"][..., 0]}),
            "colours of another grid": npz(**found | {"rgb": found["rgb"][1:]}),
            "two axes": npz(**found | {"density": found["density"][0]}),
            "no voxels": npz(**{name: array[:0] for name, array in found.items()} | {"bounds": bounds}),
            "nothing in it": npz(**found | {"density": found["density"] * 0}),
            "complex": npz(**found | {"density": found["density"].astype(np.complex64)}),
            "words": npz(**found | {"density": np.full(found["density"].shape, "a")}),
            "objects": npz(**found | {"density": np.full(found["density"].shape, None)}),
            "no arrays": zipped({f"{name}.npy": b"no array" for name in found}),
        },
    )


def _series() -> Examples:
    days = np.arange("2020-01-01", "2020-02-10", dtype="M8[D]")
    course = np.sin(np.arange(40) / 3)[:, None] * (1, 20) + (0, 100)

    def table(values: np.ndarray, columns: str = "date,warm,load") -> bytes:
        rows = (f"{day}," + ",".join(map(str, row)) for day, row in zip(days, values, strict=False))
        return "\n".join([columns, *rows]).encode()

    columns = {"date": days, "warm": course[:, 0], "load": course[:, 1]}
    backwards = table(course).splitlines()
    return Examples(
        SeriesPreprocess(window=24),
        {".csv": table(course), ".parquet": columnar(columns), ".npy": npy(course)},
        large=npy(np.tile(course, (3, 1))),
        bad={
            "nothing": b"",
            "a text": b"nothing of the kind\nat all",
            "a header alone": b"date,warm",
            "one value": b"3.5",
            "a ragged table": table(course) + b",7",
            "a word": table(course) + b"\n2020-03-01,cold,1",
            "two encodings": table(course) + "\n2020-03-01,1,\u00e9".encode("latin-1"),
            "backwards": b"\n".join([backwards[0], *backwards[:0:-1]]),
            "a day twice": table(course) + b"\n2020-02-09,1,1",
            "a day that is none": table(course) + b"\n2020-02-31,1,1",
            "before the beginning": b"time,value\n-3,1\n-2,1\n-1,4",
            "infinity": npy(np.full((30, 1), np.inf)),
            "no values": npy(np.full((30, 1), np.nan)),
            "no steps": npy(np.zeros((0, 2))),
            "three axes": npy(np.zeros((9, 2, 2))),
            "objects": npy(np.array([[None]] * 9)),
            "out of reach": npy(course * 1e200),
            "unlike steps": b"[[1, 2], [3]]",
            "a truth": b"[1, true, 2]",
            "no values in JSON": b'{"times": [1, 2]}',
            "words in JSON": b'{"values": [1, 2], "unit": "m"}',
        },
    )


def _volume() -> Examples:
    values = np.random.default_rng(0).normal(100, 10, (12, 14, 10)).astype(np.float32)

    def nifti(values: np.ndarray) -> bytes:
        return bytes(nibabel.Nifti1Image(values, np.diag([1.0, 1, 2, 1])).to_bytes())

    return Examples(
        VolumePreprocess(spacing=2.0, patch=8),
        {
            ".nii": nifti(values),
            ".nii.gz": gzip.compress(nifti(values)),
            ".nrrd": scans.nrrd_file(),
            ".dcm": scans.saved(scans.dicom()),
            ".dcm.zip": scans.series(*scans.whole()),
            ".npy": npy(values),
        },
        large=nifti(np.tile(values, (2, 2, 2))),
        bad={
            "four axes": nifti(np.zeros((4, 4, 4, 3), np.float32)),
            "complex": nifti(np.zeros((4, 4, 4), np.complex64)),
            "objects": npy(np.array([[[None]]])),
            "no voxels": npy(np.zeros((0, 4, 4), np.float32)),
            "no number": npy(np.full((4, 4, 4), np.nan, np.float32)),
            "no place in space": scans.nrrd_file(**{"space directions": np.ones((3, 3))}),
            "a missing slice": scans.series(*scans.whole()[:2], *scans.whole()[3:]),
        },
    )


def film(frames: Sequence[np.ndarray], container: str, codec: str) -> bytes:
    """Frames uint8 [H, W, 3] as a file of moving pictures."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as opened:
        stream = opened.add_stream(codec, rate=25, width=32, height=24, pix_fmt="yuv420p")
        opened.start_encoding()  # writes a header even where no frame follows
        for frame in frames:
            opened.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        opened.mux(stream.encode())
    return file.getvalue()


def animation(frames: Sequence[np.ndarray], kind: str) -> bytes:
    file = io.BytesIO()
    first, *others = map(Image.fromarray, frames)
    first.save(file, kind, save_all=True, append_images=others)
    return file.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def tar(file: Path, members: Mapping[str, bytes], mode: Any = "w") -> Path:
    """A shard of a WebDataset, say."""
    with tarfile.open(file, mode) as archive:
        for name, content in members.items():
            facts = tarfile.TarInfo(name)
            facts.size = len(content)
            archive.addfile(facts, io.BytesIO(content))
    return file


def sound(values: np.ndarray, kind: str, coding: str | None = None, rate: int = 16_000) -> bytes:
    """Samples [S] or [S, channels] as a file."""
    file = io.BytesIO()
    soundfile.write(file, values, rate, format=kind, subtype=coding)
    return file.getvalue()


def columnar(columns: Mapping[str, Any]) -> bytes:
    """Columns as a .parquet file."""
    file = io.BytesIO()
    parquet.write_table(pa.table(dict(columns)), file)
    return file.getvalue()


def npy(values: np.ndarray) -> bytes:
    """The array as a .npy file."""
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    return file.getvalue()


def _picture(kind: str, side: int = 24) -> bytes:
    file = io.BytesIO()
    Image.fromarray(_colours(side, side)).save(file, kind)
    return file.getvalue()


def _colours(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, (height, width, 3), dtype=np.uint8)
