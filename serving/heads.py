"""A head from labelled points: the next version of a bundle, which answers task `nearest` too."""

import os
import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from enfold import store, wire
from enfold.bundle import Bundle, new_bundle, seal
from enfold.errors import WrongUse
from enfold.tasks import nearest
from serving.index import Collection

TASK, PROTOTYPES = "nearest", "resources/nearest.npz"
HEADING = f"\n## Task `{TASK}`"


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
    old, counts = bundle.manifest, {label: have[label] for label in names}
    with new_bundle(bundles, old.name) as draft:
        _copy(bundle.path, draft)
        np.savez(draft / PROTOTYPES, **means)  # type: ignore[arg-type]
        card = draft / "README.md"
        written = card.read_text() if card.exists() else ""
        before = written.partition(HEADING)[0]  # of the version without, or with another such head
        about = f"{len(names)} labels, leave-one-out accuracy {accuracy:.3f}"
        made_of = f"{len(kept):,} points of collection `{asked.collection}` by their `{asked.field}`"
        card.write_text(f"{before}{HEADING}\n\nClass means of {made_of}: {about}.\n")
        manifest = old.model_copy(
            update={
                "version": store.versions(bundles, old.name)[-1] + 1,
                "created": datetime.now(UTC),
                "tasks": {**old.tasks, TASK: spec.model_dump(mode="json")},
                "lineage": old.lineage.model_copy(update={"parents": (bundle.ref,)}),
                "metrics": {**old.metrics, "nearest_leave_one_out_accuracy": accuracy},
            }
        )
        seal(draft, manifest)
    return wire.Head(
        model=f"{old.name}@{manifest.version}", task=TASK, labels=counts, left_out=few, leave_one_out_accuracy=accuracy
    )


def _labelled(collection: Collection, field: str) -> tuple[np.ndarray, list[str]]:
    """Vectors [N, D] and labels of the points that have the field."""
    vectors, labels = [], []
    for points in collection.scroll():
        rows = [i for i, payload in enumerate(points.payloads) if isinstance(payload.get(field), str | int)]
        vectors.append(np.asarray(points.vectors)[rows])
        labels += [str(points.payloads[i][field]) for i in rows]
    return np.concatenate(vectors or [np.zeros((0, 1), np.float32)]), labels


def _copy(old: Path, draft: Path) -> None:
    """Every file but what the new version writes itself; graphs are linked, not copied, where the disk allows."""
    for file in old.rglob("*"):
        name = file.relative_to(old)
        if file.is_dir() or name.as_posix() in ("manifest.json", PROTOTYPES):
            continue
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        if name.parts[0] == "graphs":
            _link(file, draft / name)
        else:
            shutil.copy(file, draft / name)
    (draft / PROTOTYPES).parent.mkdir(exist_ok=True)


def _link(file: Path, place: Path) -> None:
    try:
        os.link(file, place)
    except OSError:  # the file system knows no links
        shutil.copy(file, place)
