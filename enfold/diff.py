"""How two bundles differ: in what their manifests say, and in which items lie near which."""
# N items, D features, K neighbours

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from enfold import listing, modalities, settings, store
from enfold.bundle import Manifest
from enfold.errors import BadItem, WrongUse
from enfold.modalities import Sample
from enfold.model import Model, unit

NEIGHBOURS = 10
FEWEST = 2 * NEIGHBOURS  # of fewer items most are neighbours of each other, whatever the encoder
_MOST = 5000  # every item is compared with every other
_SHOWN = 10
_CHUNK = 256


def diff_bundles(
    a: store.Ref,
    b: store.Ref,
    data: Annotated[Path | None, typer.Option(help="folder of items: which have other neighbours in b?")] = None,
) -> dict[str, Any]:
    """What differs between two bundles and, with --data, which items moved.

    An item moved if its ten nearest of all items, by cosine, are others in b than in a. `overlap` is the share that
    stayed, averaged over the items; `overlap_by_chance` what neighbours drawn at random would share. `left_out` counts
    unreadable files and copies; of more than 5,000 files as many are taken, spread evenly.
    """
    bundles = settings.load().bundles
    one, two = store.open_ref(bundles, a), store.open_ref(bundles, b)
    found = {"a": one.ref, "b": two.ref, **_manifests(one.manifest, two.manifest)}
    return found if data is None else found | _neighbourhoods(Model(one), Model(two), data)


def _manifests(a: Manifest, b: Manifest) -> dict[str, Any]:
    spaces = [{name: entry.space for name, entry in manifest.entries.items()} for manifest in (a, b)]
    facts = [dict(_facts(manifest)) for manifest in (a, b)]
    return {
        "spaces": [row | {"same": row["a"] == row["b"]} for row in _beside("entry", *spaces)],
        "differences": [row for row in _beside("fact", *facts) if row["a"] != row["b"]],
        "metrics": _beside("metric", a.metrics, b.metrics),
    }


def _facts(manifest: Manifest) -> Iterator[tuple[str, Any]]:
    """What makes a bundle what it is, by dotted name; digests of resources stand for their content."""
    said = manifest.model_dump(mode="json", include={"entries", "tasks", "variants", "licence", "lineage"})
    for entry in said["entries"].values():
        del entry["space"]
    resources = {path: digest for path, digest in manifest.files.items() if path.startswith("resources/")}
    yield from _flat(said | resources)


def _flat(nested: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in nested.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value


def _beside(kind: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per name in either, with both values."""
    return [{kind: name, "a": a.get(name), "b": b.get(name)} for name in dict.fromkeys([*a, *b])]


def _neighbourhoods(a: Model, b: Model, folder: Path) -> dict[str, Any]:
    modality, files = _items(a, b, folder)
    read, near = _nearest_in([(model, model.entry(modality=modality)) for model in (a, b)], folder, files)
    kept = overlap(*near)
    names = [listing.readable(file) for file in read]
    first = np.argsort(kept, kind="stable")[:_SHOWN]
    return {
        "modality": modality,
        "items": len(names),
        "left_out": len(files) - len(names),
        "overlap": float(kept.mean()),
        "overlap_by_chance": NEIGHBOURS / (len(names) - 1),
        "moved_most": [
            {"item": names[i], "overlap": float(kept[i])}
            | {f"nearest_in_{side}": names[rows[i, 0]] for side, rows in zip("ab", near, strict=True)}
            for i in first[kept[first] < 1]
        ],
    }


def _items(a: Model, b: Model, folder: Path) -> tuple[str, list[Path]]:
    """Files, relative to the folder, of the first modality that both take and the folder holds; spread evenly."""
    if not folder.is_dir():
        raise WrongUse(f"--data {folder} is no folder: give one with items that both bundles take")
    takes = [[entry.modality for entry in model.bundle.manifest.entries.values()] for model in (a, b)]
    both = [modality for modality in dict.fromkeys(takes[0]) if modality in takes[1]]
    if not both:
        one, two = (f"{model.bundle.ref} takes {', '.join(t)}" for model, t in zip((a, b), takes, strict=True))
        raise WrongUse(f"{one} and {two}: there is no item that both could embed")
    for modality in both:
        if files := listing.find(folder, modalities.suffixes(modality)):
            return modality, [files[i] for i in np.unique(np.linspace(0, len(files) - 1, _MOST).astype(int))]
    raise WrongUse(f"{folder} holds no {' or '.join(both)} files, which both bundles take")


def _nearest_in(
    models: Sequence[tuple[Model, str]], folder: Path, files: Sequence[Path]
) -> tuple[list[Path], list[np.ndarray]]:
    """The files that all models read, copies left out, and by each model (with its entry) their nearest [N, K]."""
    read: list[Path] = []
    vectors: list[list[np.ndarray]] = [[] for _ in models]
    samples = _samples(models, folder, files)
    while chunk := list(islice(samples, _CHUNK)):
        read += [file for file, _ in chunk]
        for rows, (model, entry), column in zip(
            vectors, models, zip(*(row for _, row in chunk), strict=True), strict=True
        ):
            embedding = model.encode(column, entry)["out_embedding"]
            rows.append(unit(embedding))
    if len(read) < FEWEST:
        raise WrongUse(
            f"{folder} holds {len(read)} distinct items that both bundles can read, in {len(files)} files: "
            f"to compare neighbourhoods give at least {FEWEST}"
        )
    return read, [nearest(np.concatenate(rows)) for rows in vectors]


def _samples(
    models: Sequence[tuple[Model, str]], folder: Path, files: Sequence[Path]
) -> Iterator[tuple[Path, list[Sample]]]:
    """Each file that all models read with what each makes of it, but for those no model can tell from an earlier."""
    known: set[bytes] = set()
    for file in files:
        try:
            samples = [model.prepare(folder / file, entry)[0] for model, entry in models]
        except (BadItem, OSError):
            continue
        if (digest := _digest(samples)) not in known:
            known.add(digest)
            yield file, samples


def _digest(samples: Sequence[Sample]) -> bytes:
    """The same for copies: which of two is the nearer says nothing."""
    digest = hashlib.sha256()
    for sample in samples:
        for array in sample.arrays.values():
            digest.update(f"{array.shape}".encode() + array.tobytes())
    return digest.digest()


def nearest(vectors: np.ndarray) -> np.ndarray:
    """Indices [N, K] of each row's nearest other rows, the nearest first.

    vectors   [N, D]  rows of unit length, N > K
    """
    rows = []
    for at in range(0, len(vectors), _CHUNK):
        scores = vectors[at : at + _CHUNK] @ vectors.T
        own = np.arange(len(scores))
        scores[own, at + own] = -np.inf
        rows.append(np.argsort(-scores, axis=1, kind="stable")[:, :NEIGHBOURS])
    return np.concatenate(rows)


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The share of each item's nearest [N, K] in one space that are among its nearest in another, [N]."""
    shared: np.ndarray = np.array([np.intersect1d(*pair).size for pair in zip(a, b, strict=True)]) / a.shape[1]
    return shared
