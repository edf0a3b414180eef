"""The published methods, as `make docs` last wrote them down: readable where nothing that trains is installed."""

import json
from collections.abc import Iterable
from importlib.resources import files

from enfold.errors import UnknownName
from enfold.wire import Method

FILE = "catalogue.json"  # beside this module
_BEST_FIRST = ("holds", "undecided", "fails", None)


def methods() -> list[Method]:
    """All of them, in the order of the catalogue."""
    return [Method(**row) for row in json.loads(files("enfold").joinpath(FILE).read_bytes())]


def recommended(modality: str, among: Iterable[Method]) -> list[Method]:
    """Methods whose recipe takes such items, those first whose claim was found to hold. Raises UnknownName."""
    among = list(among)
    fitting = [one for one in among if modality in one.items]
    if not fitting:
        known = {name for one in among for name in one.items}
        raise UnknownName.among("kind of item with a working method", modality, known)
    return sorted(fitting, key=lambda one: _BEST_FIRST.index(one.claim.verdict if one.claim else None))
