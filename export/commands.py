"""Commands of this room: a run or a foreign model, through the gate, into a bundle of the store."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from enfold import settings
from enfold.errors import WrongUse
from export import imports, onnx_file
from export.draft import Draft
from export.held_out import held_out
from export.publish import check_name, publish
from export.runs import FinishedRun, find_run

Name = Annotated[str, typer.Option("--name", help="name of the bundle; each export is its next version")]


def export_run(run: Annotated[str, typer.Argument(help="id of a run, or its folder")], name: Name) -> dict[str, Any]:
    """Put a run's encoder and head through the gate into a bundle."""
    check_name(name)
    found = FinishedRun(find_run(run))
    return _published(lambda: found.drafts(*found.needs()), name)


def export_stage(
    run_path: Path, bundle: str, needs: tuple[str, ...], sizes: Mapping[str, tuple[str, ...]] | None = None
) -> dict[str, Any]:
    """What the export stage of a recipe does."""
    check_name(bundle)
    return _published(lambda: FinishedRun(run_path).drafts(needs, sizes or {}), bundle)


def import_model(
    path: Annotated[Path, typer.Argument(help="a model folder, an .onnx file, or a model that was fetched")],
    name: Name,
    spec: Annotated[Path | None, typer.Option("--spec", help="of an .onnx file, TOML or JSON")] = None,
    data: Annotated[str | None, typer.Option("--data", help="data set that the gate judges by")] = None,
) -> dict[str, Any]:
    """Put a model trained elsewhere through the gate into a bundle.

    A model folder is one that sentence-transformers or Hugging Face's libraries saved, with safetensors.

    The spec of an .onnx file, model.toml beside model.onnx:

    \b
    modality = "text"                # or image
    licence = "MIT"
    output = "last_hidden_state"     # of the file
    pooling = "mean"                 # mean, cls, or none if the output is the embedding already
    normalize = true
    zeros = ["token_type_ids"]       # inputs of the file that are 0 everywhere
    inputs = { input_ids = "ids" }   # ours = the file's, where they differ
    preprocess = { tokenizer = "tokenizer.json", max_tokens = 256 }
    """
    check_name(name)
    store = settings.load().data
    folder = path if path.exists() else store / path
    if folder.is_dir():
        return _published(lambda: [imports.text_draft(folder, held_out("text", data, store))], name)
    if not path.is_file():
        raise WrongUse(f"there is no model {path}: name a model folder, an .onnx file, or a model that was fetched")
    page = spec or path.with_suffix(".toml")
    facts = onnx_file.read_spec(page)
    items = held_out(facts.modality, data, store)
    return _published(lambda: [onnx_file.onnx_draft(path, facts, page.parent, items)], name)


def _published(drafts: Callable[[], list[Draft]], name: str) -> dict[str, Any]:
    started, config = time.monotonic(), settings.load()
    torch.set_num_threads(config.threads)
    console = Console(stderr=True)
    console.print(f"{name}: writing the graphs")
    made = drafts()
    held_out = made[-1].held_out
    console.print(f"{name}: through the gate, on {len(held_out.items):,} items of {held_out.name}")
    found = publish(made, name, config.bundles)
    manifest, report = found.manifest, found.report
    entry = next(iter(manifest.entries.values()))
    return {
        "bundle": manifest.name,
        "version": manifest.version,
        "path": str(found.path),
        "space": entry.space,
        "sizes": {size: facts.space for size, facts in entry.sizes.items()},
        "variants": list(manifest.variants),
        "dropped": report.dropped,
        "fp32_cosine": report.worst("cosine to"),
        "items": report.items,
        "megabytes": report.megabytes,
        "items_per_second": report.items_per_second,
        "seconds": round(time.monotonic() - started, 1),
    }
