"""Training runs as a server tells of them."""

import json

import pytest

from enfold.errors import Unavailable, UnknownName
from serving import runs
from tests import trained


def test_runs_come_newest_first_with_their_stages(tmp_path):
    trained.run(tmp_path, "old", "2026-01-01T00:00:00+00:00")
    trained.run(tmp_path, "new", "2026-02-01T00:00:00+00:00")
    (tmp_path / ".stages").mkdir()
    (tmp_path / "draft").mkdir()
    found = runs.every(tmp_path)
    assert [run.id for run in found] == ["new", "old"]
    assert [(stage.name, stage.state) for stage in found[0].stages] == [
        ("pretrain", "running"),
        ("evaluate", "waiting"),
    ]
    assert runs.every(tmp_path / "nowhere") == []


def test_a_curve_is_told_without_the_line_that_is_being_written(tmp_path):
    trained.run(tmp_path, "one")
    assert [row["step"] for row in runs.one(tmp_path, "one").curves["pretrain"]] == [10, 20, 30]


def test_a_long_curve_is_thinned_evenly(tmp_path):
    trained.run(tmp_path, "one")
    lines = [json.dumps({"step": step, "loss": 1.0}) for step in range(1, 5001)]
    (tmp_path / "one/stages/pretrain/curves.jsonl").write_text("\n".join(lines))
    steps = [row["step"] for row in runs.one(tmp_path, "one").curves["pretrain"]]
    assert steps == list(range(1, 5001, 5))


def test_a_damaged_run_hides_no_other(tmp_path):
    trained.run(tmp_path, "whole")
    for name, content in (("cut", '{"id"'), ("bare", "{}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(content)
    assert [run.id for run in runs.every(tmp_path)] == ["whole"]
    with pytest.raises(Unavailable, match="cannot be read as a run"):
        runs.one(tmp_path, "cut")


@pytest.mark.parametrize("id", ["gone", "..", "../one", "one/stages"])
def test_what_is_no_run_is_told_with_those_there_are(tmp_path, id):
    trained.run(tmp_path / "runs", "one")
    with pytest.raises(UnknownName, match="Known: one"):
        runs.one(tmp_path / "runs", id)


def test_runs_and_methods_over_http(server):
    trained.run(server.home / "runs", "gmml-1")
    with server.client() as client:
        assert [run.id for run in client.runs()] == ["gmml-1"]
        assert client.run("gmml-1").curves["pretrain"][0]["loss"] == 1.0
        assert len(client.methods()) == 96
        assert {"gpht"} <= {one.slug for one in client.methods("series")}
        with pytest.raises(UnknownName, match="unknown run 'gone'"):
            client.run("gone")
        with pytest.raises(UnknownName, match="kind of item with a working method 'smell'"):
            client.methods("smell")
