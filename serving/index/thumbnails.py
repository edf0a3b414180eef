"""Pictures of points, beside the engine: an SQLite file of id -> WebP."""

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from enfold.errors import Unavailable


class Thumbnails:
    def __init__(self, path: Path):
        self._path, self._db = path, sqlite3.connect(path, check_same_thread=False)
        self._turn = threading.Lock()
        with self._written():
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA secure_delete = ON")  # an erased picture shall not be found in the file
            self._db.execute("CREATE TABLE IF NOT EXISTS thumbnails (id TEXT PRIMARY KEY, webp BLOB) WITHOUT ROWID")

    def put(self, pictures: dict[str, bytes]) -> None:
        with self._written():
            self._db.executemany("INSERT OR REPLACE INTO thumbnails VALUES (?, ?)", pictures.items())

    def get(self, id: str) -> bytes | None:
        with self._turn:
            row = self._db.execute("SELECT webp FROM thumbnails WHERE id = ?", (id,)).fetchone()
        return row[0] if row else None

    def delete(self, ids: Iterable[str]) -> None:
        with self._written():
            self._db.executemany("DELETE FROM thumbnails WHERE id = ?", ((id,) for id in ids))

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            with self._turn, self._db:
                yield
        except sqlite3.DatabaseError as error:  # a full disk, or a damaged file
            raise Unavailable(f"{self._path} cannot be written: {error}") from None

    def close(self) -> None:
        self._db.close()
