"""Commands of this room: list, fetch and show data sets."""

import io
import textwrap
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image, ImageDraw, ImageFont

from enfold import modalities, settings
from enfold.listing import SPLITS
from training.data import builders, fetch
from training.data.dataset import Dataset
from training.data.sources import open_dataset

ACROSS, SIDE, MARGIN, LABEL = 14, 64, 4, 120  # pictures of a row; the rest in pixels


def list_data() -> list[dict[str, Any]]:
    """Built-in data sets: size, licence, checksum."""
    data = settings.load().data
    return [
        {
            "name": facts.name,
            "title": facts.title,
            "licence": facts.licence,
            "size_mb": round(facts.size_bytes / 1e6, 1),
            "sha256": [package.sha256[:12] for package in facts.packages],
            "fetched": builders.is_current(facts, data / facts.name),
        }
        for facts in map(builders.facts, builders.names())
    ]


def fetch_data(name: Annotated[str, typer.Argument(help="a name that 'enfold data list' shows")]) -> dict[str, Any]:
    """Download and build a built-in data set; free when it is already there."""
    data = settings.load().data
    folder = fetch.fetch(name, data=data)
    facts = builders.facts(name)
    return {
        "name": facts.name,
        "licence": facts.licence,
        "size_mb": round(facts.size_bytes / 1e6, 1),
        "sha256": {package.file: package.sha256 for package in facts.packages},
        "path": str(folder),
    }


def show_data(
    source: Annotated[str, typer.Argument(metavar="NAME", help="a built-in name, a folder or a manifest")],
    modality: Annotated[str | None, typer.Option(help="what to read files as that may be of several kinds")] = None,
) -> dict[str, Any]:
    """Counts of a data set, and its contact sheet or first lines."""
    data = settings.load().data
    if modality is not None:
        modalities.get(modality)
    dataset = open_dataset(source, data=data, modality=modality)
    folder = data / source if source in builders.names() else data / ".shown" / dataset.name
    shown = {
        "name": dataset.name,
        "modality": dataset.modality,
        "items": len(dataset),
        "licence": dataset.licence,
        "fingerprint": dataset.fingerprint,
        **{split: len(dataset.split(split)) for split in SPLITS},
        "groups": len({record.group for record in dataset.records}),
        "groups_in_several_splits": _straddling(dataset),
        "classes": _counts(dataset),
        "skipped": dict(dataset.skipped),
    }
    if any(record.value is not None for record in dataset.records):
        return shown | {"first_lines": _first_lines(dataset)}
    return shown | {"contact_sheet": str(_contact_sheet(dataset, folder))}


def _counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    """label -> {split: items}; items without a label stand under "(none)"."""
    counted = Counter((record.label or "(none)", record.split) for record in dataset.records)
    return {label: {split: counted[label, split] for split in SPLITS} for label in sorted({key[0] for key in counted})}


def _straddling(dataset: Dataset) -> int:
    """Groups that lie in more than one split: only splits that the source itself gave can do that."""
    places = {(record.group, record.split) for record in dataset.records}
    return sum(count > 1 for count in Counter(group for group, _ in places).values())


def _examples(dataset: Dataset, number: int) -> dict[str, list[int]]:
    """label -> at most `number` items, spread evenly over those that carry it."""
    members: dict[str, list[int]] = {}
    for i, record in enumerate(dataset.records):
        members.setdefault(record.label or "(none)", []).append(i)
    return {
        label: [have[int(k)] for k in np.linspace(0, len(have) - 1, min(number, len(have)))]
        for label, have in sorted(members.items())
    }


def _contact_sheet(dataset: Dataset, folder: Path) -> Path:
    """One row of pictures for each class, as PNG."""
    examples, step = _examples(dataset, ACROSS), SIDE + MARGIN
    sheet = Image.new("RGB", (LABEL + ACROSS * step, max(len(examples) * step, 1)), "white")
    draw, font, reader = ImageDraw.Draw(sheet), ImageFont.load_default(14), modalities.get(dataset.modality)(None)
    for row, (label, items) in enumerate(examples.items()):
        draw.text((MARGIN, row * step + SIDE // 2), label, fill="black", font=font, anchor="lm")
        for column, i in enumerate(items):
            picture = Image.open(io.BytesIO(reader.thumbnail(dataset.read(i, reader), SIDE)))
            sheet.paste(picture, (LABEL + column * step, row * step))
    folder.mkdir(parents=True, exist_ok=True)
    sheet.save(folder / "contact_sheet.png")
    return folder / "contact_sheet.png"


def _first_lines(dataset: Dataset) -> dict[str, str]:
    reader = modalities.get(dataset.modality)(None)
    return {
        label: textwrap.shorten(str(dataset.read(items[0], reader)), 100, placeholder=" …")
        for label, items in _examples(dataset, 1).items()
    }
