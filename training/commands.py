"""Commands of this room: carry out a recipe."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from enfold import settings
from training import recipe as recipes

RecipeArgument = Annotated[str, typer.Argument(help="slug of a built-in recipe, or the path of a .toml")]
Smoke = Annotated[bool, typer.Option("--smoke", help="seconds instead of minutes: to see it work")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="change one value: data.source=photos/")]


def run(recipe: RecipeArgument, smoke: Smoke = False, set: Overrides = None) -> dict[str, Any]:
    """Run every stage of a recipe; finished stages are skipped, a stopped one goes on where it was."""
    # Read before torch is imported: a typing error in a recipe is told at once.
    resolved = recipes.load(recipe, smoke=smoke, overrides=set or ())
    from training.run import Run

    work = Run(resolved, settings.load())
    console = Console(stderr=True)
    console.print(f"run {work.id}: {len(work.dataset):,} items of {work.dataset.name}, in {work.path}")
    story = work.carry_out(lambda name, record: console.print(f"{name}: {record['seconds']} s"))
    figures = {name: stage["figures"] for name, stage in story["stages"].items()}
    seconds = {name: stage["seconds"] for name, stage in story["stages"].items()}
    return {"run": work.id, "path": str(Path(work.path)), "seconds": seconds, **figures}
