"""The store of bundles: names, versions and aliases in one folder.

A bundle is asked for as `emoji`, `emoji@2` or `emoji@prod`.
"""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from enfold import settings
from enfold.bundle import Bundle, open_bundle, read_manifest
from enfold.errors import UnknownName


def versions(store: Path, name: str) -> list[int]:
    folder = store / name
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit()) if folder.is_dir() else []


def names(store: Path) -> list[str]:
    return sorted(path.name for path in store.iterdir() if versions(store, path.name)) if store.is_dir() else []


def aliases(store: Path, name: str) -> dict[str, int]:
    file = store / name / "aliases.json"
    found: dict[str, int] = json.loads(file.read_bytes()) if file.exists() else {}
    return found


def find(store: Path, ref: str) -> Path:
    """The folder of `name`, `name@version` or `name@alias`; without either, alias prod if set, else the newest."""
    name, _, which = ref.partition("@")
    have = versions(store, name)
    if not have:
        raise UnknownName.among("bundle", name, names(store), "Export a run or import a model to make one.")
    pointers = aliases(store, name)
    if not which:
        return store / name / str(pointers.get("prod", have[-1]))
    version = int(which) if which.isdigit() else pointers.get(which)
    if version not in have:
        known = [str(number) for number in have] + list(pointers)
        raise UnknownName.among(f"version or alias of bundle '{name}':", which, known)
    return store / name / str(version)


def open_ref(store: Path, ref: str) -> Bundle:
    return open_bundle(find(store, ref))


def describe(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "entries": {name: entry.modality for name, entry in manifest.entries.items()},
        "spaces": {name: entry.space for name, entry in manifest.entries.items()},
        "tasks": list(manifest.tasks),
        "variants": list(manifest.variants),
        "method": manifest.lineage.method,
        "metrics": manifest.metrics,
    }


Ref = Annotated[str, typer.Argument(help="name, name@version or name@alias")]


def list_bundles() -> list[dict[str, Any]]:
    """Bundles in the store, newest version of each first."""
    store = settings.load().bundles
    rows = []
    for name in names(store):
        pointing = {version: alias for alias, version in aliases(store, name).items()}
        for version in reversed(versions(store, name)):
            bundle = Bundle(store / name, read_manifest(store / name / str(version)))
            rows.append(describe(bundle) | {"alias": pointing.get(version)})
    return rows


def show_bundle(ref: Ref) -> dict[str, Any]:
    """Manifest and gate report of one bundle, after verifying it."""
    bundle = open_ref(settings.load().bundles, ref)
    return bundle.manifest.model_dump(mode="json") | {"path": str(bundle.path), "export_report": bundle.report()}


def verify_bundle(ref: Ref) -> dict[str, Any]:
    """Check every digest, then the golden items through every runtime graph."""
    from enfold.model import Model

    bundle = open_ref(settings.load().bundles, ref)
    worst = {variant: Model(bundle, variant=variant).check() for variant in bundle.manifest.variants}
    return {"bundle": bundle.ref, "files": len(bundle.manifest.files), "golden_cosine": worst}


def promote_bundle(
    ref: Ref, alias: Annotated[str, typer.Argument(help="alias to point at it")] = "prod"
) -> dict[str, Any]:
    """Point an alias (default prod) at a version; `name` alone then means that version."""
    store = settings.load().bundles
    bundle = open_ref(store, ref)
    name, version = bundle.manifest.name, bundle.manifest.version
    pointers = aliases(store, name) | {alias: version}
    draft = store / name / ".aliases.json"
    draft.write_text(json.dumps(pointers))
    os.replace(draft, store / name / "aliases.json")
    return {"bundle": name, "aliases": pointers}
