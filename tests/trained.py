"""The folder of a training run, as `enfold run` leaves it while it is at work."""

import json
from pathlib import Path


def run(runs: Path, id: str, created: str = "2026-01-02T03:04:05+00:00") -> None:
    """Two stages, the first at work; the embeddings collapse at its third logged step."""
    folder = runs / id
    (folder / "stages/pretrain").mkdir(parents=True, exist_ok=True)
    stages = [{"name": "pretrain", "verb": "pretrain"}, {"name": "evaluate", "verb": "evaluate"}]
    (folder / "recipe.json").write_text(json.dumps({"slug": "gmml", "stage": stages}))
    story = {"id": id, "recipe": "gmml", "data": {"name": "shapes", "items": 20}, "created": created}
    story |= {"state": "running", "stages": {"pretrain": {"state": "running"}}}
    (folder / "run.json").write_text(json.dumps(story))
    rows = [{"step": 10 * n, "loss": 1 / n, "knn_accuracy": 0.5, "collapsed": n == 3} for n in range(1, 4)]
    half_written = '{"step": 40, "lo'
    (folder / "stages/pretrain/curves.jsonl").write_text("\n".join([*map(json.dumps, rows), half_written]))


def finish(runs: Path, id: str) -> None:
    """Its first stage is done."""
    story = json.loads((runs / id / "run.json").read_text())
    story["stages"]["pretrain"] = {"state": "done", "seconds": 12.5, "figures": {"loss": 0.25}}
    (runs / id / "run.json").write_text(json.dumps(story))
