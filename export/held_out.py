"""Real items for the gate of an imported encoder, which was trained elsewhere on who knows what."""

import re
from pathlib import Path

import numpy as np

from enfold import modalities
from enfold.errors import WrongUse
from export.draft import HeldOut
from training.data import builders
from training.data.dataset import digest
from training.data.sources import open_dataset


def held_out(modality: str, source: str | None, data: Path) -> HeldOut:
    """Items of `source`, or of a built-in data set that was fetched; texts are also had without any.

    data   the folder of data sets

    Raises WrongUse if there is nothing to judge an encoder of this modality by.
    """
    reader = modalities.get(modality)(None)
    facts = (builders.facts(name) for name in builders.names())
    built_in = [one.name for one in facts if one.modality == modality and one.holds == "manifest.parquet"]
    source = source or next((name for name in built_in if (data / name / "dataset.json").is_file()), None)
    if source is None and modality == "text":
        return _python_help()
    if source is None:
        fetch = f", or first: enfold data fetch {built_in[0]}" if built_in else ""
        raise WrongUse(f"the gate needs real {modality} items: --data FOLDER{fetch}")
    found = open_dataset(source, data=data, modality=modality)
    if found.modality != modality:
        raise WrongUse(
            f"--data: the encoder takes {modality} items, data set '{found.name}' holds {found.modality} items"
        )
    if modality == "text":
        texts = [record.read(reader) for record in found.records]
        return HeldOut(found.name, found.fingerprint, short_and_long(texts))
    return HeldOut(
        found.name,
        found.fingerprint,
        [record.path if record.value is None else record.value for record in found.records],
    )


def short_and_long(documents: list[str]) -> list[str]:
    """Distinct sentences, paragraphs and whole documents, longer than most encoders take; 5,000 of much text."""
    paragraphs = [part.strip() for text in documents for part in re.split(r"\n\s*\n", text)]
    sentences = [part for text in paragraphs for part in re.split(r"(?<=[.?!])\s+", text)]
    mixed = [*_spread(documents, 150), *_spread(paragraphs, 850), *_spread(sentences, 4000)]
    return list(dict.fromkeys(text for text in mixed if text.strip()))


def _spread(texts: list[str], count: int) -> list[str]:
    """At most `count` of the texts, evenly spread."""
    return [texts[int(i)] for i in np.unique(np.linspace(0, len(texts) - 1, count).astype(int))]


def _python_help() -> HeldOut:
    """The help topics that ship with every Python: some 80 articles of English."""
    from pydoc_data.topics import topics

    return HeldOut("Python's help topics", digest(topics.values()), short_and_long(list(topics.values())))
