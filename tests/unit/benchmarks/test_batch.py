"""The benchmark of jobs makes rows that differ, and sees what a command takes."""

import sys

import pytest
from pyarrow import parquet

from benchmarks import batch


def test_rows_are_as_many_as_wanted_and_no_two_alike(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "DISTINCT", 4)
    table = parquet.read_table(batch._rows(tmp_path / "rows.parquet", ["a", "b", "c"], 10))
    assert table["id"].to_pylist() == [str(number) for number in range(10)]
    assert table["text"].to_pylist()[:5] == ["a", "b", "c", "1 a", "1 b"]
    assert len(set(table["text"].to_pylist())) == 10


def test_the_most_that_a_command_and_its_children_took_is_seen(tmp_path):
    child = "import time; kept = b'x' * 80_000_000; time.sleep(0.5)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    seconds, peak = batch._watched(tmp_path, [sys.executable, "-c", parent], 1)
    assert seconds >= 0.5
    assert 76 < peak < 300


def test_a_command_that_fails_is_no_figure(tmp_path):
    with pytest.raises(RuntimeError, match="no such thing"):
        batch._watched(tmp_path, [sys.executable, "-c", "raise SystemExit('no such thing')"], 1)
