"""Files of a bundle that its modalities and tasks read for themselves: tokenizers, statistics, what training learnt."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from enfold.errors import BundleInvalid, EnfoldError


@contextmanager
def resource(folder: Path, name: str) -> Iterator[Path]:
    """The file that a manifest names, while the block reads it.

    Raises BundleInvalid where it lies outside of `folder`, whose digests were checked, or the block fails on it.
    """
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise BundleInvalid(f"{folder}: its manifest names '{name}', which leaves the bundle")
    try:
        yield file
    except EnfoldError:
        raise
    except Exception as error:  # every library has classes of its own for what it cannot read
        raise BundleInvalid(f"{folder}: '{name}' cannot be read ({error}): export it again") from None
