"""What the map draws: places between -1 and 1, a colour for each value of a field, names of dense regions."""

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from plotly.colors import qualitative, sample_colorscale
from scipy.ndimage import gaussian_filter, maximum_filter
from skimage.measure import points_in_poly
from skimage.segmentation import watershed

POSITIONS = ("id", "x", "y")
MOST_VALUES, BINS = 24, 12  # colours that a reader still tells apart; steps of a number
GREY = "#9aa0a6"
_GRID, _BLUR = 96, 1.6  # cells a side in which dense regions are looked for, and by how many it is blurred
MOST_LABELS = 16
_TYPICAL = 1 / 3  # a region is called by a value that at least so much of it has


@dataclass(frozen=True)
class Drawn:
    """Ready for the browser.

    points    Arrow table of x, y (float32, -1 to 1) and value (uint8)
    values    {name, colour} of each value
    labels    {x, y, text} of the dense regions that have a name
    version   differs when anything above does
    """

    points: pa.Table
    values: list[dict[str, str]]
    labels: list[dict[str, Any]]
    version: str


def fields(layout: pa.Table) -> list[str]:
    """Payload fields that can colour the map: numbers, and whatever has fewer values than points."""
    names = [name for name in layout.column_names if name not in POSITIONS]
    return [
        name for name in names if (_is_number(layout[name]) or _repeats(layout[name])) and _distinct(layout[name]) > 1
    ]


def draw(layout: pa.Table, field: str | None) -> Drawn:
    """Raises nothing for missing values: they are a value of their own, 'none'."""
    x, y = _normalised(layout)
    codes, names, colours = _coloured(layout[field]) if field else (np.zeros(len(x), np.uint8), ["all"], ["#0068c9"])
    points = pa.table({"x": x, "y": y, "value": codes})
    values = [{"name": name, "colour": colour} for name, colour in zip(names, colours, strict=True)]
    digest = hashlib.sha256()
    for part in (x, y, codes):
        digest.update(part.tobytes())
    digest.update(repr(values).encode())
    return Drawn(points, values, _regions(x, y, codes, names) if field else [], digest.hexdigest()[:16])


def inside(drawn: Drawn, polygon: list[list[float]] | None) -> np.ndarray:
    """Rows of the points inside the lasso [[x, y], ...]; none without one."""
    if polygon is None:
        return np.zeros(0, int)
    places = np.column_stack([drawn.points["x"].to_numpy(), drawn.points["y"].to_numpy()])
    corners = np.array(polygon)
    near = np.flatnonzero(((places >= corners.min(0)) & (places <= corners.max(0))).all(1))
    return near[points_in_poly(places[near], corners)]


def _normalised(layout: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Both axes by the same scale, the middle in the middle."""
    places = np.column_stack([layout["x"].to_numpy(), layout["y"].to_numpy()]).astype(np.float64)
    low, high = places.min(0), places.max(0)
    scaled = (places - (low + high) / 2) / (max((high - low).max(), 1e-9) / 2 * 1.05)
    x, y = scaled.astype(np.float32).T
    return np.ascontiguousarray(x), np.ascontiguousarray(y)


def _coloured(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str], list[str]]:
    """Of each row its value's index; names and colours of the values."""
    if _is_number(column) and len(pc.unique(pc.drop_null(column))) > MOST_VALUES:
        return _steps(column)
    counts = pc.value_counts(pc.cast(column, pa.string())).to_pylist()
    counts.sort(key=lambda row: (-row["counts"], row["values"] or ""))
    own = sorted((row["values"] for row in counts[:MOST_VALUES] if row["values"] is not None), key=_by_number)
    colours = [qualitative.Dark24[index % MOST_VALUES] for index in range(len(own))]
    names, rest = list(own), [row["values"] for row in counts[MOST_VALUES:]]
    codes = pc.index_in(pc.cast(column, pa.string()), value_set=pa.array(own, pa.string()))
    if codes.null_count:
        names.append(f"{len(rest)} others" if rest else "none")
        colours.append(GREY)
    return pc.fill_null(codes, len(own)).to_numpy().astype(np.uint8), names, colours


def _steps(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str], list[str]]:
    """A number by its quantiles, from dark to light; what is no number is grey."""
    numbers = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    known = np.isfinite(numbers)
    edges = np.unique(np.quantile(numbers[known], np.linspace(0, 1, BINS + 1)))
    codes = np.searchsorted(edges[1:-1], numbers, side="right")
    names = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
    colours = sample_colorscale("Viridis", np.linspace(0, 1, max(len(names), 2)).tolist(), colortype="tuple")
    shown = ["#" + "".join(f"{round(part * 255):02x}" for part in colour) for colour in colours[: len(names)]]
    if not known.all():
        codes[~known] = len(names)
        names, shown = [*names, "none"], [*shown, GREY]
    return codes.astype(np.uint8), names, shown


def _regions(x: np.ndarray, y: np.ndarray, codes: np.ndarray, names: list[str]) -> list[dict[str, Any]]:
    """The largest dense regions that are typical of one value, called by it.

    Regions are the catchments of the peaks of the blurred density; a value is typical of a region where its share
    exceeds its share of the whole map the most, and is a third at least.
    """
    cells = [np.clip(((axis + 1) / 2 * _GRID).astype(int), 0, _GRID - 1) for axis in (x, y)]
    counted = np.zeros((_GRID, _GRID))
    np.add.at(counted, tuple(cells), 1)
    density = gaussian_filter(counted, _BLUR)
    peaks = (density == maximum_filter(density, size=5)) & (density > density.max() / 50)
    markers = np.zeros(peaks.shape, int)
    markers[peaks] = np.arange(1, peaks.sum() + 1)
    region = watershed(-density, markers, mask=density > density.max() / 200)[tuple(cells)]
    table = np.zeros((region.max() + 1, len(names)))
    np.add.at(table, (region, codes), 1)
    overall, labels = table.sum(0) / len(x), []
    for number in np.argsort(-table[1:].sum(1))[:MOST_LABELS] + 1:
        share = table[number] / max(table[number].sum(), 1)
        typical = int(np.argmax(share - overall))
        if share[typical] >= _TYPICAL and share[typical] > overall[typical]:
            rows = np.flatnonzero((region == number) & (codes == typical))
            labels.append({"x": float(np.median(x[rows])), "y": float(np.median(y[rows])), "text": names[typical]})
    return labels


def _distinct(column: pa.ChunkedArray) -> int:
    return int(pc.count_distinct(column).as_py())


def _repeats(column: pa.ChunkedArray) -> bool:
    return (pa.types.is_string(column.type) or pa.types.is_boolean(column.type)) and _distinct(column) <= len(
        column
    ) / 2


def _is_number(column: pa.ChunkedArray) -> bool:
    return pa.types.is_integer(column.type) or pa.types.is_floating(column.type)


def _by_number(value: str) -> tuple[float, str]:
    """Numbers in their order, and words behind them in theirs."""
    try:
        return float(value), value
    except ValueError:
        return np.inf, value
