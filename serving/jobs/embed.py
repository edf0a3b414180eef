"""Embeds every item of a source: into a collection of the index, or into Parquet files.

The same command again goes on where it was, and skips what has not changed. What cannot be read is noted with its
reason and stops nothing.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import typer
from pydantic import Field, field_validator

import enfold
from enfold import settings, store
from enfold.bundle import NAME
from enfold.errors import BadItem, WrongUse, require
from enfold.model import Model
from enfold.settings import Settings
from serving import reach
from serving.jobs import record
from serving.jobs.ledger import Ledger
from serving.jobs.pipeline import Index, Make, Maker, Pipeline
from serving.jobs.places import Place
from serving.jobs.shards import Shards
from serving.jobs.source import Source, open_source, uri_of

TRIED = 32  # items from which an estimate is made
MOST_SHARDS = 10_000
_LETTERS = "dead_letters.jsonl"


class Embedding(record.Arguments):
    """What to embed, with what, and where to."""

    source: record.Word
    model: record.Word
    to: record.Word
    variant: record.Word = "fp32"
    size: record.Word | None = None
    entry: record.Word | None = None
    parts: bool = False
    tokens: bool = False
    limit: int | None = Field(None, ge=1)
    shard: record.Word = "1/1"
    retry_dead: bool = False
    engine: Literal["local", "ray"] = "local"
    workers: int | None = Field(None, ge=1)

    @field_validator("to")
    @classmethod
    def _reachable(cls, to: str) -> str:
        _target(to)
        return to

    @field_validator("shard")
    @classmethod
    def _a_share(cls, told: str) -> str:
        _share(told)
        return told

    def id(self, settings: Settings) -> str:
        uri = uri_of(self.source, data=settings.data)
        bundle = store.find(settings.bundles, self.model)
        kind, where = _target(self.to)
        facts = [uri, f"{bundle.parent.name}@{bundle.name}", self.variant, self.parts, kind, where]
        facts += [self.size] if self.size else []
        facts += [f"entry {self.entry}"] if self.entry else []
        facts += [self.shard] if self.shard != "1/1" else []
        facts += ["tokens"] if self.tokens else []
        return hashlib.sha256(orjson.dumps(facts)).hexdigest()[:16]

    def words(self) -> list[str]:
        chosen = ["--variant", self.variant] if self.variant != "fp32" else []
        chosen += ["--size", self.size] if self.size else []
        chosen += ["--entry", self.entry] if self.entry else []
        chosen += ["--parts"] if self.parts else []
        chosen += ["--tokens"] if self.tokens else []
        chosen += ["--limit", str(self.limit)] if self.limit else []
        chosen += ["--shard", self.shard] if self.shard != "1/1" else []
        chosen += ["--retry-dead"] if self.retry_dead else []
        chosen += ["--engine", self.engine] if self.engine != "local" else []
        chosen += ["--workers", str(self.workers)] if self.workers else []
        # As a whole path: the job may be taken up from another folder.
        source = os.path.abspath(path) if (path := Path(self.source).expanduser()).exists() else self.source
        return ["embed", source, "--model", self.model, "--to", self.to, *chosen]


def embed(
    source: Annotated[
        str, typer.Argument(help="folder, file, .tar shards, manifest, s3://… of these, or fetched data set")
    ],
    model: Annotated[str, typer.Option(help="bundle: name, name@version or name@alias")],
    to: Annotated[str, typer.Option(help="index://COLLECTION, parquet://DIR or parquet://s3://…")],
    variant: Annotated[str, typer.Option(help="precision")] = "fp32",
    size: Annotated[str | None, typer.Option(help="one of the bundle's sizes; its last if left out")] = None,
    entry: Annotated[str | None, typer.Option(help="which items, where a bundle takes several kinds")] = None,
    parts: Annotated[bool, typer.Option("--parts", help="a vector per window of long items")] = False,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="keep the vectors of tokens too, for late interaction")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="only the first so many items; later more, or all")] = None,
    shard: Annotated[str, typer.Option(help="I/N: the Ith share of the items, where N machines work")] = "1/1",
    retry_dead: Annotated[bool, typer.Option("--retry-dead", help="try again what could not be read")] = False,
    engine: Annotated[str, typer.Option(help="local, or ray: by the workers of a Ray cluster")] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="of the cluster; as many as it has room for")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what it would take, from the first items")] = False,
) -> dict[str, Any]:
    """Embed every item of a source; the same command again goes on where it was, and skips what has not changed."""
    config, started = settings.load(), time.monotonic()
    chosen = {"variant": variant, "size": size, "entry": entry, "parts": parts, "limit": limit, "shard": shard}
    chosen |= {"retry_dead": retry_dead, "engine": engine, "workers": workers, "tokens": tokens}
    job = Embedding.checked(source=source, model=model, to=to, **chosen)
    encoder = _opening(job, config)()
    encoder.check()
    if job.tokens:
        encoder.check_tokens(encoder.entry())
    whole = open_source(job.source, modality=encoder.facts().modality, data=config.data)
    found = whole.shard(*_share(job.shard))
    found = found if job.limit is None else found.first(job.limit)
    if dry_run:
        return _estimate(encoder, found, job.parts)
    folder = config.jobs / job.id(config)
    with ExitStack() as stack:
        work = stack.enter_context(record.running(folder, "embed", ["enfold", *job.words()]))
        ledger = stack.enter_context(closing(Ledger(folder / "ledger.sqlite")))
        kind, where = _target(job.to)
        kept = Place.at(_folder(where, job.shard) if kind == "parquet" else str(folder))
        if job.retry_dead:
            ledger.forget_failures()
        shards = Shards(kept, folder.name, found.fields)
        index = None
        if kind == "index":
            index = Index(stack.enter_context(reach.collections(config)), where, encoder, job.tokens)
        make = stack.enter_context(_engine(job, encoder, found.uri, config))
        run = Pipeline(make, encoder.bundle.ref, found, ledger, shards, index, work)
        fresh, seconds = run.carry_out()
        counts, letters = ledger.counts(), _write_letters(kept, ledger.failures())
        if counts["failed"] and not counts["vectors"]:
            first = ledger.failures()[0][1]
            raise BadItem(f"none of the {counts['failed']} items could be read: {first}. All reasons: {letters}")
        if index is not None and counts["vectors"]:
            index.finish(work)
    return {
        **counts,
        "skipped": found.count - fresh,
        "seconds": round(time.monotonic() - started, 2),
        "items_per_second": round(fresh / max(seconds, 1e-9), 1),
        "to": job.to,
        "dead_letters": letters,
    }


def _opening(job: Embedding, config: Settings) -> Callable[[], Model]:
    """What opens the job's encoder, run by what ENFOLD_RUNTIME names if it names anything."""
    return partial(
        enfold.open,
        job.model,
        variant=job.variant,
        size=job.size,
        entry=job.entry,
        runtime=config.runtime if "runtime" in config.model_fields_set else None,
        threads=config.threads,
    )


@contextmanager
def _engine(job: Embedding, encoder: Model, uri: str, config: Settings) -> Iterator[Make]:
    """What makes shards of items: this process, or the workers of a Ray cluster."""
    pictures = _target(job.to)[0] == "index"
    maker = partial(Maker, uri=uri, parts=job.parts, pictures=pictures, tokens=job.tokens)
    if job.engine == "local":
        yield partial(maker(encoder).make, threads=config.threads)
        return
    require("ray", "ray", "a job on several machines")
    from serving.jobs.workers import workers

    with workers(_opening(job, config), maker, encoder.facts().space, job.workers, config) as make:
        yield make


def _estimate(encoder: Model, source: Source, parts: bool) -> dict[str, Any]:
    """What the whole would take at the rate of its first items, which are embedded and thrown away."""
    started, items, vectors, failed = time.monotonic(), 0, 0, 0
    for item in source.first(TRIED).items():
        items += 1
        try:
            vectors += len(encoder.embed([item.raw], parts=parts).vectors)
        except (BadItem, OSError):
            failed += 1
    grown = source.count / max(items, 1)
    return {
        "items": source.count,
        "tried": items,
        "failed_of_tried": failed,
        "vectors_about": round(vectors * grown),
        "seconds_about": round(grown * (time.monotonic() - started), 3),
        "megabytes_of_vectors_about": round(vectors * grown * encoder.facts().dimensions * 4 / 1e6, 1),
    }


def _share(told: str) -> tuple[int, int]:
    """I and N of I/N."""
    number, _, of = told.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) <= MOST_SHARDS):
        raise WrongUse(f"shard '{told[:40]}' is none: give I/N with I from 1 to N, N at most {MOST_SHARDS:,}")
    return int(number), int(of)


def _folder(where: str, shard: str) -> str:
    """Of a shard's files: its own, below that of the whole."""
    number, of = _share(shard)
    return where if of == 1 else f"{where}/shard-{number}-of-{of}"


def _target(to: str) -> tuple[str, str]:
    """index and a collection's name, or parquet and an absolute folder or the address of one."""
    kind, _, where = to.partition("://")
    if kind == "index" and re.match(NAME, where):
        return kind, where
    if kind == "parquet" and where:
        return kind, str(Place.at(where))
    raise WrongUse(
        f"'{to[:200]}' is no place for vectors: give index://COLLECTION (small letters, digits, '.', '_', '-') "
        "or parquet://DIR, where DIR may be s3://BUCKET/DIR"
    )


def _write_letters(folder: Place, failures: list[tuple[str, str]]) -> str | None:
    """The items that cannot be read, one JSON object a line; None if there are none."""
    if not failures:
        if _LETTERS in folder.names():
            folder.remove(_LETTERS)
        return None
    folder.put(_LETTERS, b"".join(orjson.dumps({"item": item, "reason": why}) + b"\n" for item, why in failures))
    return f"{folder}/{_LETTERS}"
