"""The 96 published methods: facts from catalogue.toml, state from the recipes, claims from docs/results.

`python -m training.catalogue` writes them down twice: for people, and for what runs without this package.
"""

import json
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from enfold import catalogue, settings
from enfold.errors import UnknownName
from enfold.wire import Method
from training import recipe
from training.data.sources import open_dataset

_FACTS = Path(__file__).parent / "catalogue.toml"
RESULTS = Path(__file__).parents[1] / "docs" / "results"


def entries() -> list[dict[str, Any]]:
    """One record per method: facts, state (working or missing), claim."""
    facts = tomllib.loads(_FACTS.read_text())
    return [{"slug": slug, **row, "state": state(slug), "claim": claim(slug)} for slug, row in facts.items()]


def state(slug: str) -> str:
    """working: its recipe goes from data to a bundle. What trains, but is not exported yet, is missing still."""
    if slug not in recipe.names():
        return "missing"
    stages = tomllib.loads((recipe.RECIPES / f"{slug}.toml").read_text())["stage"]
    return "working" if any(stage["verb"] == "export" for stage in stages) else "missing"


def claim(slug: str) -> dict[str, Any] | None:
    """What `enfold reproduce` found: verdict, seeds, value and interval of each check; None if it has not run."""
    file = RESULTS / f"{slug}.json"
    if not file.exists():
        return None
    result = json.loads(file.read_bytes())
    return {"sentence": result["claim"], **{key: result[key] for key in ("verdict", "checks", "seeds")}}


def methods(slug: Annotated[str | None, typer.Argument(help="one method, with its whole result")] = None) -> Any:
    """The catalogue: every method with its state and claim."""
    rows = entries()
    if slug is None:
        return rows
    found = next((row for row in rows if row["slug"] == slug), None)
    if found is None:
        raise UnknownName.among("method", slug, [row["slug"] for row in rows])
    file = RESULTS / f"{slug}.json"
    return found | ({"result": json.loads(file.read_bytes())} if file.exists() else {})


def page() -> str:
    """docs/catalogue.md: every method with its state and claim."""
    rows = entries()
    working = sum(row["state"] == "working" for row in rows)
    lines = [
        "# Catalogue",
        "",
        f"{len(rows)} published methods, {working} of them working. `make docs` writes this page.",
        "",
        "| method | paper | family | modality | state | claim |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        facts = [row[key] for key in ("paper", "family", "modality", "state")]
        lines.append(" | ".join([f"| `{row['slug']}`", *facts, f"{_told(row['claim'])} |"]))
    return "\n".join(lines) + "\n"


def _told(claim: dict[str, Any] | None) -> str:
    if claim is None:
        return ""
    checks = "; ".join(map(_check, claim["checks"]))
    return f"{claim['verdict']} ({len(claim['seeds'])} seeds): {checks}"


def _check(check: dict[str, Any]) -> str:
    low, high = check["interval"]
    sign = {"difference": "-", "ratio": "/", "wins": "over"}[check["relation"]]
    asked = "" if check["threshold"] is None else f" ≥ {check['threshold']:.3f}"
    figures = f"{check['value']:.3f} [{low:.3f}, {high:.3f}]{asked}"
    pairs = [(check["arm"], check["baseline"]), *([check["beyond"]] if check.get("beyond") else [])]
    return f"{' beyond '.join(f'{one} {sign} {other}' for one, other in pairs)} = {figures}: {check['verdict']}"


def listed() -> str:
    """enfold/catalogue.json: the same for servers and explorers, with the sentences of the claims."""
    return json.dumps([_method(row).model_dump(exclude_defaults=True) for row in entries()], indent=1) + "\n"


def _method(row: dict[str, Any]) -> Method:
    facts = {name: row[name] for name in ("slug", "paper", "family", "state", "claim")} | {"about": row["modality"]}
    if row["state"] == "working":
        made = recipe.load(row["slug"])
        facts |= {"items": sorted({made.modality, *made.mixed})}
    return Method(**facts)


def recommend(
    data: Annotated[str, typer.Argument(help="data set, folder of items, or manifest")],
    modality: Annotated[str | None, typer.Option(help="where its files may be read as several kinds")] = None,
) -> list[dict[str, Any]]:
    """Which methods train on such items, and what was measured of each; nothing is measured on these."""
    found = open_dataset(data, data=settings.load().data, modality=modality)
    return [
        {
            "method": one.slug,
            "claim": one.claim.verdict if one.claim else "not reproduced",
            "measured": one.claim.sentence if one.claim else "",
            "command": f"enfold run {one.slug} --set data.source={data}",
        }
        for one in catalogue.recommended(found.modality, map(_method, entries()))
    ]


if __name__ == "__main__":
    (RESULTS.parent / "catalogue.md").write_text(page())
    Path(str(files("enfold").joinpath(catalogue.FILE))).write_text(listed())
