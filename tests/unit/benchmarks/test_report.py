"""Runs become medians, results become the tables of the page."""

import json

import pytest

import benchmarks
from benchmarks.harness import report
from enfold.errors import UnknownName


def test_the_median_of_runs_with_their_spread_and_all_their_failures():
    runs = [
        {"req/s": 100.0, "p99 ms": 9.0, "failed": {}},
        {"req/s": 90.0, "p99 ms": 7.0, "failed": {"500": 2}},
        {"req/s": 110.0, "p99 ms": 8.0, "failed": {"500": 1, "broken": 1}},
    ]
    expected = {"req/s": 100.0, "p99 ms": 8.0, "failed": {"500": 3, "broken": 1}, "spread": pytest.approx(0.2)}
    assert report.middle(runs) == expected


def test_a_figure_that_one_run_lacks_has_no_median():
    assert report.middle([{"req/s": 1.0, "p99 ms": 9.0}, {"req/s": 1.0, "p99 ms": None}])["p99 ms"] is None


def test_measurements_take_turns_each_on_an_idle_machine(monkeypatch):
    order, idle = [], []
    monkeypatch.setattr(report, "_until_idle", lambda: idle.append(len(order)))
    report.interleaved(2, {name: lambda name=name: order.append(name) or {"req/s": 1.0} for name in ("a", "b")})
    assert order == ["a", "b", "a", "b"]
    assert idle == [0, 1, 2, 3]


def test_tables_stand_between_their_marks_and_the_rest_of_the_page_stays(tmp_path, monkeypatch):
    page = tmp_path / "performance.md"
    page.write_text("# Performance\n\n<!-- bench:overhead -->\nwas here\n<!-- /bench:overhead -->\n\nafter\n")
    result = report.Result({"One request:": [{"system": "enfold", "req/s": 1250.0}]}, {"runs": 5})
    (tmp_path / "overhead.json").write_text(json.dumps(report.record("overhead", result, False, 3.0)))
    monkeypatch.setattr(report, "PUBLISHED", tmp_path)
    text = report.page(page)
    assert "was here" not in text
    assert "| enfold | 1,250 |" in text
    assert text.startswith("# Performance\n")
    assert text.endswith("<!-- /bench:overhead -->\n\nafter\n")
    page.write_text(text)
    assert report.page(page) == text


def test_every_benchmark_of_the_folder_can_be_named():
    assert {"serving", "overload", "overhead", "drain", "soak", "fuzz", "minilm_parity"} <= set(benchmarks.names())
    with pytest.raises(UnknownName, match="serving"):
        benchmarks.bench("servin")
