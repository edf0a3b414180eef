"""The embedded index: the Qdrant engine in this process, one folder per collection.

<folder>/lock              who has the index open: {"pid", "url"}
<folder>/<collection>/     collection.json, shard-<n>/, thumbnails.sqlite, layout.arrow
"""

import logging
import os
import shutil
import threading
from pathlib import Path

from enfold import wire
from enfold.errors import Unavailable, UnknownName
from enfold.space import same_space
from serving import lock
from serving.index.collection import EdgeCollection

_log = logging.getLogger(__name__)


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
                same_space(new.space, have.facts.space, what=f"'{new.model}'", where=f"collection '{new.name}'")
                return have
            draft = self._folder / f".{new.name}"
            EdgeCollection.create(draft, new)
            os.rename(draft, self._folder / new.name)
            return self.collection(new.name)

    def drop(self, name: str) -> None:
        with self._opening:
            self._check_known(name)
            if name in self._open:  # a damaged one cannot be opened, yet must go
                self._open.pop(name).close()
            doomed = self._folder / f".{name}"
            os.rename(self._folder / name, doomed)
            shutil.rmtree(doomed)

    def names(self) -> list[str]:
        return sorted(path.parent.name for path in self._folder.glob("[!.]*/collection.json"))

    def collection(self, name: str) -> EdgeCollection:
        with self._opening:
            if name not in self._open:
                self._check_known(name)
                self._open[name] = EdgeCollection(self._folder / name)
            return self._open[name]

    def all(self) -> list[EdgeCollection]:
        with self._opening:
            return [collection for name in self.names() if (collection := self._opened(name)) is not None]

    def _check_known(self, name: str) -> None:
        if name not in self.names():
            raise UnknownName.among("collection", name, self.names())

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
