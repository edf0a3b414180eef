"""What the bundles of recipes do behind a server: items a second by method, in the process, over HTTP, and by task.

Measures every bundle of the store that `enfold run` made, newest version, each size; items are of its data's test
split, as their files are. A speed does not depend on how long a method was trained. What was published of bundles that
the store does not hold stays, with its date.
"""

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import cycle, islice
from statistics import median
from time import perf_counter
from typing import Any

import orjson

import enfold
from benchmarks.harness import load, peers
from benchmarks.harness.report import PUBLISHED, Result, Row
from enfold import settings, store, tasks
from enfold.errors import WrongUse
from enfold.settings import Settings
from training import recipe
from training.data.dataset import Record
from training.data.sources import open_dataset

ITEMS, QUICK_ITEMS = 64, 16
EACH, CONNECTIONS = 8, 4  # items in a request, requests at once
RUNS, SECONDS = 3, 4
QUICK_RUNS, QUICK_SECONDS = 1, 2
EMBEDDING, ANSWERS = "Embedding:", "Answers to tasks, one item a request:"
WORDS = ("a red heart", "a cat", "smiling", "an open book")  # for tasks that begin with a text
BEGIN_WITH_TEXT = ("generate", "paint")


def run(quick: bool) -> Result:
    config = settings.load()
    made = list(_made(config))
    if not made:
        raise WrongUse("the store holds no bundle of a recipe: enfold run RECIPE makes one")
    embedded, answered = (_kept(title, {_bundle(ref) for _, _, ref in made}) for title in (EMBEDDING, ANSWERS))
    failed: list[str] = []
    for slug, source, ref in made:
        rows, answers = _measured(config, slug, source, ref, quick)
        embedded, answered = embedded + rows, answered + answers
        failed += [row["bundle"] for row in (*rows, *answers) if row["failed"]]
    return Result(
        {title: sorted(rows, key=_place) for title, rows in ((EMBEDDING, embedded), (ANSWERS, answered))},
        {"runs": QUICK_RUNS if quick else RUNS, "items a request": EACH, "connections": CONNECTIONS}
        | {"threads": peers.THREADS},
        f"Requests failed: {', '.join(sorted(set(failed)))}." if failed else "",
    )


def _kept(title: str, again: set[str]) -> list[Row]:
    """Rows that were published of other bundles, whatever their version, than those that are measured again."""
    file = PUBLISHED / "methods.json"
    rows = orjson.loads(file.read_bytes())["tables"][title] if file.exists() else []
    return [row for row in rows if _bundle(row["bundle"]) not in again]


def _bundle(ref: str) -> str:
    return ref.partition("@")[0]


def _place(row: Row) -> tuple[str, str]:
    return row["method"], row["bundle"]


def _made(config: Settings) -> Iterator[tuple[str, str, str]]:
    """Recipes that have a bundle of their items in the store, the data that it learnt from, and its reference."""
    for slug in recipe.names():
        facts = recipe.load(slug)
        for stage in facts.stage:
            if not isinstance(stage, recipe.Export) or not (kept := store.versions(config.bundles, stage.bundle)):
                continue
            ref = f"{stage.bundle}@{kept[-1]}"
            entries = store.open_ref(config.bundles, ref).manifest.entries.values()
            if facts.modality in {entry.modality for entry in entries}:  # not of a column beside the items alone
                yield slug, facts.learnt_from(stage).source, ref


def _measured(config: Settings, slug: str, source: str, ref: str, quick: bool) -> tuple[list[Row], list[Row]]:
    runs, seconds = (QUICK_RUNS, QUICK_SECONDS) if quick else (RUNS, SECONDS)
    facts = recipe.load(slug)
    records = open_dataset(source, data=config.data).split("test").records
    chosen = list(islice(cycle(records), QUICK_ITEMS if quick else ITEMS))
    raw, wired = [record.path or record.value for record in chosen], [_wire(facts.modality, one) for one in chosen]
    embedded: list[Row] = []
    bundle = store.open_ref(config.bundles, ref)
    megabytes = sum(file.stat().st_size for file in bundle.path.rglob("*") if file.is_file()) / 1e6
    with peers.running(peers.enfold(config, ref), config.home / "benchmarks") as server:
        for size in bundle.manifest.sizes or (None,):
            model = enfold.open(ref, size=size, threads=peers.THREADS)
            entry = model.entry(modality=facts.modality)
            model.embed(raw[:EACH], entry)
            own = [_timed(partial(model.embed, raw, entry)) for _ in range(runs)]
            asked = {"entry": entry, "size": size} if size else {"entry": entry}
            bodies = [orjson.dumps({"items": wired[at : at + EACH], **asked}) for at in range(0, len(wired), EACH)]
            found = [load.wrk(server.url, bodies, connections=CONNECTIONS, seconds=seconds) for _ in range(runs)]
            inside, served = len(raw) / median(own), median(one.per_second for one in found) * EACH
            embedded.append(
                {
                    "method": slug,
                    "items": facts.modality,
                    "bundle": ref,
                    "size": size,
                    "MB": megabytes,
                    "in process/s": inside,
                    "over HTTP/s": served,
                    "of in process": served / inside,
                    "failed": _failures(found),
                    "measured": _today(),
                }
            )
        answered = [_answers(server, task, ref, slug, wired, seconds, runs) for task in bundle.manifest.tasks]
    return embedded, answered


def _answers(
    server: peers.Server, task: str, ref: str, slug: str, wired: list[dict[str, Any]], seconds: float, runs: int
) -> Row:
    items = [{"text": words} for words in WORDS] if task in BEGIN_WITH_TEXT else wired
    options = tasks.get(task).trial
    bodies = [orjson.dumps({"items": [item], "task": task, "options": options}) for item in items]
    url = server.url.replace("/embed", "/predict")
    found = [load.wrk(url, bodies, connections=CONNECTIONS, seconds=seconds) for _ in range(runs)]
    rate = median(one.per_second for one in found)
    return {
        "method": slug,
        "bundle": ref,
        "task": task,
        "answers/s": rate,
        "p50 ms": median(one.p50 for one in found) * 1000,
        "failed": _failures(found),
        "measured": _today(),
    }


def _failures(found: list[load.Load]) -> dict[str, int]:
    return {status: count for one in found for status, count in one.failed.items()}


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _timed(work: Callable[[], Any]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


def _wire(modality: str, record: Record) -> dict[str, Any]:
    """An item as a request has it."""
    if record.path is not None:
        return {modality: base64.b64encode(record.path.read_bytes()).decode()}
    value = record.value or "null"
    try:
        return {modality: value if modality == "text" else orjson.loads(value)}
    except orjson.JSONDecodeError:  # written as people write it: a sequence
        return {modality: value}
