"""The model card: what a person should know before using a bundle."""

from collections.abc import Sequence

from enfold.bundle import Manifest
from export.report import Report


def card(manifest: Manifest, report: Report, notes: Sequence[str] = ()) -> str:
    """README.md of a bundle, in Markdown."""
    sections = [
        f"# {manifest.name}, version {manifest.version}",
        *map(_entry, manifest.entries, manifest.entries.values()),
        *_use(manifest),
        *notes,
        f"## Variants\n\n{_variants(manifest, report)}",
        *[f"`{variant}` was tried and not published: {why}." for variant, why in report.dropped.items()],
        *([f"## Quality\n\n{_table(['figure', 'value'], manifest.metrics.items())}"] if manifest.metrics else []),
        f"## Where it comes from\n\n{_lineage(manifest)}",
        f"## Licence\n\n{manifest.licence}",
    ]
    return "\n\n".join(sections) + "\n"


def _entry(name: str, entry: object) -> str:
    facts = dict(entry)  # type: ignore[call-overload]
    length = "of length 1" if facts["normalize"] else "of any length"
    return (
        f"Turns {facts['modality']} items into vectors of {facts['dimensions']} numbers, {length}, "
        f"in space `{facts['space']}` (pooling: {facts['pooling']})."
    )
