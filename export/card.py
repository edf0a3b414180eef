"""The model card: what a person should know before using a bundle."""

from collections.abc import Iterable, Sequence

from enfold import tasks
from enfold.bundle import Entry, Manifest
from export.report import Report


def card(manifest: Manifest, report: Report, notes: Sequence[str] = ()) -> str:
    """README.md of a bundle, in Markdown."""
    parts = [
        f"# {manifest.name}, version {manifest.version}",
        *(_entry(name, entry) for name, entry in manifest.entries.items()),
        *notes,
        _use(manifest),
        "## Tasks\n\n" + "\n".join(map(_task, known.items())) if (known := tasks.of(manifest)) else "",
        "## Quality\n\n" + _table(("figure", "value"), manifest.metrics.items()) if manifest.metrics else "",
        "## Variants\n\n" + _variants(manifest, report),
        "\n".join(f"`{variant}` was tried and is not here: {why}." for variant, why in report.dropped.items()),
        f"Judged on {report.items:,} held-out items of {report.data}; every figure is in `export_report.json`.",
        "## Where it comes from\n\n"
        + _table(("what", "id"), manifest.lineage.model_dump(exclude_defaults=True).items()),
        f"## Licence\n\n{manifest.licence}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _entry(name: str, entry: Entry) -> str:
    length = "of length 1" if entry.normalize else "of any length"
    by = "" if name == entry.modality else f" (entry `{name}`)"
    return (
        f"Turns {entry.modality} items{by} into vectors of {entry.dimensions} numbers, {length}, in space "
        f"`{entry.space}` (pooling: {entry.pooling})."
    )


def _use(manifest: Manifest) -> str:
    item = '"a text"' if "text" in manifest.entries else '"cat.png"'
    return f'```python\nimport enfold\n\nenfold.open("{manifest.name}").embed([{item}]).vectors\n```'


def _task(task: tuple[str, dict[str, object]]) -> str:
    name, spec = task
    labels = spec.get("labels")
    return f"- {name}" + (f": {', '.join(map(str, labels))}" if isinstance(labels, list | tuple) else "")


def _variants(manifest: Manifest, report: Report) -> str:
    rows = [
        (
            variant,
            f"{report.megabytes[variant]:,.1f} MB",
            f"{report.items_per_second[variant]:,.0f}",
            _fidelity(report, variant),
        )
        for variant in manifest.variants
    ]
    return _table(("variant", "weights and graph", "items per second at export", "fidelity"), rows)


def _fidelity(report: Report, variant: str) -> str:
    if variant == "fp32":
        return f"cosine to the trained encoder ≥ {report.worst('cosine to'):.7f}"
    return f"recall@10 of fp32's neighbours {report.worst('recall@10', variant):.4f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(value) for value in line)} |" for line in lines)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else ", ".join(value) if isinstance(value, tuple) else str(value)
