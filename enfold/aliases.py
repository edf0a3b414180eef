"""The aliases of one bundle, each with the versions it pointed at before.

<store>/<name>/aliases.json   {"prod": [1, 3, 2]}: prod points at 2, pointed at 3 before, and at 1 at first
"""

import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt, TypeAdapter, ValidationError

from enfold.errors import BundleInvalid, WrongUse

_NAME = re.compile(r"[a-z][a-z0-9._-]{0,62}")  # begins with a letter: a number is a version
_REMEMBERED = 10  # versions per alias; older ones are forgotten

History = dict[str, Annotated[list[PositiveInt], Field(min_length=1)]]  # the last is the version pointed at
_FILE: TypeAdapter[History] = TypeAdapter(History)


def read(folder: Path) -> History:
    """The aliases of the bundle in `folder`. Raises BundleInvalid for a damaged file."""
    file = folder / "aliases.json"
    try:
        return _FILE.validate_json(file.read_bytes())
    except FileNotFoundError:
        return {}
    except ValidationError:
        raise BundleInvalid(f"{file} is damaged: delete it and promote again") from None


@contextmanager
def changing(folder: Path) -> Iterator[History]:
    """The aliases of the bundle in `folder`, to be changed in place: written when the block ends well.

    Others who would change them, or remove versions, wait until then; who reads sees the old or the new ones whole.
    """
    import fcntl  # not on Windows, where bundles can be read all the same

    with (folder / ".aliases.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before, history = read(folder), read(folder)
        yield history
        if history != before:
            draft = folder / ".aliases.json"
            draft.write_bytes(_FILE.dump_json(history))
            os.replace(draft, folder / "aliases.json")


def point(history: History, alias: str, version: int) -> None:
    """Let an alias point at a version. Raises WrongUse for what is no name of an alias."""
    if not _NAME.fullmatch(alias):
        raise WrongUse(
            f"alias '{alias}': an alias is a letter, then letters, digits and . _ - in lower case, like 'prod'"
        )
    pointed = history.get(alias, [])
    if pointed[-1:] != [version]:
        history[alias] = [*pointed, version][-_REMEMBERED:]


def back(pointed: list[int], have: Collection[int]) -> list[int]:
    """What is left of an alias's versions when it goes back to the one before that is still there; [] if none is."""
    current, earlier = pointed[-1], pointed[:-1]
    while earlier and (earlier[-1] == current or earlier[-1] not in have):
        earlier = earlier[:-1]
    return earlier
