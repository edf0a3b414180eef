"""Who may ask for what: named keys with a scope, a rate and a budget each, in <home>/keys.json as digests.

The file is read again when it changes, so that a key is made, replaced or taken back while a server runs. A scope
allows what the ones before it do. ENFOLD_API_KEY is one more key, of every scope and without a rate.
"""

import hashlib
import math
import os
import re
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer
from pydantic import Field, TypeAdapter, ValidationError

from enfold import settings
from enfold.bundle import NAME
from enfold.errors import Busy, Conflict, Forbidden, Unauthorized, Unavailable, UnknownName, WrongUse
from enfold.modalities import Spec
from enfold.settings import Settings
from serving import lock

ScopeName = Literal["read", "write", "admin"]
SCOPES: tuple[ScopeName, ...] = get_args(ScopeName)
OWNER = "owner"  # the name under which ENFOLD_API_KEY is logged
_READS = re.compile(r"/(embed|predict|rerank|v1/.*|v2/.*|collections/[^/]+/search)")  # by POST
_ADMIN = re.compile(r"/(jobs(/.*)?|collections/[^/]+/generations)")
_COLLECTION = re.compile(r"/collections/[^/]+")
_NO_KEY = "this server wants a key: send 'Authorization: Bearer …', or set ENFOLD_API_KEY"


class Key(Spec):
    name: str = Field(pattern=NAME)
    sha256: str
    scope: ScopeName
    per_minute: int | None = Field(None, ge=1)  # requests; None: as many as there is room for
    seconds_per_minute: float | None = Field(None, gt=0)  # of models' work, whatever is asked; None likewise
    created: str


_FILE = TypeAdapter(list[Key])


def scope_of(method: str, path: str) -> ScopeName:
    """What a request asks to be allowed: to look, to put in or take out points, or to start work on the machine."""
    if method in ("GET", "HEAD") or (method == "POST" and _READS.fullmatch(path)):
        return "read"
    if _ADMIN.fullmatch(path) or (method == "DELETE" and _COLLECTION.fullmatch(path)):
        return "admin"
    return "write"


class Keys:
    """The keys of a running server. Used on its event loop alone.

    own   a key of every scope: ENFOLD_API_KEY, or one made for the jobs of this server
    """

    def __init__(self, settings: Settings):
        self._path, given = _path(settings), settings.api_key
        self._asked = given is not None
        self.own = given.get_secret_value() if given is not None else secrets.token_urlsafe(32)
        self._own = _digest(self.own)
        self._state: tuple[int, int] | None = None
        self._known: list[Key] = []
        self._allowance: dict[str, tuple[float, float]] = {}  # name -> requests left, as of when
        self._budget: dict[str, tuple[float, float]] = {}  # name -> seconds of work left (or owed), as of when

    def admit(self, authorization: str, scope: ScopeName) -> str | None:
        """The name of the caller's key; None on a server without any.

        Raises Unauthorized, Forbidden, or Busy for a key that has asked too often or too much.
        """
        self._reread()
        if not self._asked:
            return None
        kind, _, told = authorization.partition(" ")
        given = _digest(told if kind.lower() == "bearer" else "")
        if secrets.compare_digest(given, self._own):
            return OWNER
        found = [
            key for key in self._known if secrets.compare_digest(given, key.sha256)
        ]  # all of them, whichever it is
        if not found:
            raise Unauthorized(_NO_KEY)
        [key] = found
        if SCOPES.index(key.scope) < SCOPES.index(scope):
            raise Forbidden(f"key '{key.name}' may {key.scope}, and this asks for {scope}: use a key of that scope")
        if key.seconds_per_minute is not None:
            self._check_budget(key.name, key.seconds_per_minute)
        if key.per_minute is not None:
            self._count(key.name, key.per_minute)
        return key.name

    def charge(self, name: str | None, seconds: float) -> None:
        """Note the seconds of a model's work that a key's request took."""
        if name in self._budget:
            left, since = self._budget[name]
            self._budget[name] = (left - seconds, since)

    def _check_budget(self, name: str, per_minute: float) -> None:
        now = time.monotonic()
        left, since = self._budget.get(name, (per_minute, now))
        left = min(left + (now - since) * per_minute / 60, per_minute)
        self._budget[name] = (left, now)
        if left <= 0:
            busy = Busy(f"key '{name}' may have {per_minute:g} s of the models' work a minute, and has had them: wait")
            busy.retry_after_seconds = max(1, math.ceil(-left * 60 / per_minute))
            raise busy

    def _count(self, name: str, per_minute: int) -> None:
        now = time.monotonic()
        left, since = self._allowance.get(name, (float(per_minute), now))
        left = min(left + (now - since) * per_minute / 60, per_minute)
        if left < 1:
            busy = Busy(f"key '{name}' may ask {per_minute:,} times a minute, and has: wait")
            busy.retry_after_seconds = max(1, round((1 - left) * 60 / per_minute))
            raise busy
        self._allowance[name] = (left - 1, now)

    def _reread(self) -> None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._state, self._known = None, []
            return
        if self._state != (found.st_mtime_ns, found.st_size):
            self._asked = True  # from now on, also when the last key is taken back or the file is gone
            self._known = _read(self._path)
            self._state = (found.st_mtime_ns, found.st_size)


def new_key(
    name: Annotated[str, typer.Argument(help="who it is for")],
    scope: Annotated[str, typer.Option(help="read, write (points too), or admin (jobs and whole collections too)")],
    per_minute: Annotated[int | None, typer.Option(min=1, help="requests; as many as there is room for")] = None,
    seconds_per_minute: Annotated[float | None, typer.Option(help="of the models' work; as there is room")] = None,
) -> dict[str, Any]:
    """Make a key, which is shown this once: only its digest is kept. Running servers take it at once."""
    path = _path(settings.load())
    secret = f"enf_{secrets.token_urlsafe(32)}"
    facts: dict[str, Any] = {"name": name, "sha256": _digest(secret), "scope": scope}
    facts |= {"per_minute": per_minute, "seconds_per_minute": seconds_per_minute}
    try:
        made = Key(**facts, created=datetime.now(UTC).isoformat(timespec="seconds"))
    except ValidationError as error:
        first = error.errors()[0]
        raise WrongUse(f"{first['loc'][0]} of a key: {first['msg']}, not {first['input']!r}") from None
    with lock.hold(path.with_suffix(".lock"), str(path)):
        known = _read(path) if path.exists() else []
        if name in {OWNER, *(key.name for key in known)}:
            raise Conflict(f"there is a key '{name}' already: revoke it first, or take another name")
        _write(path, [*known, made])
    return {"name": name, "scope": scope, "key": secret}


def list_keys() -> list[dict[str, Any]]:
    """Names, scopes and rates of the keys of this home."""
    path = _path(settings.load())
    return [key.model_dump(exclude={"sha256"}) for key in (_read(path) if path.exists() else [])]


def revoke_key(name: Annotated[str, typer.Argument(help="of the key")]) -> dict[str, Any]:
    """Take a key back: running servers refuse it from the next request on."""
    path = _path(settings.load())
    with lock.hold(path.with_suffix(".lock"), str(path)):
        known = _read(path) if path.exists() else []
        left = [key for key in known if key.name != name]
        if len(left) == len(known):
            raise UnknownName.among("key", name, [key.name for key in known])
        _write(path, left)
    return {"revoked": name, "left": len(left)}


def protected(config: Settings) -> bool:
    """Whether a server of these settings asks every caller for a key."""
    return config.api_key is not None or _path(config).exists()


def _path(config: Settings) -> Path:
    return config.home / "keys.json"


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _read(path: Path) -> list[Key]:
    try:
        return _FILE.validate_json(path.read_bytes())
    except ValueError:
        raise Unavailable(f"{path} cannot be read as keys, so that nobody is let in: mend it, or put it back") from None


def _write(path: Path, keys: list[Key]) -> None:
    draft = path.with_suffix(".draft")
    draft.touch(mode=0o600)
    draft.write_bytes(_FILE.dump_json(keys, indent=1))
    os.replace(draft, path)
