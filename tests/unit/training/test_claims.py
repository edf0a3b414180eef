"""A claim's verdict follows from its figures alone; its processes leave nothing running."""

import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest
from scipy import stats

from tests.servers import until
from training import recipe
from training.claims import interval, judged, verdict
from training.recipe import Check

CLAIM = recipe.load("gmml").claim
CHECK = CLAIM.check[0]


def runs(gaps):
    def arm(values):
        facts = {"test_items": 100, "seconds": 1.5, "spent": {"shared": 1.0, "own": 0.5}}
        return {seed: {"value": value, **facts} for seed, value in enumerate(values)}

    return {CHECK.arm: arm([0.5 + gap for gap in gaps]), CHECK.baseline: arm([0.5] * len(gaps))}


@pytest.mark.parametrize(
    ("gaps", "word"),
    [
        ([0.10, 0.11, 0.12], "holds"),
        ([-0.01, 0.0, 0.01], "fails"),
        ([0.0, 0.03, 0.06], "undecided"),
        ([0.04, 0.20, 0.01], "undecided"),
    ],
)
def test_the_whole_interval_decides(gaps, word):
    assert verdict(CLAIM, runs(gaps))["verdict"] == word


def test_the_interval_is_that_of_a_one_sample_t_test():
    gaps = [0.01, 0.05, 0.02, 0.04]
    expected = stats.ttest_1samp(gaps, 0).confidence_interval(0.90)
    np.testing.assert_allclose(interval(gaps), [expected.low, expected.high])


def test_a_ratio_is_judged_as_one():
    check = CHECK.model_copy(update={"relation": "ratio", "threshold": 1.1})
    claim = CLAIM.model_copy(update={"check": (check,)})
    found = verdict(claim, runs([0.10, 0.11, 0.12]))["checks"][0]
    assert found["value"] == 1.22
    assert found["verdict"] == "holds"


def test_wins_are_figures_on_which_an_arm_is_no_worse():
    def arm(*values):
        return {0: {"value": 0, "figures": {"judge": dict(zip("abc", values, strict=True))}}}

    check = Check(arm="one", baseline="two", relation="wins", figures=("judge.a", "judge.b", "judge.c"), threshold=2)
    told = {"one": {**arm(1, 2, 3), 1: arm(1, 2, 3)[0]}, "two": {**arm(1, 3, 2), 1: arm(0, 3, 2)[0]}}
    found = judged(check, [0, 1], told)
    assert (found["value"], found["verdict"]) == (2, "holds")
    with pytest.raises(ValueError, match="wins of figures"):
        Check(arm="one", baseline="two", relation="wins")


def test_a_gain_beyond_another_is_what_is_left_of_it():
    """Seed by seed: 0.3 and 0.5 at few labels, 0.1 and 0.1 at all."""
    found = {"one": [(0.5, 0.8), (0.8, 0.9)], "two": [(0.2, 0.7), (0.3, 0.8)]}
    runs = {
        arm: {seed: {"value": few, "figures": {"tune": {"all": more}}} for seed, (few, more) in enumerate(pairs)}
        for arm, pairs in found.items()
    }
    check = Check(arm="one", baseline="two", beyond=("one:tune.all", "two:tune.all"), threshold=0.0)
    assert judged(check, (0, 1), runs)["value"] == pytest.approx(0.3)


def test_one_failing_check_fails_the_claim():
    strict = CHECK.model_copy(update={"threshold": 0.5})
    claim = CLAIM.model_copy(update={"check": (CHECK, strict)})
    found = verdict(claim, runs([0.10, 0.11, 0.12]))
    assert [check["verdict"] for check in found["checks"]] == ["holds", "fails"]
    assert found["verdict"] == "fails"


def test_an_arm_may_be_asked_for_another_figure_of_its_run():
    def arm(value, other):
        return {seed: {"value": value, "figures": {"look": {"other": other}}} for seed in range(3)}

    found = {"a": arm(0.5, 0.9), "b": arm(0.4, 0.3)}
    values = [
        judged(Check(arm=first, baseline=second, relation="ratio", threshold=1.0), range(3), found)["value"]
        for first, second in (("a", "b"), ("a:look.other", "b:look.other"), ("a:look.other", "a"))
    ]
    assert values == [1.25, 3.0, 1.8]


def test_a_check_without_a_threshold_is_reported_and_decides_nothing():
    told = CHECK.model_copy(update={"threshold": None})
    found = verdict(CLAIM.model_copy(update={"check": (CHECK, told)}), runs([0.10, 0.11, 0.12]))
    assert [check["verdict"] for check in found["checks"]] == ["holds", "reported"]
    assert found["verdict"] == "holds"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_command_however_it_ends(how):
    program = """
import os, time
from training.claims import workers
pool = workers(1)
print(pool.submit(os.getpid).result(), flush=True)
pool.submit(time.sleep, 600).result()
"""
    command = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    worker = int(command.stdout.readline())
    assert psutil.pid_exists(worker)
    command.send_signal(how)
    command.wait()
    until(lambda: not psutil.pid_exists(worker))
