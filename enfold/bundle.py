"""A bundle: the folder by which an encoder passes from training to serving, and the only thing that passes.

    <name>/<version>/
      manifest.json        what is inside, where it came from, the sha256 of every other file
      graphs/              ONNX
      resources/           tokenizer, statistics
      golden.npz           real inputs and the outputs they must give
      export_report.json   the gate's figures
      README.md            model card

Nothing is opened before its digest is checked; no file is a pickle; no path leaves the folder.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from enfold.errors import BundleInvalid, Unavailable
from enfold.pipelines import Steps

SCHEMA_VERSION = 1
NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"
WEIGHTS = "weights.data"  # beside graphs that share them
DRAFT = ".draft-"  # how the name of a folder begins that is being filled
_MANIFEST_BYTES = 16 * 2**20
_LONGEST = 2**24  # tokens, steps, samples, …: what a foreign manifest could make a server allocate for every item

# encode: once per item; head: on the embedding; complete: from an item's inputs, or the embeddings of its parts, to a
# task's answer; step: further in a sequence, from what a state remembers; generate: from noise and what it shall show.
# Grows with the tasks.
Role = Literal["encode", "head", "complete", "step", "generate"]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Graph(_Facts):
    """In a bundle of several sizes a graph is listed once for each, as <name>.<size>."""

    role: Role
    files: dict[str, str]  # variant -> path; others than encode may have fp32 alone and serve every variant
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    state: dict[str, str] = {}  # input -> the output that is fed back into it: a cache


class Size(_Facts):
    """What an entry's vectors are at one size."""

    space: str
    dimensions: int = Field(ge=1)
    tokens: int | None = Field(None, ge=1)


class Entry(_Facts):
    """One door: items of a modality through a graph into a space."""

    modality: str
    graph: str
    space: str  # of the size that is meant when none is named
    joins: str | None = None  # the bundle whose space this is: its own encoder was trained against a tower of that
    dimensions: int = Field(ge=1)
    tokens: int | None = Field(None, ge=1)  # width of out_tokens, where every row of an item by itself is real
    sizes: dict[str, Size] = {}  # of each size of the bundle, where it has several
    nested: dict[int, str] = {}  # fewer dimensions that it was trained for -> the space of the first so many
    pooling: str  # how tokens became the embedding, in words ("mean", "cls"); inside the graph
    normalize: bool  # vectors leave with length 1
    preprocess: dict[str, Any]
    limits: dict[str, Any] = {}

    @field_validator("preprocess")
    @classmethod
    def _of_a_size(cls, preprocess: dict[str, Any]) -> dict[str, Any]:
        for key, value in preprocess.items():
            if isinstance(value, int) and value > _LONGEST:
                raise ValueError(f"{key} is {value}; no input is longer than {_LONGEST:,}")
        return preprocess


class Lineage(_Facts):
    """Which run, recipe, data and parents made this."""

    run: str | None = None
    method: str | None = None
    recipe: str | None = None  # digest of the resolved recipe
    data: str | None = None  # fingerprint of the data set
    source: str | None = None  # of an import: what it was made from
    parents: tuple[str, ...] = ()


class Manifest(_Facts):
    schema_version: int = SCHEMA_VERSION
    name: str = Field(pattern=NAME)
    version: int = Field(ge=1)
    created: datetime
    entries: dict[str, Entry] = Field(min_length=1)
    graphs: dict[str, Graph] = Field(min_length=1)
    tasks: dict[str, dict[str, Any]] = {}
    pipelines: dict[str, Steps] = {}  # ways to search what it has embedded
    variants: tuple[str, ...] = ("fp32",)
    sizes: tuple[str, ...] = ()  # smallest first; the last is meant when none is named
    licence: str
    lineage: Lineage
    metrics: dict[str, float] = {}
    files: dict[str, str] = {}  # path -> sha256

    @field_validator("graphs")
    @classmethod
    def _whole(cls, graphs: dict[str, Graph]) -> dict[str, Graph]:
        for name, graph in graphs.items():
            if "fp32" not in graph.files:
                raise ValueError(f"graph '{name}' has no file in fp32, which every runtime falls back to")
        return graphs

    @field_validator("files")
    @classmethod
    def _contained(cls, files: dict[str, str]) -> dict[str, str]:
        for path in files:
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\\" in path:
                raise ValueError(f"path '{path}' leaves the bundle")
        return files


class Bundle:
    """A verified bundle on disk."""

    def __init__(self, path: Path, manifest: Manifest):
        self.path, self.manifest = path, manifest

    def __repr__(self) -> str:
        return f"Bundle({self.ref})"

    @property
    def ref(self) -> str:
        return f"{self.manifest.name}@{self.manifest.version}"

    def graph(self, graph: str, size: str | None = None) -> Graph:
        """Raises BundleInvalid for a graph that the manifest names but does not list."""
        graphs = self.manifest.graphs
        found = graphs.get(f"{graph}.{size}") or graphs.get(graph)
        if found is None:
            raise BundleInvalid(f"{self.path}: its manifest lists no graph '{graph}': export it again")
        return found

    def graph_file(self, graph: str, variant: str, size: str | None = None) -> Path:
        files = self.graph(graph, size).files
        return self.path / files.get(variant, files["fp32"])

    def check_unchanged(self, graph: Path) -> None:
        """Whether a graph's file and the weights beside it are still what was verified: it may be opened much later.

        Raises BundleInvalid.
        """
        for file in (graph, graph.with_name(WEIGHTS)):
            if self.manifest.files and (file == graph or file.exists()):  # a draft at the gate is not sealed yet
                _check_digest(self.path, file.relative_to(self.path).as_posix(), self.manifest)

    def report(self) -> dict[str, Any]:
        """The gate's figures, {} for a bundle made without one."""
        path = self.path / "export_report.json"
        found: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
        return found


def open_bundle(path: Path) -> Bundle:
    """Verify everything, then load. Raises BundleInvalid naming the first thing that is wrong."""
    manifest = read_manifest(path)
    verify(path, manifest)
    return Bundle(path, manifest)


def read_manifest(path: Path) -> Manifest:
    """The manifest alone, its files unchecked."""
    file = path / "manifest.json"
    try:
        if file.stat().st_size > _MANIFEST_BYTES:
            raise BundleInvalid(f"{file} has {file.stat().st_size:,} bytes; a manifest has at most {_MANIFEST_BYTES:,}")
        raw = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise BundleInvalid(f"{path} holds no manifest.json, so it is not a bundle") from None
    except (ValueError, RecursionError):
        raise BundleInvalid(f"{file} is not JSON") from None
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleInvalid(
            f"{path} has bundle schema {version}; this enfold reads up to {SCHEMA_VERSION}: upgrade enfold, "
            "or export the bundle again"
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise BundleInvalid(f"{file}: {where}: {first['msg']}") from None


def verify(path: Path, manifest: Manifest) -> None:
    """Every listed file is there with its digest, nothing else is, and no link leads elsewhere."""
    found = {str(file.relative_to(path)).replace(os.sep, "/") for file in path.rglob("*") if not file.is_dir()}
    for name in sorted(found | set(manifest.files) | {"manifest.json"}):
        file = path / name
        if file.is_symlink() or not file.resolve().is_relative_to(path.resolve()):
            raise BundleInvalid(f"{path}: '{name}' is a link; a bundle holds plain files only")
        if name == "manifest.json":
            continue
        if name not in manifest.files:
            raise BundleInvalid(f"{path}: '{name}' is not in the manifest: delete it, or export again")
        if name not in found:
            raise BundleInvalid(f"{path}: '{name}' is missing: copy the bundle again")
        _check_digest(path, name, manifest)
    for graph_name, graph in manifest.graphs.items():
        missing = [file for file in graph.files.values() if file not in manifest.files]
        if missing:
            raise BundleInvalid(f"{path}: graph '{graph_name}' names '{missing[0]}', which the manifest does not list")


def _check_digest(path: Path, name: str, manifest: Manifest) -> None:
    try:
        found = sha256(path / name)
    except OSError as error:
        raise BundleInvalid(f"{path}: '{name}' cannot be read ({error.strerror}): copy the bundle again") from None
    if found != manifest.files[name]:
        raise BundleInvalid(f"{path}: '{name}' does not match its digest: it was changed or damaged, copy it again")


@contextmanager
def new_bundle(store: Path, name: str) -> Iterator[Path]:
    """A folder to fill; when the block ends well it becomes the next version of `name`, else nothing remains.

    The caller writes every file and last `seal`s it. A full disk is reported as Unavailable.
    """
    try:
        (store / name).mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=store / name))
    except OSError as error:
        raise Unavailable(f"cannot write to {store}: {error.strerror}") from None
    try:
        with _locked(draft, shared=True):
            yield draft
            draft.chmod(0o755)
            os.rename(draft, store / name / str(read_manifest(draft).version))
    except OSError as error:
        raise Unavailable(f"writing bundle '{name}' failed ({error.strerror}); nothing was published") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if not any((store / name).iterdir()):
            (store / name).rmdir()


def at_work(draft: Path) -> bool:
    """Whether somebody fills the draft: a process that was killed does not any more."""
    try:
        with _locked(draft, shared=False):
            return False
    except BlockingIOError:
        return True


@contextmanager
def _locked(folder: Path, *, shared: bool) -> Iterator[None]:
    """Raises BlockingIOError if that cannot be at once."""
    import fcntl  # not on Windows, where bundles can be read all the same

    file = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        yield
    finally:
        os.close(file)


def seal(draft: Path, manifest: Manifest) -> Manifest:
    """Write the manifest of a finished draft, with the digest of every file in it."""
    files = sorted(file for file in draft.rglob("*") if file.is_file())
    digests = {file.relative_to(draft).as_posix(): sha256(file) for file in files}
    sealed = manifest.model_copy(update={"files": digests})
    (draft / "manifest.json").write_text(sealed.model_dump_json(indent=1))
    return sealed


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
