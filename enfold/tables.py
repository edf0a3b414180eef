"""Draws what a command returned as a table for the terminal: rows of records, or one record as two columns."""

from typing import Any

from rich import box
from rich.table import Table


def table(result: Any) -> Table | str:
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
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        numeric = all(isinstance(row.get(name), int | float | None) for row in rows)
        drawn.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(_cell(row.get(name)) for name in columns))
    return drawn


def _record(record: dict[str, Any]) -> Table:
    drawn = Table(box=None, show_header=False, pad_edge=False)
    drawn.add_column(style="bold")
    drawn.add_column(overflow="fold")
    for name, value in record.items():
        drawn.add_row(name, _rows(value) if _is_rows(value) else _cell(value))
    return drawn


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_cell(inner) for inner in value)
    return str(value)
