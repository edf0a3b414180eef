"""From a draft to a bundle in the store: written, judged, sealed, and only then visible."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx

from enfold.bundle import NAME, Bundle, Graph, Manifest, new_bundle, seal
from enfold.errors import WrongUse
from enfold.model import Model
from enfold.store import versions
from export import gate, variants
from export import onnx as graphs
from export.card import card
from export.draft import Draft
from export.parity import Witnesses, witnesses
from export.report import Report

GOLDEN = 8  # items kept in the bundle with the vectors they must give


@dataclass(frozen=True)
class Published:
    path: Path
    manifest: Manifest
    report: Report


def check_name(name: str) -> None:
    if not re.fullmatch(NAME, name):
        raise WrongUse(
            f"bundle name '{name}' is not allowed: at most 63 lower-case letters, digits, '.', '_' or '-', "
            "and a letter or digit first"
        )


def publish(draft: Draft, name: str, store: Path) -> Published:
    """The next version of bundle `name`. Raises GateRefused or Unavailable; then nothing was published."""
    check_name(name)
    with new_bundle(store, name) as folder:
        dropped = _write(draft, folder)
        manifest = _manifest(draft, name, max(versions(store, name), default=0) + 1, dropped)
        models = {variant: Model(Bundle(folder, manifest), variant=variant) for variant in manifest.variants}
        seen = witnesses(draft, models["fp32"])
        report = gate.judge(draft, models, seen)
        failed = {variant: report.failures(variant) for variant in manifest.variants}
        dropped |= {variant: str(checks[0]) for variant, checks in failed.items() if checks}
        report = report.model_copy(update={"dropped": dropped, "megabytes": _megabytes(folder, draft, manifest)})
        for variant in dropped:
            for file in (folder / "graphs").glob(f"{draft.graph}.{variant}.*"):
                file.unlink()
        manifest = _manifest(draft, name, manifest.version, dropped)
        _golden(draft, {variant: models[variant] for variant in manifest.variants}, seen, folder)
        (folder / "export_report.json").write_text(report.model_dump_json(indent=1))
        (folder / "README.md").write_text(card(manifest, report, draft.notes))
        manifest = seal(folder, manifest)
    return Published(store / name / str(manifest.version), manifest, report)


def _write(draft: Draft, folder: Path) -> dict[str, str]:
    """Graphs of every variant and all resources; returns the variants that could not be made, with the reason."""
    for path, data in draft.resources.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    (folder / "graphs").mkdir()
    graphs.save(draft.encoder, folder / _file(draft, "fp32"))
    for task, head in draft.heads.items():
        graphs.save(head, folder / f"graphs/head_{task}.onnx")
    failed = {}
    for variant, make in variants.CANDIDATES.items():
        try:
            make(draft.encoder, folder / _file(draft, variant))
        except (ValueError, RuntimeError) as error:  # a foreign graph that the converter cannot take
            failed[variant] = f"could not be made: {str(error).splitlines()[0]}"
    return failed


def _manifest(draft: Draft, name: str, version: int, dropped: dict[str, str]) -> Manifest:
    kept = ("fp32", *(variant for variant in variants.CANDIDATES if variant not in dropped))
    encode = _graph("encode", draft.encoder, {variant: _file(draft, variant) for variant in kept})
    heads = {f"head_{task}": _graph("head", m, {"fp32": f"graphs/head_{task}.onnx"}) for task, m in draft.heads.items()}
    return Manifest(
        name=name,
        version=version,
        created=datetime.now(UTC),
        entries={draft.modality: draft.entry()},
        graphs={draft.graph: encode, **heads},
        tasks=draft.tasks,
        variants=kept,
        licence=draft.licence,
        lineage=draft.lineage,
        metrics=draft.metrics,
    )


def _graph(role: str, model: onnx.ModelProto, files: dict[str, str]) -> Graph:
    return Graph.model_validate(
        {
            "role": role,
            "files": files,
            "inputs": tuple(node.name for node in model.graph.input),
            "outputs": tuple(node.name for node in model.graph.output),
        }
    )


def _file(draft: Draft, variant: str) -> str:
    return f"graphs/{draft.graph}.onnx" if variant == "fp32" else f"graphs/{draft.graph}.{variant}.onnx"


def _megabytes(folder: Path, draft: Draft, manifest: Manifest) -> dict[str, float]:
    """Of each variant's graph with its weights."""
    files = {variant: folder / _file(draft, variant) for variant in manifest.variants}
    return {
        variant: round(sum(part.stat().st_size for part in file.parent.glob(f"{file.stem}.[od]*")) / 1e6, 3)
        for variant, file in files.items()
    }


def _golden(draft: Draft, models: dict[str, Model], seen: Witnesses, folder: Path) -> None:
    """A few real items as one batch, with what every variant makes of it here."""
    chosen = np.linspace(0, len(seen.samples) - 1, GOLDEN).astype(int)
    inputs = models["fp32"].modalities[draft.modality].collate([seen.samples[i] for i in chosen])
    golden = {f"{draft.modality}/in/{name}": array for name, array in inputs.items()}
    for variant, model in models.items():
        golden[f"{draft.modality}/{variant}/out_embedding"] = model.session(draft.graph).run(inputs)["out_embedding"]
    np.savez(folder / "golden.npz", **golden)  # type: ignore[arg-type]
