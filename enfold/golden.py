"""The golden items of a bundle: real inputs, and the vectors that the gate saw them give."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from enfold.bundle import Bundle
from enfold.errors import BundleInvalid, EnfoldError
from enfold.modalities import Arrays
from enfold.resources import resource
from enfold.runtime import Session

FILE = "golden.npz"
GOLDEN_COSINE = 0.999  # a processor's own kernels move a quantised vector by a little; a wrong graph by far more


@dataclass(frozen=True)
class Golden:
    """One entry's batch."""

    graph: str
    inputs: Arrays
    expected: np.ndarray  # [N, D]


def golden_of(bundle: Bundle, variant: str, size: str | None) -> list[Golden]:
    """One for each entry."""
    with resource(bundle.path, FILE) as path, np.load(path, allow_pickle=False) as file:
        kept = dict(file)
    found = []
    for name, entry in bundle.manifest.entries.items():
        own = f"{name}/{size}" if size else name
        prefix = f"{own}/in/"
        inputs = {key.removeprefix(prefix): value for key, value in kept.items() if key.startswith(prefix)}
        expected = kept.get(f"{own}/{variant}/out_embedding")
        if not inputs or expected is None:
            raise BundleInvalid(f"{bundle.path}: '{FILE}' has nothing of '{own}' in {variant}: export it again")
        found.append(Golden(entry.graph, inputs, expected))
    return found


def check(golden: list[Golden], session: Callable[[str], Session], what: str) -> float:
    """The lowest cosine of what the graphs give here to what the gate saw. Raises BundleInvalid if a vector has moved.

    what   was opened: bundle, variant and runtime
    """
    try:
        worst = min(
            float(cosine(session(one.graph).run(one.inputs, ("out_embedding",))["out_embedding"], one.expected).min())
            for one in golden
        )
    except EnfoldError:
        raise
    except Exception as error:  # every engine has classes of its own
        raise BundleInvalid(f"{what} fails on its golden items ({error}): export it again") from None
    if not worst >= GOLDEN_COSINE:
        raise BundleInvalid(
            f"{what} gives other vectors here than at export (cosine {worst:.4f}, at least {GOLDEN_COSINE} expected): "
            "this runtime is not fit to serve it"
        )
    return worst


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of matching rows, [N, D] x [N, D] -> [N], in float64."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)
