"""A data set: records that say where each item lies, what it is called and which split it belongs to.

Knows nothing of where the list came from and decodes nothing itself: `read` hands an item to its modality.
"""
# N items

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from enfold.archives import Packed
from enfold.errors import BadItem, UnknownName, WrongUse
from enfold.listing import SPLITS
from enfold.modalities import Arrays, Modality


@dataclass(frozen=True, slots=True)
class Record:
    """One item: a file at `path`, which may lie in an archive, or the inline `value`: a text, a row as JSON."""

    id: str
    path: Path | Packed | None
    value: str | None
    label: str | None
    group: str  # items of one group show the same thing and share a split
    split: str
    payload: Mapping[str, str | int | float] = field(default_factory=dict)

    def read(self, modality: Modality[Any]) -> Any:
        """The decoded item. Raises BadItem or TooLarge."""
        try:
            return modality.read(self.path if self.value is None else self.value)
        except OSError as error:
            raise BadItem(f"the file cannot be read ({error.strerror or error})") from None


@dataclass(frozen=True)
class Dataset:
    """Records of one modality. A part of a data set keeps its classes, so that labels mean the same in every part."""

    name: str
    modality: str
    records: tuple[Record, ...]
    licence: str
    fingerprint: str
    classes: tuple[str, ...]  # sorted
    folder: Path  # of the manifest, to which the files that payload names are relative
    skipped: tuple[tuple[str, str], ...] = ()  # (item, reason) of what was found but cannot be used

    def __len__(self) -> int:
        return len(self.records)

    def labels(self) -> np.ndarray:
        """int64 [N], positions in `classes`; -1 where an item has no label."""
        return self._labels.copy()

    def read(self, i: int, modality: Modality[Any]) -> Any:
        """Item i, decoded. Raises BadItem or TooLarge, naming the item."""
        try:
            return self.records[i].read(modality)
        except BadItem as error:
            raise type(error)(f"{self.records[i].id}: {error}") from None

    def side(self, i: int, name: str, modality: Modality[Any]) -> Any:
        """What stands beside item i in column `name`, decoded. Raises BadItem or TooLarge, naming the item."""
        record = self.records[i]
        if name not in record.payload:
            raise BadItem(f"{record.id}: column '{name}' holds nothing: fill it, or leave the item out")
        stated = str(record.payload[name])
        try:
            return modality.read(stated if modality.inline else self.folder / stated)
        except OSError as error:
            raise BadItem(f"{record.id}: {stated} cannot be read ({error.strerror or error})") from None
        except BadItem as error:
            raise type(error)(f"{record.id}: column '{name}': {error}") from None

    def beside(self, name: str, modality: Modality[Any]) -> "Dataset":
        """What stands in column `name`, as items in place of these: of several texts, one a line, the first.

        Items beside which nothing stands are left out.
        """
        records = []
        for record in self.records:
            if name in record.payload:
                stated = str(record.payload[name])
                place = (None, stated.partition("\n")[0]) if modality.inline else (self.folder / stated, None)
                records.append(replace(record, path=place[0], value=place[1]))
        return replace(self, modality=modality.name, records=tuple(records))

    def state_of(self, side: str, modality: Modality[Any]) -> str:
        """Changes when anything in that column does, or in the files that it names."""
        stated = [str(record.payload.get(side, "")) for record in self.records]
        files = [] if modality.inline else [self.folder / value for value in stated if value]
        return digest([*stated, *(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)])

    def inputs(self, modality: Modality[Any], limit: int | None = None) -> Arrays:
        """Encoder inputs of the first `limit` items or all, as serving makes them."""
        count = len(self) if limit is None else min(limit, len(self))
        return modality.collate([modality.prepare(self.read(i, modality))[0] for i in range(count)])

    def split(self, name: str) -> "Dataset":
        """The items of "train", "val" or "test"; there may be none."""
        if name not in SPLITS:
            raise UnknownName.among("split", name, SPLITS)
        return self.subset([i for i, record in enumerate(self.records) if record.split == name])

    def subset(self, indices: Sequence[int] | np.ndarray) -> "Dataset":
        """The items at `indices`, in that order."""
        records = tuple(self.records[int(i)] for i in indices)
        return replace(
            self, records=records, fingerprint=digest([self.fingerprint, *(record.id for record in records)])
        )

    def only(self, values: Mapping[str, Sequence[str]]) -> "Dataset":
        """The items that have one of the values in every column named, `label` or payload. Raises WrongUse."""
        if not values:
            return self
        taken = [
            i
            for i, record in enumerate(self.records)
            if all(str({**record.payload, "label": record.label}.get(name)) in some for name, some in values.items())
        ]
        if not taken:
            raise WrongUse(f"no item of '{self.name}' has {' and '.join(f'{n} {list(v)}' for n, v in values.items())}")
        return self.subset(taken)

    def without(self, listed: str | None) -> "Dataset":
        """Without training items that column `item` of a CSV file names, as Data health writes it. Raises WrongUse."""
        if listed is None:
            return self
        try:
            with Path(listed).open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise WrongUse(f"data.exclude: {listed} cannot be read ({error})") from None
        named = {row.get("item") for row in rows}
        left = [i for i, record in enumerate(self.records) if record.split != "train" or record.id not in named]
        if len(left) == len(self):
            raise WrongUse(
                f"data.exclude: column 'item' of {listed} names no training item of '{self.name}', whose items are "
                f"called as {self.records[0].id!r}: take a list that Data health wrote of these items"
            )
        return self.subset(left)

    def shortened(self, train_items: int | None, held_out_items: int | None = None) -> "Dataset":
        """With at most so many items of train, and of each other split, chosen by the hash of their ids."""
        left_out: set[int] = set()
        for split in SPLITS:
            its = [i for i, record in enumerate(self.records) if record.split == split]
            most = train_items if split == "train" else held_out_items
            if most is not None and len(its) > most:
                left_out.update(sorted(its, key=lambda i: digest([self.records[i].id]))[most:])
        return self.subset([i for i in range(len(self)) if i not in left_out]) if left_out else self

    @cached_property
    def _labels(self) -> np.ndarray:
        position = {name: i for i, name in enumerate(self.classes)}
        return np.array([-1 if r.label is None else position[r.label] for r in self.records], np.int64)


def digest(fields: Iterable[str | None]) -> str:
    """sha256 of a sequence of strings; None differs from the empty string."""
    total = hashlib.sha256()
    for text in fields:
        data = b"" if text is None else text.encode("utf-8", "surrogatepass")
        total.update(b"%d\0" % (-1 if text is None else len(data)) + data)
    return total.hexdigest()
