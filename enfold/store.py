"""The store of bundles: names, versions and aliases in one folder.

A bundle is asked for as `emoji`, `emoji@2` or `emoji@prod`.
"""

import os
import re
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from enfold import settings, tasks
from enfold.aliases import History, back, changing, point, read
from enfold.bundle import DRAFT, NAME, Bundle, Manifest, at_work, open_bundle, read_manifest
from enfold.errors import UnknownName, WrongUse

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_DRAFT_SECONDS = 24 * 3600  # an export that wrote nothing for so long was killed


def versions(store: Path, name: str) -> list[int]:
    folder = store / name
    if not re.fullmatch(NAME, name) or not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if _NUMBER.fullmatch(path.name))


def names(store: Path) -> list[str]:
    return sorted(path.name for path in store.iterdir() if versions(store, path.name)) if store.is_dir() else []


def aliases(store: Path, name: str) -> dict[str, int]:
    return {alias: pointed[-1] for alias, pointed in read(store / name).items()} if versions(store, name) else {}


def _known(store: Path, name: str) -> list[int]:
    """Versions of a bundle that is there; raises UnknownName."""
    have = versions(store, name)
    if not have:
        raise UnknownName.among("bundle", name, names(store), "Export a run or import a model to make one.")
    return have


def find(store: Path, ref: str) -> Path:
    """The folder of `name`, `name@version` or `name@alias`; without either, alias prod if set, else the newest."""
    name, _, which = ref.partition("@")
    have = _known(store, name)
    pointers = aliases(store, name)
    if not which:
        return store / name / str(pointers.get("prod", have[-1]))
    version = int(which) if _NUMBER.fullmatch(which) else pointers.get(which)
    if version not in have:
        known = [str(number) for number in have] + list(pointers)
        raise UnknownName.among(f"version or alias of bundle '{name}':", which, known)
    return store / name / str(version)


def open_ref(store: Path, ref: str) -> Bundle:
    return open_bundle(find(store, ref))


Ref = Annotated[str, typer.Argument(help="name, name@version or name@alias")]
Alias = Annotated[str, typer.Option(help="name of the alias")]


def list_bundles() -> list[dict[str, Any]]:
    """Bundles in the store, newest version of each first."""
    store = settings.load().bundles
    return [
        _row(read_manifest(store / name / str(version)), aliases(store, name))
        for name in names(store)
        for version in reversed(versions(store, name))
    ]


def _row(manifest: Manifest, pointers: dict[str, int]) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "version": manifest.version,
        "aliases": [alias for alias, version in pointers.items() if version == manifest.version],
        "entries": {name: entry.modality for name, entry in manifest.entries.items()},
        "spaces": {name: entry.space for name, entry in manifest.entries.items()},
        "tasks": list(tasks.of(manifest)),
        "variants": list(manifest.variants),
        "sizes": list(manifest.sizes),
        "method": manifest.lineage.method,
    }


def show_bundle(ref: Ref) -> dict[str, Any]:
    """Manifest and gate report of one bundle, after verifying it."""
    bundle = open_ref(settings.load().bundles, ref)
    return bundle.manifest.model_dump(mode="json") | {"path": str(bundle.path), "export_report": bundle.report()}


def verify_bundle(ref: Ref) -> dict[str, Any]:
    """Check every digest, then the golden items through every runtime graph."""
    from enfold.model import Model

    bundle = open_ref(settings.load().bundles, ref)
    facts = bundle.manifest
    pairs = [(size, variant) for size in facts.sizes or (None,) for variant in facts.variants]
    worst = {
        "/".join(filter(None, (size, variant))): Model(bundle, variant=variant, size=size).check()
        for size, variant in pairs
    }
    return {"bundle": bundle.ref, "files": len(bundle.manifest.files), "golden_cosine": worst}


def promote_bundle(ref: Ref, alias: Alias = "prod") -> dict[str, Any]:
    """Point an alias (default prod) at a version; `name` alone then means that version."""
    store = settings.load().bundles
    folder = find(store, ref).parent
    with changing(folder) as history:
        bundle = open_ref(store, ref)
        point(history, alias, bundle.manifest.version)
    return {"bundle": bundle.manifest.name, "aliases": aliases(store, folder.name)}


def rollback_bundle(
    name: Annotated[str, typer.Argument(help="name of the bundle")], alias: Alias = "prod"
) -> dict[str, Any]:
    """Point an alias (default prod) again at the version it pointed at before."""
    store = settings.load().bundles
    have = _known(store, name)
    with changing(store / name) as history:
        if alias not in history:
            raise UnknownName.among(f"alias of bundle '{name}':", alias, history, "Promote a version to set one.")
        earlier = back(history[alias], have)
        if not earlier:
            raise WrongUse(
                f"alias '{alias}' of bundle '{name}' points at {history[alias][-1]}; no other version that it pointed "
                f"at is left to go back to. Choose of {', '.join(map(str, have))}: enfold bundle promote {name}@VERSION"
            )
        open_bundle(store / name / str(earlier[-1]))
        history[alias] = earlier
    return {"bundle": name, "aliases": aliases(store, name)}


def collect_garbage(
    keep: Annotated[int, typer.Option(min=1, help="newest versions of each name that stay in any case")] = 2,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go")] = False,
) -> dict[str, Any]:
    """Remove versions that no alias points at or would go back to, and what killed exports left behind."""
    store = settings.load().bundles
    removed: list[dict[str, Any]] = []
    for folder in sorted(store.iterdir()) if store.is_dir() else []:
        if not re.fullmatch(NAME, folder.name) or not folder.is_dir():
            continue
        with changing(folder) as history:
            for path in [*_unneeded(folder, history, keep), *filter(_abandoned, sorted(folder.glob(f"{DRAFT}*")))]:
                removed.append({"path": f"{folder.name}/{path.name}", "megabytes": _megabytes(path)})
                if not dry_run:
                    _remove(path)
    return {"dry_run": dry_run, "megabytes": sum(row["megabytes"] for row in removed), "removed": removed}


def _unneeded(folder: Path, history: History, keep: int) -> list[Path]:
    """Versions beyond the newest `keep` that no alias points at and none would go back to."""
    have = versions(folder.parent, folder.name)
    needed = {version for pointed in history.values() for version in (pointed[-1:] + back(pointed, have)[-1:])}
    return [folder / str(version) for version in have[:-keep] if version not in needed]


def _abandoned(draft: Path) -> bool:
    """Nothing in it was written for a day, and nobody is at it: the clock may have jumped."""
    try:
        newest = max(path.lstat().st_mtime for path in (draft, *draft.rglob("*")))
        return time.time() - newest > _DRAFT_SECONDS and not at_work(draft)
    except FileNotFoundError:  # published at this very moment
        return False


def _megabytes(path: Path) -> float:
    return round(sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir()) / 1e6, 3)


def _remove(path: Path) -> None:
    """Out of sight first: a version of which some files are gone must never be found."""
    with TemporaryDirectory(prefix=DRAFT, dir=path.parent) as out_of_sight:
        os.rename(path, Path(out_of_sight) / path.name)
