"""The embedded index: the Qdrant engine in this process, one folder per collection.

<folder>/lock              who has the index open: {"pid", "url"}
<folder>/<collection>/     collection.json, shard-<n>/, thumbnails.sqlite, layout.arrow; later generations in
                           <collection>@<n>/
<folder>/meant.json        {"photos": {"live": 2, "leaving": 1}}: of names that do not mean their first generation alone
"""

import logging
import os
import shutil
import threading
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from enfold import wire
from enfold.errors import Conflict, Unavailable, UnknownName
from serving import lock
from serving.index.checks import check_same
from serving.index.collection import EdgeCollection
from serving.index.names import generation_of

_log = logging.getLogger(__name__)


class Meant(BaseModel):
    """What a name means."""

    live: int = 1
    leaving: int | None = None


_FILE = TypeAdapter(dict[str, Meant])


class EdgeIndex:
    def __init__(self, folder: Path, url: str):
        self._folder = folder
        self._lock = lock.hold(folder / "lock", f"the index in {folder}", url=url)
        for leftover in folder.glob(".*"):  # a creation or removal that was killed half-way
            shutil.rmtree(leftover, ignore_errors=True)
        self._open: dict[str, EdgeCollection] = {}
        self._opening = threading.RLock()  # the engine lets a folder be opened once

    def create(self, new: wire.NewCollection) -> EdgeCollection:
        with self._opening:
            if new.name in self.names():
                have = self.collection(new.name)
                check_same(new, have.facts, new.name)
                return have
            self._mean(new.name, Meant())  # a removal may have been killed before it forgot what the name meant
            return self._make(new, 1)

    def drop(self, name: str) -> None:
        with self._opening:
            kept, (base, number) = self.generations(name), generation_of(name)
            if number == kept.live:
                raise Conflict(f"'{base}' means '{name}': enfold index upgrade {base} --back, or drop '{base}' whole")
            others = [one for one in kept.all if one != kept.live]
            for one in others if number is None else [number]:
                self._remove(base, one)
            if number is None:
                self._remove(base, kept.live)
            if number in (None, kept.leaving):
                self._mean(base, Meant() if number is None else Meant(live=kept.live))

    def names(self) -> list[str]:
        known = {generation_of(path.parent.name)[0] for path in self._folder.glob("[!.]*/collection.json")}
        meant = self._meant()
        return sorted(name for name in known if self._place(name, meant.get(name, Meant()).live).exists())

    def collection(self, name: str) -> EdgeCollection:
        with self._opening:
            base, number = self._checked(name)
            place = self._place(base, number)
            if place.name not in self._open:
                self._open[place.name] = EdgeCollection(place)
            return self._open[place.name]

    def generations(self, name: str) -> wire.Generations:
        with self._opening:
            base, _ = self._checked(name)
            meant = self._meant().get(base, Meant())
            return wire.Generations(name=base, live=meant.live, all=self._numbers(base), leaving=meant.leaving)

    def next_generation(self, new: wire.NewCollection) -> wire.Generations:
        with self._opening:
            kept = self.generations(new.name)
            if (newest := kept.all[-1]) != kept.live:
                have = self.collection(f"{new.name}@{newest}").facts
                check_same(new, have, f"{new.name}@{newest}")
            else:
                self._make(new, newest + 1)
            return self.generations(new.name)

    def switch(self, name: str, to: int) -> wire.Generations:
        with self._opening:
            kept = self.generations(name)
            self.collection(f"{kept.name}@{to}")  # can be opened
            if to != kept.live:
                self._mean(kept.name, Meant(live=to, leaving=kept.live))
            return self.generations(name)

    def settle(self, name: str) -> wire.Generations:
        with self._opening:
            kept = self.generations(name)
            self._mean(kept.name, Meant(live=kept.live))
            return self.generations(name)

    def all(self) -> list[EdgeCollection]:
        with self._opening:
            return [collection for name in self.names() if (collection := self._opened(name)) is not None]

    def _checked(self, address: str) -> tuple[str, int]:
        """A collection's name and the generation that is meant. Raises UnknownName."""
        name, number = generation_of(address)
        if name not in self.names():
            raise UnknownName.among("collection", address, self.names())
        number = self._meant().get(name, Meant()).live if number is None else number
        if number not in (have := self._numbers(name)):
            raise UnknownName.among("collection", address, [name, *(f"{name}@{one}" for one in have)])
        return name, number

    def _numbers(self, name: str) -> list[int]:
        first = [1] if self._place(name, 1).exists() else []
        later = [generation_of(path.parent.name)[1] or 0 for path in self._folder.glob(f"{name}@*/collection.json")]
        return first + sorted(later)

    def _place(self, name: str, number: int) -> Path:
        return self._folder / (name if number == 1 else f"{name}@{number}")

    def _make(self, new: wire.NewCollection, number: int) -> EdgeCollection:
        place = self._place(new.name, number)
        draft = self._folder / f".{place.name}"
        EdgeCollection.create(draft, new)
        os.rename(draft, place)
        return self.collection(f"{new.name}@{number}")

    def _remove(self, name: str, number: int) -> None:
        place = self._place(name, number)
        if place.name in self._open:  # a damaged one cannot be opened, yet must go
            self._open.pop(place.name).close()
        doomed = self._folder / f".{place.name}"
        os.rename(place, doomed)
        shutil.rmtree(doomed)

    def _meant(self) -> dict[str, Meant]:
        file = self._folder / "meant.json"
        try:
            return _FILE.validate_json(file.read_bytes())
        except FileNotFoundError:
            return {}
        except ValidationError:
            raise Unavailable(f"{file} is damaged: it tells which generation a collection's name means") from None

    def _mean(self, name: str, what: Meant) -> None:
        meant = {other: one for other, one in self._meant().items() if other != name}
        if what != Meant():
            meant[name] = what
        draft = self._folder / "meant.draft"
        with draft.open("wb") as file:
            file.write(_FILE.dump_json(meant))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, self._folder / "meant.json")

    def _opened(self, name: str) -> EdgeCollection | None:
        try:
            return self.collection(name)
        except Unavailable as error:
            _log.error("%s", error)
            return None

    def close(self) -> None:
        for collection in self._open.values():
            collection.close()
        self._lock.close()
