"""What a job has done: an SQLite file, one transaction per shard, so that a kill at any moment costs one shard at most.

A shard is in the ledger only once its file is in place; an item only once its shard is.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from enfold.errors import Conflict, Unavailable

VERSION = 1  # of the tables; a ledger of enfold 0.1 has the same, and says 0
_TABLES = """
CREATE TABLE IF NOT EXISTS shards (number INTEGER PRIMARY KEY, vectors INTEGER, indexed INTEGER);
CREATE TABLE IF NOT EXISTS items (key TEXT PRIMARY KEY, state TEXT, shard INTEGER, reason TEXT) WITHOUT ROWID;
"""


class Ledger:
    def __init__(self, path: Path):
        """Raises Conflict for one that a later enfold has written, Unavailable for one that cannot be written."""
        self._path, self._db = path, sqlite3.connect(path)
        with self._written():
            [version] = self._db.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise Conflict(
                    f"{path} is a ledger of version {version}; this enfold reads up to {VERSION}: upgrade enfold, or "
                    "delete the file to do the job from its beginning"
                )
            if version < VERSION:  # and not every time: it is written, and who reads need not wait for who writes
                self._db.execute(f"PRAGMA user_version = {VERSION}")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA secure_delete = ON")  # what is forgotten shall not be found in the file
            self._db.executescript(_TABLES)

    def state(self, key: str) -> str | None:
        """What the item was like when it was done (its size and time, or its digest); None if it is not done."""
        row = self._db.execute("SELECT state FROM items WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def add(self, shard: int, states: Mapping[str, str], failures: Mapping[str, str], vectors: int) -> None:
        """A finished shard: key -> state of its items, key -> reason of those that cannot be read."""
        rows = [(key, state, shard, failures.get(key)) for key, state in states.items()]
        with self._written():
            self._db.execute("INSERT INTO shards VALUES (?, ?, 0)", (shard, vectors))
            self._db.executemany("INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?)", rows)

    def holding(self, keys: Iterable[str]) -> dict[int, list[str]]:
        """The shards of these items: number -> keys."""
        found: dict[int, list[str]] = {}
        for key in keys:
            number = self._db.execute("SELECT shard FROM items WHERE key = ?", (key,)).fetchone()[0]
            found.setdefault(number, []).append(key)
        return found

    def forget(self, shard: int, keys: Iterable[str], vectors: int) -> None:
        """Take items out of a shard that is left with so many vectors."""
        with self._written():
            self._db.executemany("DELETE FROM items WHERE key = ?", ((key,) for key in keys))
            self._db.execute("UPDATE shards SET vectors = ? WHERE number = ?", (vectors, shard))

    def lose(self, shard: int) -> None:
        """A shard whose file is gone: its items are to be done again."""
        with self._written():
            self._db.execute("DELETE FROM items WHERE shard = ?", (shard,))
            self._db.execute("DELETE FROM shards WHERE number = ?", (shard,))

    def forget_failures(self) -> None:
        """Items that could not be read are to be tried again."""
        with self._written():
            self._db.execute("DELETE FROM items WHERE reason IS NOT NULL")

    def forget_source(self, source: str) -> None:
        """Of an upgrade, whose keys begin with the source."""
        with self._written():
            self._db.execute("DELETE FROM items WHERE key >= ? AND key < ?", (f"{source}\0", f"{source}\1"))

    def next_shard(self) -> int:
        return int(self._db.execute("SELECT COALESCE(MAX(number), 0) + 1 FROM shards").fetchone()[0])

    def shards(self, *, indexed: bool | None = None) -> list[int]:
        """Numbers of the shards that hold vectors, of those in the index or not yet."""
        which = "" if indexed is None else f" AND indexed = {int(indexed)}"
        rows = self._db.execute(f"SELECT number FROM shards WHERE vectors > 0{which} ORDER BY number")
        return [row[0] for row in rows]

    def set_indexed(self, shards: Iterable[int], indexed: bool) -> None:
        with self._written():
            self._db.executemany("UPDATE shards SET indexed = ? WHERE number = ?", [(indexed, n) for n in shards])

    def counts(self) -> dict[str, int]:
        """items, failed, vectors."""
        items, failed = self._db.execute("SELECT COUNT(*), COUNT(reason) FROM items").fetchone()
        vectors = self._db.execute("SELECT COALESCE(SUM(vectors), 0) FROM shards").fetchone()[0]
        return {"items": items - failed, "failed": failed, "vectors": vectors}

    def failures(self) -> list[tuple[str, str]]:
        """(item, reason) of what cannot be read."""
        return self._db.execute("SELECT key, reason FROM items WHERE reason IS NOT NULL ORDER BY key").fetchall()

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            with self._db:
                yield
        except sqlite3.DatabaseError as error:  # a full disk, or a damaged file
            raise Unavailable(
                f"{self._path} cannot be written ({error}): make room, or delete it where it is damaged; what it does "
                "not know is done again"
            ) from None

    def close(self) -> None:
        self._db.close()
