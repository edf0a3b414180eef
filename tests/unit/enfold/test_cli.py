"""The command line: every name leads somewhere, every mistake gets one sentence and its exit code."""

import json
import subprocess
import sys
from importlib import import_module
from io import StringIO

import pytest
from rich.console import Console

from enfold import cli, tables
from enfold.errors import WrongUse


def enfold(*words):
    return subprocess.run([sys.executable, "-m", "enfold.cli", *words], capture_output=True, text=True)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_leads_to_a_function(name):
    module, _, function = cli.COMMANDS[name][0].partition(":")
    assert callable(getattr(import_module(module), function))


def test_help_lists_every_command_without_loading_a_room():
    script = "import sys; from enfold import cli; sys.argv=['enfold']; "
    script += "\ntry: cli.main()\nexcept SystemExit: pass\nprint(sorted({'numpy','torch','typer'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout
    assert all(name in shown for name in cli.COMMANDS)
    assert shown.rstrip().endswith("[]")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["bundel"], "unknown command 'bundel'"),
        (["bundle", "show"], "Missing argument"),
        (["bundle", "show", "x", "--colour"], "No such option"),
        (["bundle", "show", "nothing"], "unknown bundle 'nothing'"),
    ],
)
def test_wrong_use_exits_with_2_and_one_sentence(words, sentence):
    done = enfold(*words)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_json_carries_results_and_errors(image_bundle):
    [row] = json.loads(enfold("bundle", "list", "--json").stdout)
    assert row["name"] == "tiny"
    assert json.loads(enfold("bundle", "show", "x", "--json").stdout)["error"]["code"] == "unknown_name"


def test_verify_runs_the_golden_items(image_bundle):
    assert json.loads(enfold("bundle", "verify", "tiny", "--json").stdout)["golden_cosine"]["fp32"] > 0.99999


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(cli.COMMANDS, "ghost", ("enfold_ghost.room:f", ""))
    with pytest.raises(Exception, match="pip install 'enfold"):
        cli._call("ghost", [])


def test_benchmarks_are_found_from_anywhere_and_missed_in_one_sentence(monkeypatch, tmp_path):
    words = [sys.executable, "-m", "enfold.cli", "bench", "nothing"]
    found = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert (found.returncode, "unknown benchmark 'nothing'" in found.stderr) == (2, True)
    monkeypatch.setitem(sys.modules, "benchmarks", None)
    with pytest.raises(WrongUse, match="needs a checkout"):
        cli._call("bench", [])


def test_names_stay_whole_beside_long_texts():
    hits = [{"score": 0.5, "id": f"help/{name}.txt", "text": "Open the sign-in page. " * 40} for name in ("one", "two")]
    console = Console(width=60, file=StringIO())
    console.print(tables.table(hits))
    lines = console.file.getvalue().splitlines()
    assert sum("help/one.txt" in line or "help/two.txt" in line for line in lines) == 2
    assert len(lines) < 15  # a long text takes a few lines of the screen, not the whole of it
