"""enfold: from raw items of any kind to a served, searchable embedding space.

>>> import enfold
>>> model = enfold.open("emoji")
>>> model.embed(["cat.png"]).vectors.shape
(1, 96)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enfold.client import AsyncClient, Client
    from enfold.errors import EnfoldError
    from enfold.model import Model, open

__all__ = ["AsyncClient", "Client", "EnfoldError", "Model", "open"]

_HOME = {
    "AsyncClient": "enfold.client",
    "Client": "enfold.client",
    "EnfoldError": "enfold.errors",
    "Model": "enfold.model",
    "open": "enfold.model",
}


def __getattr__(name: str) -> Any:
    # Resolved on first use: `enfold --help` must not pay for numpy and httpx.
    if name not in _HOME:
        raise AttributeError(f"module 'enfold' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)
