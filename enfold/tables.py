"""Draws what a command returned as a table for the terminal: rows of records, or one record as two columns."""

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

_WHOLE, _PROSE = 60, 80  # letters of a line


def table(result: Any) -> RenderableType:
    if _is_rows(result):
        return _rows(result)
    if isinstance(result, dict):
        return _record(result)
    return "nothing to show" if result == [] else str(result)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _rows(rows: list[dict[str, Any]]) -> Table:
    # A column that is empty in every row would only push the others off the screen.
    columns = [name for name in rows[0] if any(row.get(name) not in (None, "", {}, []) for row in rows)]
    drawn, taken = Table(box=box.SIMPLE_HEAD, pad_edge=False), 0
    for name in columns:
        numeric = all(isinstance(row.get(name), int | float | None) for row in rows)
        taken += 3 + max(len(name), *(len(cell(row.get(name))) for row in rows))
        # The first columns stay on one line, so that names can be copied; prose, and what comes after, takes the rest.
        whole = taken <= _WHOLE
        drawn.add_column(
            name,
            justify="right" if numeric else "left",
            no_wrap=whole,
            overflow="ellipsis" if whole else "fold",
        )
    for row in rows:
        drawn.add_row(*(_short(cell(row.get(name))) for name in columns))
    return drawn


def _short(text: str) -> str:
    """One line of at most _PROSE letters; --json gives the whole."""
    line = " ".join(text.split())
    return line if len(line) <= _PROSE else f"{line[: _PROSE - 1]}…"


def _record(record: dict[str, Any]) -> RenderableType:
    """Two columns; rows of records are no cell but a table of their own below, under their name."""
    drawn = Table(box=None, show_header=False, pad_edge=False)
    drawn.add_column(style="bold")
    drawn.add_column(overflow="fold")
    below: list[RenderableType] = []
    for name, value in record.items():
        if _is_rows(value):
            below += [f"\n{name}", _rows(value)]
        else:
            drawn.add_row(name, cell(value))
    return Group(drawn, *below)


def cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {cell(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(cell(inner) for inner in value)
    return str(value)
