"""A head from labelled points: the next version of a bundle, which answers task `nearest` too."""

from collections import Counter
from pathlib import Path

import numpy as np

from enfold import editions, wire
from enfold.bundle import Bundle, seal
from enfold.errors import WrongUse
from enfold.tasks import nearest
from serving.index import Collection

TASK, PROTOTYPES = "nearest", "resources/nearest.npz"


def make(collection: Collection, asked: wire.NewHead, bundle: Bundle, size: str | None, bundles: Path) -> wire.Head:
    """Fit class means to the points that carry the field, and publish them beside the bundle's graphs.

    size      whose vectors the collection holds
    bundles   the store

    Raises WrongUse if fewer than two labels have two points.
    """
    vectors, labels = _labelled(collection, asked.field)
    have = Counter(labels)
    few = sorted(label for label, count in have.items() if count < 2)
    kept = [i for i, label in enumerate(labels) if have[label] > 1]
    if len(have) - len(few) < 2:
        raise WrongUse(
            f"field '{asked.field}' of collection '{asked.collection}' gives {len(have) - len(few)} labels with "
            "two points or more; a head needs two: label some points of each kind first"
        )
    means, names, temperature, accuracy = nearest.fit(vectors[kept], [labels[i] for i in kept])
    spec = nearest.NearestSpec(labels=names, prototypes=PROTOTYPES, size=size, temperature=temperature)
    about = f"{len(names)} labels, leave-one-out accuracy {accuracy:.3f}"
    made_of = f"{len(kept):,} points of collection `{asked.collection}` by their `{asked.field}`"
    with editions.next_of(bundle, bundles, without=(PROTOTYPES,)) as (draft, manifest):
        (draft / PROTOTYPES).parent.mkdir(exist_ok=True)
        np.savez(draft / PROTOTYPES, **means)  # type: ignore[arg-type]
        editions.tell(draft, f"Task `{TASK}`", f"Class means of {made_of}: {about}.")
        tasks = {**manifest.tasks, TASK: spec.model_dump(mode="json")}
        metrics = {**manifest.metrics, "nearest_leave_one_out_accuracy": accuracy}
        made = seal(draft, manifest.model_copy(update={"tasks": tasks, "metrics": metrics}))
    counts = {label: have[label] for label in names}
    return wire.Head(
        model=f"{made.name}@{made.version}", task=TASK, labels=counts, left_out=few, leave_one_out_accuracy=accuracy
    )


def _labelled(collection: Collection, field: str) -> tuple[np.ndarray, list[str]]:
    """Vectors [N, D] and labels of the points that have the field."""
    vectors, labels = [], []
    for points in collection.scroll():
        rows = [i for i, payload in enumerate(points.payloads) if isinstance(payload.get(field), str | int)]
        vectors.append(np.asarray(points.vectors)[rows])
        labels += [str(points.payloads[i][field]) for i in rows]
    return np.concatenate(vectors or [np.zeros((0, 1), np.float32)]), labels
