"""Folders by their address: of this machine, or of an object store (s3://, gs://, az://) through its fsspec driver.

What is put there is whole from the moment it has its name: stores do that by themselves, on a disk a draft is renamed.
Keys and endpoints are the driver's own settings (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …), never part of an address.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from enfold.archives import Packed
from enfold.errors import EnfoldError, MissingExtra, Unavailable, WrongUse

_DRIVERS = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}  # scheme -> package; the extra is named as the scheme
_VERSIONS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "updated", "mtime")  # as drivers call it


def is_remote(address: str) -> bool:
    return "://" in address and not address.startswith("file://")


@dataclass(frozen=True, slots=True)
class Remote(Packed):
    """A file of an object store."""

    files: Any  # fsspec's file system
    path: str
    name: str
    version: str
    size: int

    def read_bytes(self) -> bytes:
        try:
            content: bytes = self.files.cat_file(self.path)
        except Exception as error:  # every driver has its own
            raise OSError(f"{self.path} cannot be read: {error}") from None
        return content

    def state(self) -> str:
        return f"{self.version} {self.size}"

    def fetch(self, folder: Path) -> Path:
        """A copy in a folder of this machine, which is taken again as long as the file does not change."""
        copy = folder / hashlib.sha256(self.path.encode()).hexdigest()[:16] / self.name
        # What reads archives tells changes by the time of a file.
        at = int.from_bytes(hashlib.sha256(self.state().encode()).digest()[:7])
        if not copy.exists() or copy.stat().st_mtime_ns != at:
            copy.parent.mkdir(parents=True, exist_ok=True)
            draft = copy.with_name(f".{self.name}.draft")
            with _reached(self.path):
                self.files.get_file(self.path, str(draft))
            os.utime(draft, ns=(at, at))
            os.replace(draft, copy)
        return copy


@dataclass(frozen=True)
class Place:
    """A folder, or a file of a store."""

    files: Any
    path: str
    scheme: str  # empty for a folder of this machine

    @classmethod
    def at(cls, address: str) -> "Place":
        """Raises WrongUse for an address of another kind, MissingExtra where its driver is not installed."""
        if not is_remote(address):
            return cls(fsspec.filesystem("file"), os.path.abspath(os.path.expanduser(address)), "")
        scheme, _, path = address.partition("://")
        path = path.strip("/")
        if scheme not in _DRIVERS or not path or "::" in address or "@" in path.partition("/")[0]:
            known = ", ".join(f"{one}://BUCKET/…" for one in _DRIVERS)
            raise WrongUse(f"'{address[:200]}' is no place for files: give a path of this machine, or {known}")
        try:
            return cls(fsspec.filesystem(scheme), path, scheme)
        except ImportError:
            raise MissingExtra(
                f"{scheme}:// needs '{_DRIVERS[scheme]}', which is not installed: pip install 'enfold[{scheme}]'"
            ) from None

    @property
    def uri(self) -> str:
        return f"{self.scheme}://{self.path}" if self.scheme else Path(self.path).as_uri()

    def __str__(self) -> str:
        return self.uri if self.scheme else self.path

    def names(self) -> list[str]:
        """Of the files right in it; none if it is not there."""
        try:
            with _reached(str(self)):
                self.files.invalidate_cache()
                return sorted(PurePosixPath(path).name for path in self.files.ls(self.path, detail=False))
        except FileNotFoundError:
            return []

    def open(self, name: str) -> Any:
        with _reached(str(self)):
            return self.files.open(f"{self.path}/{name}", "rb")

    def put(self, name: str, content: bytes) -> None:
        if self.scheme:
            with _reached(str(self)):
                self.files.pipe_file(f"{self.path}/{name}", content)
            return
        final = Path(self.path) / name
        final.parent.mkdir(parents=True, exist_ok=True)
        draft = final.with_suffix(".draft")
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, final)

    def remove(self, name: str) -> None:
        with _reached(str(self)):
            self.files.rm_file(f"{self.path}/{name}")

    def found(self) -> dict[str, Remote]:
        """Of a store: what lies there, by its path relative to this one; "" is the file that this is itself."""
        try:
            with _reached(str(self)):
                self.files.invalidate_cache()
                found = self.files.find(self.path, detail=True)
        except FileNotFoundError:
            return {}
        return {
            "" if path == self.path else path.removeprefix(f"{self.path}/"): self._file(path, facts)
            for path, facts in found.items()
        }

    def _file(self, path: str, facts: dict[str, Any]) -> Remote:
        version = next((str(facts[name]) for name in _VERSIONS if facts.get(name)), "")
        return Remote(self.files, path, PurePosixPath(path).name, version, int(facts.get("size") or 0))


@contextmanager
def _reached(address: str) -> Iterator[None]:
    """Every driver has errors of its own."""
    try:
        yield
    except (EnfoldError, FileNotFoundError):
        raise
    except Exception as error:
        raise Unavailable(f"{address} cannot be read or written: {error}") from None
