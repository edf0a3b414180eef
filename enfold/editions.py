"""The next version of a bundle, made of the one before: its graphs are linked, not copied, where the disk allows."""

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from enfold import store
from enfold.bundle import Bundle, Manifest, new_bundle


@contextmanager
def next_of(bundle: Bundle, bundles: Path, *, without: Collection[str] = ()) -> Iterator[tuple[Path, Manifest]]:
    """A draft with every file but `without`, and the manifest to change; the caller seals it last.

    bundles   the store
    """
    old = bundle.manifest
    with new_bundle(bundles, old.name) as draft:
        for file in bundle.path.rglob("*"):
            name = file.relative_to(bundle.path)
            if file.is_dir() or name.as_posix() in ("manifest.json", *without):
                continue
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            if name.parts[0] == "graphs":
                _link(file, draft / name)
            else:
                shutil.copy(file, draft / name)
        made = {
            "version": store.versions(bundles, old.name)[-1] + 1,
            "created": datetime.now(UTC),
            "lineage": old.lineage.model_copy(update={"parents": (bundle.ref,)}),
        }
        yield draft, old.model_copy(update=made)


def tell(draft: Path, heading: str, sentence: str) -> None:
    """Put a section at the end of the model card, in the place of one of the same heading."""
    card, mark = draft / "README.md", f"\n## {heading}\n"
    before, _, section = (card.read_text() if card.exists() else "").partition(mark)
    _, others, after = section.partition("\n## ")
    card.write_text(f"{before}{others}{after}{mark}\n{sentence}\n")


def _link(file: Path, place: Path) -> None:
    try:
        os.link(file, place)
    except OSError:  # the file system knows no links
        shutil.copy(file, place)
