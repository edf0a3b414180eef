"""The demo as a user runs it, at its smoke size."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers


@pytest.fixture
def demo(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """`enfold demo --smoke --ui` in a session of its own, as a terminal gives it."""
    command = [sys.executable, "-m", "enfold.cli", "demo", "--smoke", "--ui"]
    process = subprocess.Popen(
        command,
        env=servers.environment(tmp_path / "home", COLUMNS="200"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def test_the_demo_ends_in_a_table_and_ctrl_c_leaves_nothing_running(demo: "subprocess.Popen[str]"):
    printed = _until_explorer(demo)
    assert re.search(r"items +2,666", printed)
    assert re.search(r"search, precision@10 +0\.\d{3}", printed)
    assert re.search(r"fp32 cosine, at least +(1\.0|0\.99999)", printed)
    explored, explorer = re.findall(r"explorer of (\S+) on (\S+)", printed)[0]
    servers.until(lambda: servers.answers(f"{explorer}/_stcore/health"), seconds=60)
    assert servers.answers(f"{explored}/readyz")
    os.killpg(demo.pid, signal.SIGINT)
    assert demo.wait(timeout=30) == 0
    assert not servers.answers(f"{explored}/healthz")
    assert not servers.answers(f"{explorer}/_stcore/health")


def _until_explorer(demo: "subprocess.Popen[str]") -> str:
    """What it printed up to the explorer's address."""
    assert demo.stdout is not None
    printed = ""
    for line in demo.stdout:
        printed += line
        if "explorer of " in line:
            return printed
    raise AssertionError(printed)
