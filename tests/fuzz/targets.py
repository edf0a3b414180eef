"""What is damaged, and who reads it: files of every modality, bundles, recipes."""

import json
import re
import shutil
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

import enfold
from enfold import modalities
from enfold.bundle import Bundle, sha256
from enfold.errors import BadItem, EnfoldError, WrongUse
from tests import bundles, examples
from tests.fuzz.wounds import damaged, edited, wounded

_NOISE = 32  # files of nothing but noise behind four true bytes, whose refusals are those of a header


@dataclass(frozen=True)
class Target:
    """
    mutant    a damaged copy, of a number and a generator
    read      reads it whole, or raises `refuses`
    shallow   whether a refusal is one of the first look, behind which nothing was read
    """

    mutant: Callable[[int, np.random.Generator], Any]
    read: Callable[[Any], Any]
    refuses: type[EnfoldError]
    shallow: Callable[[str], bool]


def names() -> list[str]:
    return [*modalities.names(), "bundle", "recipe"]


def get(name: str, folder: Path) -> Target:
    """The target; `folder` is its own to write to."""
    if name in modalities.names():
        return _files(name, folder)
    return {"bundle": _bundles, "recipe": _recipes}[name](folder)


def _files(modality: str, folder: Path) -> Target:
    reader, found = examples.reader(modality, folder), examples.examples(modality)
    files = [*found.files.values(), found.large]

    def read(mutant: bytes) -> None:
        reader.prepare(reader.read(mutant))

    seen, rng = set(), np.random.default_rng(0)
    for number in range(_NOISE):
        file = files[number % len(files)]
        try:
            read(file[: 4 * (number % 2)] + rng.bytes(len(file)))
        except BadItem as error:
            seen.add(_bare(str(error)))
    return Target(
        lambda number, rng: damaged(files[number % len(files)], rng), read, BadItem, lambda said: _bare(said) in seen
    )


def _bare(sentence: str) -> str:
    """Without numbers and quotations."""
    return re.sub(r"\d+|'[^']*'|\"[^\"]*\"", "", sentence)


def _bundles(folder: Path) -> Target:
    """Every other one sealed again behind its damage, as by a maker who means harm: its digests are right."""
    store = folder / "bundles"
    made = [bundles.image_bundle(store), bundles.ranking_bundle(store, by="pairs"), bundles.protein_bundle(store)]
    made += [bundles.series_bundle(store), bundles.records_bundle(store)]
    items = [_item(bundle) for bundle in made]

    def mutant(number: int, rng: np.random.Generator) -> tuple[Path, Any]:
        which = number % len(made)
        copy = folder / "mutant"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(made[which].path, copy)
        files = sorted(file for file in copy.rglob("*") if file.is_file())
        hurt = files[rng.integers(len(files))] if rng.random() < 0.6 else copy / "manifest.json"
        hurt.write_bytes(damaged(hurt.read_bytes(), rng))
        if number // len(made) % 2 and hurt.name != "manifest.json":
            file = copy / "manifest.json"
            manifest = json.loads(file.read_bytes())
            manifest["files"][hurt.relative_to(copy).as_posix()] = sha256(hurt)
            file.write_text(json.dumps(manifest))
        return copy, items[which]

    def read(mutant: tuple[Path, Any]) -> None:
        path, item = mutant
        model = enfold.open(path)
        model.check()
        # It gives its golden vectors still. Its tasks may fail, but neither hang nor end the process.
        for name, task in model.tasks.items():
            with suppress(Exception):
                model.predict([item], name, task.trial)

    first = ("is not JSON", "does not match its digest", "is missing", "is not in the manifest", "manifest.json: ")
    return Target(mutant, read, EnfoldError, lambda said: any(words in said for words in first))


def _item(bundle: Bundle) -> Any:
    """An item that a bundle takes."""
    [entry] = bundle.manifest.entries.values()
    model = enfold.open(bundle.path)
    for file in examples.examples(entry.modality).files.values():
        try:
            model.embed([file])
        except BadItem:
            continue
        return file
    raise AssertionError(f"{bundle.ref} takes none of the examples")


def _recipes(folder: Path) -> Target:
    from training import recipe

    pages = [(recipe.RECIPES / f"{name}.toml").read_bytes() for name in recipe.names()]
    for name in recipe.names():
        recipe.load(name)  # methods are imported now, and not on a mutant's time
    file = folder / "mutant.toml"
    values: list[Any] = [0, -1, 2**31, 10**30, 0.5, float("nan"), True, "", "x", "../..", "text", [], {}, [{}], ["x"]]

    def mutant(number: int, rng: np.random.Generator) -> bytes:
        page = pages[number % len(pages)]
        if number % 4 == 3:
            return wounded(page, rng)
        return tomli_w.dumps(_table(edited(tomllib.loads(page.decode()), rng, values))).encode()

    def read(mutant: bytes) -> None:
        file.write_bytes(mutant)
        recipe.load(str(file), smoke=bool(len(mutant) % 2))

    return Target(mutant, read, WrongUse, lambda said: "is not TOML" in said)


def _table(tree: Any) -> dict[str, Any]:
    return tree if isinstance(tree, dict) else {"slug": tree}
