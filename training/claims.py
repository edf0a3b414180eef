"""Claims: what a paper promises, run small and published whatever comes out.

`enfold reproduce SLUG` runs every arm of the recipe's claim on every seed, each in a run of its own, and alone writes
docs/results/<slug>.json. Arms run side by side, one thread each: small models use cores better that way.
"""

import json
import os
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from scipy.stats import t as student

from enfold import settings
from enfold.errors import WrongUse
from enfold.settings import Settings
from training import catalogue
from training.commands import Overrides
from training.recipe import Arm, Check, Claim, Recipe, load

CONFIDENCE = 0.90


def reproduce(
    slug: Annotated[str, typer.Argument(help="a method with a claim")],
    smoke: Annotated[bool, typer.Option("--smoke", help="seconds, two seeds; nothing is published")] = False,
    set: Overrides = None,
) -> dict[str, Any]:
    """Run a method's claim on all its seeds and write docs/results/<slug>.json."""
    recipe = load(slug, smoke=smoke, overrides=set or ())
    if (claim := recipe.claim) is None:
        raise WrongUse(f"recipe '{slug}' states no claim")
    if smoke:
        claim = claim.model_copy(update={"seeds": claim.seeds[:2]})  # as few as have an interval
    begun = circumstances()  # of what runs now: the checkout may have moved on when the last arm ends
    runs = run_arms(recipe, claim, settings.load())
    result = {"slug": slug, **verdict(claim, runs), **begun}
    if not (smoke or set):  # a claim at another size is another claim
        catalogue.RESULTS.mkdir(parents=True, exist_ok=True)
        (catalogue.RESULTS / f"{slug}.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def run_arms(recipe: Recipe, claim: Claim, settings: Settings) -> dict[str, dict[int, dict[str, Any]]]:
    """Every arm on every seed: {arm: {seed: {value, figures, seconds, test_items, tried_lr}}}."""
    jobs = [(arm, seed) for arm in claim.arms for seed in arm.seeds or claim.seeds]
    runs: dict[str, dict[int, dict[str, Any]]] = {arm.name: {} for arm in claim.arms}
    with workers(settings.threads) as pool, Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(f"claim of {recipe.slug}", total=len(jobs))
        pending = {pool.submit(run_arm, recipe, arm, seed, settings): (arm, seed) for arm, seed in jobs}
        try:
            for future in as_completed(pending):
                arm, seed = pending[future]
                runs[arm.name][seed] = future.result()
                progress.advance(bar)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {name: dict(sorted(found.items())) for name, found in runs.items()}


def workers(count: int) -> ProcessPoolExecutor:
    """Processes that end with this one, however it ends; what an arm has done by then is found again."""
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_arm(recipe: Recipe, arm: Arm, seed: int, settings: Settings) -> dict[str, Any]:
    """One arm on one seed, in a run that is found again if it was interrupted."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from training.run import Run

    alone = recipe.model_copy(update={"stage": arm.stage, "seed": seed, "claim": None})
    run = Run(alone, settings.model_copy(update={"threads": 1}))
    stages = run.carry_out()["stages"]
    stage, _, figure = arm.metric.partition(".")
    return {
        "value": stages[stage]["figures"][figure],
        "seconds": round(sum(record["seconds"] for record in stages.values()), 1),
        "spent": {record["fingerprint"]: record["seconds"] for record in stages.values()},
        "figures": {name: record["figures"] for name, record in stages.items()},
        "test_items": len(run.dataset.split("test")),
        "tried_lr": [list(getattr(stage, "tried_lr", ())) for stage in arm.stage],
        "run": run.id,
    }


def verdict(claim: Claim, runs: dict[str, dict[int, dict[str, Any]]]) -> dict[str, Any]:
    """The paired difference over seeds with its interval, held against the threshold."""
    checks = [judged(check, claim.seeds, runs) for check in claim.check]
    words = {check["verdict"] for check in checks}
    every = [run for found in runs.values() for run in found.values()]
    spent = {stage: seconds for run in every for stage, seconds in run["spent"].items()}
    return {
        "claim": claim.sentence,
        "remarks": claim.remarks,
        "verdict": "fails" if "fails" in words else "undecided" if "undecided" in words else "holds",
        "checks": checks,
        "confidence": CONFIDENCE,
        "seeds": list(claim.seeds),
        "test_items": next(iter(next(iter(runs.values())).values()))["test_items"],
        # Of all arms one after the other, a stage that several share once: some may come from an earlier call.
        "seconds": round(sum(spent.values())),
        "arms": {
            name: {
                "mean": round(float(np.mean([run["value"] for run in found.values()])), 4),
                "seeds": {str(seed): {k: v for k, v in run.items() if k != "spent"} for seed, run in found.items()},
            }
            for name, found in runs.items()
        },
    }


def judged(check: Check, seeds: Sequence[int], runs: dict[str, dict[int, dict[str, Any]]]) -> dict[str, Any]:
    """One check: the mean over seeds with its interval, held against the threshold."""
    gains = [_gain(check, seed, runs) for seed in seeds]
    low, high = interval(gains)
    found = {
        "verdict": _word(check.threshold, low, high),
        "value": round(float(np.mean(gains)), 4),
        "interval": [round(low, 4), round(high, 4)],
    }
    return check.model_dump() | found


def _gain(check: Check, seed: int, runs: dict[str, dict[int, dict[str, Any]]]) -> float:
    if check.beyond is not None:
        own, other = (
            check.model_copy(update={"beyond": None}),
            dict(zip(("arm", "baseline"), check.beyond, strict=True)),
        )
        return _gain(own, seed, runs) - _gain(own.model_copy(update=other), seed, runs)
    if check.relation == "wins":
        pairs = [
            [_value(f"{arm}:{figure}", seed, runs) for arm in (check.arm, check.baseline)] for figure in check.figures
        ]
        return sum(arm >= baseline for arm, baseline in pairs)
    arm, baseline = _value(check.arm, seed, runs), _value(check.baseline, seed, runs)
    return arm / max(baseline, 1e-12) if check.relation == "ratio" else arm - baseline


def _word(threshold: float | None, low: float, high: float) -> str:
    if threshold is None:
        return "reported"
    return "holds" if low >= threshold else "fails" if high < threshold else "undecided"


def _value(arm: str | float, seed: int, runs: dict[str, dict[int, dict[str, Any]]]) -> float:
    """The figure of an arm's run, or a number that stands for one."""
    if not isinstance(arm, str):
        return arm
    name, _, metric = arm.partition(":")
    stage, _, figure = metric.partition(".")
    run = runs[name][seed]
    return float(run["figures"][stage][figure] if metric else run["value"])


def interval(gaps: list[float]) -> tuple[float, float]:
    """Student's two-sided interval of the mean of paired differences."""
    mean, spread = float(np.mean(gaps)), float(np.std(gaps, ddof=1) / np.sqrt(len(gaps)))
    reach = float(student.ppf((1 + CONFIDENCE) / 2, len(gaps) - 1)) * spread
    return mean - reach, mean + reach


def circumstances() -> dict[str, Any]:
    """When, where and on which commit."""
    from training.run import machine

    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    return {
        "machine": machine(threads=1),
        "commit": git.stdout.strip() or None,
        "date": datetime.now(UTC).date().isoformat(),
    }
