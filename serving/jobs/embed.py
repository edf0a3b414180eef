"""Embeds every item of a source: into a collection of the index, or into Parquet files.

The same command again goes on where it was, and skips what has not changed. What cannot be read is noted with its
reason and stops nothing.
"""

import hashlib
import os
import re
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from pydantic import field_validator

import enfold
from enfold import settings, store
from enfold.bundle import NAME
from enfold.errors import BadItem, WrongUse
from enfold.settings import Settings
from serving import reach
from serving.jobs import record
from serving.jobs.ledger import Ledger
from serving.jobs.pipeline import Index, Pipeline
from serving.jobs.shards import Shards
from serving.jobs.source import locate, open_source


class Embedding(record.Arguments):
    """What to embed, with what, and where to."""

    source: record.Word
    model: record.Word
    to: record.Word
    variant: record.Word = "fp32"
    size: record.Word | None = None
    parts: bool = False

    @field_validator("to")
    @classmethod
    def _reachable(cls, to: str) -> str:
        _target(to)
        return to

    def id(self, settings: Settings) -> str:
        _, uri = locate(self.source, data=settings.data)
        bundle = store.find(settings.bundles, self.model)
        kind, where = _target(self.to)
        facts = [uri, f"{bundle.parent.name}@{bundle.name}", self.variant, self.parts, kind, where]
        facts += [self.size] if self.size else []
        return hashlib.sha256(orjson.dumps(facts)).hexdigest()[:16]

    def words(self) -> list[str]:
        chosen = ["--variant", self.variant] if self.variant != "fp32" else []
        chosen += ["--size", self.size] if self.size else []
        chosen += ["--parts"] if self.parts else []
        return ["embed", self.source, "--model", self.model, "--to", self.to, *chosen]


def embed(
    source: Annotated[
        str, typer.Argument(help="folder, file, .tar shards, CSV/Parquet/JSONL manifest, or fetched data set")
    ],
    model: Annotated[str, typer.Option(help="bundle: name, name@version or name@alias")],
    to: Annotated[str, typer.Option(help="index://COLLECTION or parquet://DIR")],
    variant: Annotated[str, typer.Option(help="precision")] = "fp32",
    size: Annotated[str | None, typer.Option(help="one of the bundle's sizes; its last if left out")] = None,
    parts: Annotated[bool, typer.Option("--parts", help="a vector per window of long items")] = False,
) -> dict[str, Any]:
    """Embed every item of a source; the same command again goes on where it was, and skips what has not changed."""
    config, started = settings.load(), time.monotonic()
    job = Embedding.checked(source=source, model=model, to=to, variant=variant, size=size, parts=parts)
    encoder = enfold.open(job.model, variant=job.variant, size=job.size, threads=config.threads)
    encoder.check()
    found = open_source(job.source, modality=encoder.facts().modality, data=config.data)
    folder = config.jobs / job.id(config)
    with ExitStack() as stack:
        work = stack.enter_context(record.running(folder, "embed", ["enfold", *job.words()]))
        ledger = stack.enter_context(closing(Ledger(folder / "ledger.sqlite")))
        kind, where = _target(job.to)
        kept = Path(where) if kind == "parquet" else folder
        shards = Shards(kept, folder.name, found.fields)
        index = Index(stack.enter_context(reach.collections(config)), where, encoder) if kind == "index" else None
        run = Pipeline(encoder, found, job.parts, ledger, shards, index, work)
        fresh, seconds = run.carry_out(config.threads)
        counts, letters = ledger.counts(), _write_letters(kept, ledger.failures())
        if not counts["vectors"]:
            first = ledger.failures()[0][1]
            raise BadItem(f"none of the {counts['failed']} items could be read: {first}. All reasons: {letters}")
        if index is not None:
            index.finish(work)
    return {
        **counts,
        "skipped": found.count - fresh,
        "seconds": round(time.monotonic() - started, 2),
        "items_per_second": round(fresh / seconds, 1),
        "to": job.to,
        "dead_letters": letters,
    }


def _target(to: str) -> tuple[str, str]:
    """index and a collection's name, or parquet and an absolute folder."""
    kind, _, where = to.partition("://")
    if kind == "index" and re.match(NAME, where):
        return kind, where
    if kind == "parquet" and where:
        return kind, os.path.abspath(os.path.expanduser(where))
    raise WrongUse(
        f"'{to[:200]}' is no place for vectors: give index://COLLECTION (small letters, digits, '.', '_', '-') "
        "or parquet://DIR"
    )


def _write_letters(folder: Path, failures: list[tuple[str, str]]) -> str | None:
    """The items that cannot be read, one JSON object a line; None if there are none."""
    file = folder / "dead_letters.jsonl"
    if not failures:
        file.unlink(missing_ok=True)
        return None
    draft = file.with_suffix(".draft")
    draft.write_bytes(b"".join(orjson.dumps({"item": item, "reason": why}) + b"\n" for item, why in failures))
    os.replace(draft, file)
    return str(file)
