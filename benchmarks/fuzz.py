"""What becomes of damaged files, bundles, recipes, frames and requests? The tests of tests/fuzz, counted.

FUZZ is how many of each (`make fuzz COUNT=2000`); quickly, 100.
"""

import json
import os
import subprocess
import sys

from benchmarks.harness.report import ROOT, Result
from enfold import settings

COUNT, QUICK_COUNT = int(os.environ.get("FUZZ", "500")), 100


def run(quick: bool) -> Result:
    count, kept = QUICK_COUNT if quick else COUNT, settings.load().home / "benchmarks" / "fuzz.jsonl"
    kept.unlink(missing_ok=True)
    told = {"FUZZ": str(count), "FUZZ_TALLY": str(kept)}
    tests = [sys.executable, "-m", "pytest", "-m", "", "-q", "-s", "tests/fuzz"]
    done = subprocess.run(tests, cwd=ROOT, env=os.environ | told, stdout=sys.stderr)
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    wrong = "" if done.returncode == 0 else "A target failed: its test says where."
    return Result({"What became of them:": rows}, {"mutants of each target": count}, wrong)
