"""The command line: a table of names, resolved when called. The roof, not the foundation.

A command is a plain function in its room that returns a record, a dict, a list of dicts or nothing; this file alone
prints, as tables or, with --json, as JSON. Exit code 0: done, 1: failed, 2: wrong use, 130: interrupted.
"""

import errno
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from enfold.errors import EnfoldError, MissingExtra, UnknownName, WrongUse

# name: (room.module:function, one-line help)
COMMANDS = {
    "data list": ("training.data.commands:list_data", "Built-in data sets."),
    "data fetch": ("training.data.commands:fetch_data", "Download and build a built-in data set."),
    "data show": ("training.data.commands:show_data", "Counts and a contact sheet of a data set."),
    "methods": ("training.catalogue:methods", "The catalogue: 96 methods, their state and claims."),
    "recommend-method": ("training.catalogue:recommend", "Which methods train on such items, and what was measured."),
    "run": ("training.commands:run", "Run every stage of a recipe; finished stages are skipped."),
    "reproduce": ("training.claims:reproduce", "Run a method's claim and write docs/results."),
    "export": ("export.commands:export_run", "Put a run through the gate into a bundle."),
    "import": ("export.commands:import_model", "Put a model trained elsewhere through the gate into a bundle."),
    "serve": ("serving.commands:serve", "Answer over HTTP with the named bundles."),
    "key new": ("serving.keys:new_key", "Make a key for callers of this home's servers."),
    "key list": ("serving.keys:list_keys", "Names, scopes and rates of the keys."),
    "key revoke": ("serving.keys:revoke_key", "Take a key back."),
    "embed": ("serving.jobs.embed:embed", "Embed every item of a source into the index or Parquet files."),
    "search": ("serving.commands:search", "The points of a collection nearest to a file or a text."),
    "index create": ("serving.commands:create_collection", "An empty collection for the vectors of a bundle."),
    "index info": ("serving.commands:show_collection", "What a collection is and how it is searched."),
    "index list": ("serving.commands:list_collections", "Collections of the index."),
    "index optimize": ("serving.commands:optimize_collection", "Build the search graph of a collection."),
    "index erase": ("serving.commands:erase_source", "Erase what came from a source, wherever it is kept."),
    "index drop": ("serving.commands:drop_collection", "Delete a collection with all its points."),
    "index upgrade": (
        "serving.jobs.upgrade:upgrade",
        "Embed a collection again with another bundle while it is searched, or go back.",
    ),
    "index health": (
        "serving.jobs.health:health",
        "Find copies, odd ones and labels in doubt in a collection.",
    ),
    "index drift": ("serving.jobs.drift:drift", "Tell whether new points are unlike those of a reference."),
    "index snapshot": ("serving.snapshots:snapshot", "Write a collection into a folder, to be kept elsewhere."),
    "index restore": ("serving.snapshots:restore", "Bring a collection back from such a folder."),
    "index layout": ("serving.jobs.layout:layout", "Place the points of a collection on the map."),
    "bundle list": ("enfold.store:list_bundles", "Bundles in the store."),
    "bundle show": ("enfold.store:show_bundle", "Manifest and gate report of a bundle."),
    "bundle verify": ("enfold.store:verify_bundle", "Check digests and golden items of a bundle."),
    "bundle promote": ("enfold.store:promote_bundle", "Point an alias at a version."),
    "bundle rollback": ("enfold.store:rollback_bundle", "Point an alias at the version it pointed at before."),
    "bundle gc": ("enfold.store:collect_garbage", "Remove versions that nothing points at."),
    "bundle diff": ("enfold.diff:diff_bundles", "How two bundles differ, and which items moved."),
    "bundle bento": ("serving.bento:build", "Build a Bento that serves a bundle."),
    "bundle triton": ("export.triton:write_repository", "Write a bundle as a model repository of Triton."),
    "app": ("app.commands:app", "Open the explorer."),
    "demo": ("enfold.demo:demo", "The whole chain on real pictures, and one table."),
    "bench": ("benchmarks:bench", "Measure against other systems."),
    "doctor": ("enfold.doctor:doctor", "Check this installation."),
}


_CHECKOUT = Path(__file__).parents[1]  # its benchmarks/ is no part of an installation
_PIPED = 120  # letters of a line that no terminal shows
_EXTRAS = {
    "training": "train",
    "export": "train",
    "serving": "batch",
    "app": "app",
    "benchmarks": "all,dev",
}  # room -> what brings its imports


def main() -> None:
    """Entry point of `enfold`."""
    words = sys.argv[1:]
    as_json = "--json" in words
    sys.exit(_run([word for word in words if word != "--json"], as_json))


def _run(words: list[str], as_json: bool) -> int:
    name = next((name for name in COMMANDS if name.split() == words[: len(name.split())]), None)
    try:
        if name is None:
            return _help(words)
        _show(_call(name, words[len(name.split()) :]), as_json)
    except EnfoldError as error:
        _complain(str(error), error.code, as_json)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command continues where it stopped", file=sys.stderr)
        return 130
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        hint = "; make room, then the same command goes on" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        _complain(f"{error.strerror or error}{where}{hint}", "os_error", as_json)
        return 1
    return 0


def _help(words: list[str]) -> int:
    """List the commands, or those of one group; a word that is none of them is wrong use."""
    asked = [word for word in words if not word.startswith("-")]
    group = [name for name in COMMANDS if asked and name.split()[0] == asked[0]]
    if asked and (not group or len(asked) > 1):
        raise UnknownName.among("command", " ".join(asked[:2]), group or COMMANDS)
    print("Usage: enfold COMMAND [--json] [--help]\n")
    print("From raw items of any kind to a served, searchable embedding space.\n")
    for name in group or COMMANDS:
        print(f"  {name:<16} {COMMANDS[name][1]}")
    print("\nSettings are environment variables: ENFOLD_HOME, ENFOLD_URL, ….")
    return 0


def _call(name: str, words: list[str]) -> Any:
    """Import the command's room and call its function with the words as typer reads them."""
    import typer

    module, _, attribute = COMMANDS[name][0].partition(":")
    sys.path.append(str(_CHECKOUT))
    try:
        function = getattr(import_module(module), attribute)
    except ModuleNotFoundError as missing:
        room, package = module.partition(".")[0], (missing.name or "").partition(".")[0]
        if missing.name == "benchmarks":
            raise WrongUse(
                f"'enfold {name}' needs a checkout of enfold: its folder benchmarks/ is not installed"
            ) from None
        raise MissingExtra(f"'{package}' is not installed: pip install 'enfold[{_EXTRAS.get(room, room)}]'") from None
    command = typer.Typer(add_completion=False, rich_markup_mode=None)
    command.command()(function)
    usage_error: Any = typer.BadParameter.__mro__[1]  # typer's UsageError: it has no public name
    try:
        return command(words, prog_name=f"enfold {name}", standalone_mode=False)
    except usage_error as error:
        raise WrongUse(f"{error.format_message()} See: enfold {name} --help") from None
    except typer.Abort:
        raise KeyboardInterrupt from None


def _complain(message: str, code: str, as_json: bool) -> None:
    if as_json:
        import orjson

        print(orjson.dumps({"error": {"code": code, "message": message}}).decode())
    else:
        print(f"enfold: {message}", file=sys.stderr)


def _show(result: Any, as_json: bool) -> None:
    """Print what a command returned; 0 is what typer returns after --help."""
    if result is None or result == 0:
        return
    plain = _plain(result)
    if as_json:
        import orjson

        print(orjson.dumps(plain, option=orjson.OPT_INDENT_2).decode())
        return
    from rich.console import Console

    from enfold.tables import table

    # A pipe has no width of its own; rich takes that of a terminal of long ago.
    Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPED).print(table(plain))


def _plain(result: Any) -> Any:
    if hasattr(result, "model_dump"):
        return result.model_dump(mode="json")
    if isinstance(result, list):
        return [_plain(row) for row in result]
    return result


if __name__ == "__main__":
    main()
