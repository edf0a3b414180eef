"""Every error a user can cause or meet: one tree, one sentence each, with a stable code.

EnfoldError
├── WrongUse            400  the request itself makes no sense            exit 2
│   ├── UnknownName     404  a name that is not in a known list           exit 2
│   └── UnsupportedMedia 415 a body of a kind that is not read            exit 2
├── BadItem             422  an item that cannot be read
│   └── TooLarge        413  an item, list or body over a limit
├── SpaceMismatch       409  vectors of two spaces would meet
├── BundleInvalid       422  a bundle that must not be loaded
├── GateRefused         422  an export that must not be published
├── Diverged            422  a training whose loss is no number any more
├── Conflict            409  something is in the way (a name, a port, a lock)
├── Unauthorized        401  no key
│   └── Forbidden       403  a key without the scope
├── MissingExtra        501  an optional dependency is not installed
├── Expired             504  an answer that was not ready by the request's deadline
└── Unavailable         503  a server or disk that cannot answer now
    ├── Busy            429  a server with too much to do already
    └── OutOfMemory     503  an item for which there is not the memory now

The command line prints the sentence alone and exits with `exit_code`; the server sends it as RFC 9457 problem+json
with `status`; the client raises the same class again.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType


class EnfoldError(Exception):
    """The root. `code` never changes once released; the sentence may."""

    code = "error"
    status = 500
    exit_code = 1


class WrongUse(EnfoldError):
    code, status, exit_code = "wrong_use", 400, 2


class UnknownName(WrongUse):
    code, status = "unknown_name", 404

    @classmethod
    def among(cls, kind: str, name: str, known: Iterable[str], hint: str = "") -> "UnknownName":
        """The sentence for a name that is not in a list: what was asked, the nearest, all of them."""
        names = sorted(known)
        near = get_close_matches(name, names, n=1)
        guess = f" Did you mean '{near[0]}'?" if near else ""
        listed = ", ".join(names) if names else "none yet"
        return cls(f"unknown {kind} '{name}'.{guess} Known: {listed}.{' ' + hint if hint else ''}")


class UnsupportedMedia(WrongUse):
    code, status = "unsupported_media", 415


class BadItem(EnfoldError):
    code, status = "bad_item", 422


class TooLarge(BadItem):
    code, status = "too_large", 413


class SpaceMismatch(EnfoldError):
    code, status = "space_mismatch", 409


class BundleInvalid(EnfoldError):
    code, status = "bundle_invalid", 422


class GateRefused(EnfoldError):
    code, status = "gate_refused", 422


class Diverged(EnfoldError):
    code, status = "diverged", 422


class Conflict(EnfoldError):
    code, status = "conflict", 409


class Unauthorized(EnfoldError):
    code, status = "unauthorized", 401


class Forbidden(Unauthorized):
    code, status = "forbidden", 403


class MissingExtra(EnfoldError):
    code, status = "missing_extra", 501


class Expired(EnfoldError):
    code, status = "expired", 504


class Unavailable(EnfoldError):
    code, status = "unavailable", 503
    retry_after_seconds = 1  # whoever knows better sets it on the instance


class Busy(Unavailable):
    code, status = "busy", 429


class OutOfMemory(Unavailable):
    code = "out_of_memory"


def by_code(code: str) -> type[EnfoldError]:
    """The class that carries `code`, so that a client raises what the server meant."""
    pending: list[type[EnfoldError]] = [EnfoldError]
    while pending:
        cls = pending.pop()
        if cls.code == code:
            return cls
        pending += cls.__subclasses__()
    return EnfoldError


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        root = module.partition(".")[0]
        if missing.name is None or missing.name.partition(".")[0] != root:
            raise
        raise MissingExtra(f"{purpose} needs '{root}', which is not installed: pip install 'enfold[{extra}]'") from None
