"""From a draft to a bundle in the store: written, judged, sealed, and only then visible."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from enfold.bundle import NAME, Bundle, Graph, Manifest, Size, new_bundle, seal
from enfold.errors import WrongUse
from enfold.model import Model
from enfold.store import versions
from export import gate, variants
from export import onnx as graphs
from export.card import card
from export.draft import Draft
from export.parity import Witnesses, witnesses
from export.report import Report, joined

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


def publish(drafts: Sequence[Draft], name: str, store: Path) -> Published:
    """The next version of bundle `name`. Raises GateRefused or Unavailable; then nothing was published.

    drafts   one, one for each size, smallest first, or one for each entry of a space; each is judged by itself, and a
             variant is there for all or for none
    """
    check_name(name)
    with new_bundle(store, name) as folder:
        dropped = _write(drafts, folder)
        manifest = _manifest(drafts, name, max(versions(store, name), default=0) + 1, dropped)
        judged = [_judge(draft, folder, manifest) for draft in drafts]
        report = joined([found.report for found in judged])
        failed = {variant: report.failures(variant) for variant in manifest.variants}
        dropped |= {variant: str(checks[0]) for variant, checks in failed.items() if checks}
        for variant in dropped:
            for draft in drafts:
                for file in (folder / "graphs").glob(f"{draft.sized(draft.graph)}.{variant}.*"):
                    file.unlink()
        manifest = _manifest(drafts, name, manifest.version, dropped)
        report = report.model_copy(update={"dropped": dropped, "megabytes": _megabytes(folder, manifest)})
        graphs.share(folder / "graphs")
        _golden(judged, manifest, folder)
        for one in judged:
            for variant in manifest.variants:  # the files as they are now, shared weights and all
                Model(Bundle(folder, manifest), variant=variant, size=one.draft.size).check()
        (folder / "export_report.json").write_text(report.model_dump_json(indent=1))
        (folder / "README.md").write_text(card(manifest, report, drafts[-1].notes))
        manifest = seal(folder, manifest)
    return Published(store / name / str(manifest.version), manifest, report)


@dataclass(frozen=True)
class _Judged:
    draft: Draft
    models: dict[str, Model]  # by variant
    seen: Witnesses
    report: Report


def _judge(draft: Draft, folder: Path, manifest: Manifest) -> _Judged:
    """One size through the gate."""
    bundle = Bundle(folder, manifest)
    models = {variant: Model(bundle, variant=variant, size=draft.size) for variant in manifest.variants}
    seen = witnesses(draft, models["fp32"])
    return _Judged(draft, models, seen, gate.judge(draft, models, seen))


def _write(drafts: Sequence[Draft], folder: Path) -> dict[str, str]:
    """Graphs of every size and variant and all resources; returns the variants that could not be made, and why."""
    (folder / "graphs").mkdir()
    failed = {}
    for draft in drafts:
        for path, data in draft.resources.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        for graph, model, _ in _graphs(draft):
            graphs.save(model, folder / _file(draft.sized(graph), "fp32"))
        for variant, make in variants.candidates().items():
            try:
                make(draft, folder / _file(draft.sized(draft.graph), variant))
            except (ValueError, RuntimeError) as error:  # a foreign graph that the converter cannot take
                failed[variant] = f"could not be made: {str(error).splitlines()[0]}"
    return failed


def _graphs(draft: Draft) -> Iterator[tuple[str, onnx.ModelProto, dict[str, Any]]]:
    """Name, graph, and what the manifest says beyond its inputs and outputs."""
    yield draft.graph, draft.encoder, {"role": "encode"}
    for task, model in draft.heads.items():
        yield f"head_{task}", model, {"role": "head"}
    for name, graph in draft.graphs.items():
        yield name, graph.model, {"role": graph.twin.role, "state": dict(graph.twin.state)}


def _manifest(drafts: Sequence[Draft], name: str, version: int, dropped: dict[str, str]) -> Manifest:
    kept = ("fp32", *(variant for variant in variants.candidates() if variant not in dropped))
    listed = {}
    for draft in drafts:
        for graph, model, facts in _graphs(draft):
            sized = draft.sized(graph)
            files = {variant: _file(sized, variant) for variant in (kept if graph == draft.graph else ("fp32",))}
            names = {"inputs": [node.name for node in model.graph.input]}
            names |= {"outputs": [node.name for node in model.graph.output]}
            listed[sized] = Graph.model_validate({"files": files, **names, **facts})
    last, entries, sizes = drafts[-1], {}, [draft.size for draft in drafts if draft.size is not None]
    for draft in drafts:  # the last of an entry is its largest
        own = [one for one in drafts if one.name == draft.name and one.size is not None]
        spaces = {str(one.size): Size(space=one.space(), dimensions=one.dimensions, tokens=one.tokens) for one in own}
        entries[draft.name] = draft.entry().model_copy(update={"sizes": spaces})
    return Manifest(
        name=name,
        version=version,
        created=datetime.now(UTC),
        entries=entries,
        graphs=listed,
        tasks={name: spec for draft in drafts for name, spec in draft.tasks.items()},
        variants=kept,
        sizes=tuple(sizes),
        licence=last.licence,
        lineage=last.lineage,
        metrics={key: value for draft in drafts for key, value in draft.metrics.items()},
    )


def _file(graph: str, variant: str) -> str:
    own = variant != "fp32" and variant not in variants.OF_FP32
    kind = "engine" if variant in variants.ENGINES else "onnx"
    return f"graphs/{graph}.{variant}.{kind}" if own else f"graphs/{graph}.onnx"


def _megabytes(folder: Path, manifest: Manifest) -> dict[str, float]:
    """Of each variant's graphs, every size together, before they share what they hold alike."""
    files = {
        variant: [folder / graph.files[variant] for graph in manifest.graphs.values() if variant in graph.files]
        for variant in manifest.variants
    }
    return {
        variant: round(
            sum(part.stat().st_size for one in found for part in (one, *one.parent.glob(f"{one.stem}.data"))) / 1e6, 3
        )
        for variant, found in files.items()
    }


def _golden(judged: Sequence[_Judged], manifest: Manifest, folder: Path) -> None:
    """A few real items as one batch, with what every size and variant makes of it here."""
    golden: dict[str, np.ndarray] = {}
    for one in judged:
        draft, samples = one.draft, one.seen.samples
        chosen = np.linspace(0, len(samples) - 1, GOLDEN).astype(int)
        inputs = one.models["fp32"].modalities[draft.name].collate([samples[i] for i in chosen])
        own = f"{draft.name}/{draft.size}" if draft.size else draft.name
        golden |= {f"{own}/in/{name}": array for name, array in inputs.items()}
        for variant in manifest.variants:
            golden[f"{own}/{variant}/out_embedding"] = one.models[variant].run(draft.graph, inputs)["out_embedding"]
    np.savez(folder / "golden.npz", **golden)  # type: ignore[arg-type]
