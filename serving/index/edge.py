"""The embedded index: the Qdrant engine in this process, one folder per collection.

<folder>/lock              who has the index open: {"pid", "url"}
<folder>/<collection>/     collection.json, shard-<n>/, thumbnails.sqlite, layout.arrow
"""

import os
import shutil
import threading
from pathlib import Path

from enfold import wire
from enfold.errors import UnknownName
from enfold.space import same_space
from serving import lock
from serving.index.collection import EdgeCollection


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
            self.collection(name).close()
            del self._open[name]
            doomed = self._folder / f".{name}"
            os.rename(self._folder / name, doomed)
            shutil.rmtree(doomed)

    def names(self) -> list[str]:
        return sorted(path.parent.name for path in self._folder.glob("[!.]*/collection.json"))

    def collection(self, name: str) -> EdgeCollection:
        with self._opening:
            if name not in self._open:
                if name not in self.names():
                    raise UnknownName.among("collection", name, self.names())
                self._open[name] = EdgeCollection(self._folder / name)
            return self._open[name]

    def close(self) -> None:
        for collection in self._open.values():
            collection.close()
        self._lock.close()
