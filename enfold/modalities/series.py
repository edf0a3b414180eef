"""series: what was measured step by step: CSV, Parquet and .npy files, or numbers in a request; one channel or many.

A decoded series is a `Signal`: float64 [T, C], NaN where nothing was measured, with times and names of channels where
it has them. Times are sorted; where they have a common step, steps that are left out are put in as missing, else steps
are counted in their order: so spectra (wavelengths for times) and light curves are series too. The encoder sees the
last `window` steps, each channel less its mean and over its spread in all that was sent, and where values are missing;
one that reads uneven steps also sees when each was.

A .csv or .parquet file is one series where it is an item: of a folder, of a manifest, of a request. Named as a source
of its own it is a manifest, as it is for every modality.
"""
# T steps of an item, C channels, L steps of the encoder's window

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, Field, WithJsonSchema, model_validator

from enfold.errors import BadItem, TooLarge, require
from enfold.modalities import Arrays, Modality, Part, Sample, Spec, Stored
from enfold.scans import npy

_TIMES = ("time", "times", "timestamp", "timestamps", "date", "datetime", "ds")  # columns that tell when
_MISSING = ("", "na", "n/a", "nan", "null", "none", "?")
_LARGEST = 1e100  # beyond which a spread is not finite
_SPARSE = 4  # times as many steps as were measured are put on a grid, at most
_EVEN = 1e-3  # of a step: by how much times may be off their grid
_NUMBERS = {"type": "array", "items": {"type": ["number", "null"]}}
_STEPS = {"anyOf": [_NUMBERS, {"type": "array", "items": _NUMBERS}]}


@dataclass(frozen=True)
class Signal:
    values: np.ndarray  # float64 [T, C], NaN where nothing was measured
    times: np.ndarray | None = None  # [T], ascending: datetime64[us] in UTC, or float64 in whatever unit
    channels: tuple[str, ...] | None = None


class SeriesPreprocess(Spec):
    """From `Signal` to float32 [C, L]; a shorter series has its missing steps before it."""

    window: int = Field(336, ge=2)  # steps
    # Of an encoder that reads so many together, those that are not there as never measured; without, each by itself.
    channels: int | None = Field(None, ge=1)
    times: Literal["scaled"] | None = None  # also when each step was: 0 at the first of the window, 1 at its last

    @model_validator(mode="after")
    def _moments_are_of_all_channels(self) -> "SeriesPreprocess":
        if self.times is not None and self.channels is None:
            raise ValueError("times are told to an encoder of so many channels: say how many, channels = 1")
        return self


class SeriesLimits(Spec):
    max_bytes: int = 128 * 2**20
    max_steps: int = 2_000_000
    max_channels: int = 1024
    max_values: int = 10_000_000  # steps x channels
    max_parts: int = 4096
    min_steps: int = 2


class SeriesJson(BaseModel, extra="forbid"):
    series: Annotated[
        Any,
        WithJsonSchema(
            {
                "description": "numbers, one a step or a list of one a channel, null where nothing was measured; "
                "`values` like these with their `times`; or a file's bytes (.csv, .parquet, .npy), base64",
                "anyOf": [
                    *_STEPS["anyOf"],
                    {
                        "type": "object",
                        "required": ["values"],
                        "properties": {
                            "values": _STEPS,
                            "times": {"type": "array", "items": {"type": ["string", "number"]}},
                            "channels": {"type": "array", "items": {"type": "string"}},
                        },
                    },
                    {"type": "string", "contentEncoding": "base64"},
                ],
            }
        ),
    ]


class Series(Modality[Signal]):
    name = "series"
    media_types = {".csv": "text/csv", ".parquet": "application/vnd.apache.parquet"}
    shared_types = {".npy": "application/vnd.numpy"}
    Preprocess, Limits, Json = SeriesPreprocess, SeriesLimits, SeriesJson

    def __init__(self, preprocess: Any, limits: Any = None, folder: Path | None = None):
        super().__init__(preprocess, limits, folder)
        self.ragged = preprocess is None or preprocess.channels is None  # along the channels

    @property
    def input_size(self) -> int:
        return int(self.preprocess.window)

    def read(self, item: Any) -> Signal:
        """From file bytes, a path, an array [T] or [T, C], or a `Signal`. Raises BadItem or TooLarge."""
        if isinstance(item, Stored):
            item = self._decode(self.file_bytes(item))
        if isinstance(item, np.ndarray):
            item = Signal(_columns(item))
        if not isinstance(item, Signal):
            raise BadItem(f"a series is file bytes, a path or an array, not {type(item).__name__}")
        return self._checked(item)

    def prepare(self, value: Signal, *, parts: bool = False) -> list[Sample]:
        """Samples {"series": float32 [C, L], "measured": float32 [C, L], 1 where the series tells a value}.

        With `times` in the preprocessing also "times" float32 [L]; steps before the first are at 0.

        Without `parts` one of the last L steps; with them one of every L, the last moved over the one before. Windows
        in which nothing was measured are left out. Raises BadItem where none is left, and for too many channels.
        """
        L, (T, C), most = self.preprocess.window, value.values.shape, self.preprocess.channels
        if most is not None and most < C:
            raise BadItem(f"the series has {C} channels; this model reads {most}: leave out what it was not trained on")
        last = max(T - L, 0)
        starts = [*range(0, last, L), last] if parts else [last]
        if len(starts) > self.limits.max_parts:
            raise TooLarge(
                f"the series has {T:,} steps, {len(starts):,} windows of {L}; at most {self.limits.max_parts:,}: "
                "send a shorter one, or a coarser one"
            )
        mean, spread = level(value.values)
        origin = {"mean": mean, "spread": spread, "times": value.times, "channels": value.channels}
        made = [(start, self.window(value, start, mean, spread)) for start in starts]
        told = [(start, arrays) for start, arrays in made if arrays["measured"].any()]
        if not told:
            raise BadItem(f"the last {L} steps of the series hold no value: leave them out")
        if len(starts) == 1:
            return [Sample(told[0][1], None, origin)]
        return [
            Sample(arrays, Part(index=index, start=start, end=start + L), origin)
            for index, (start, arrays) in enumerate(told)
        ]

    def collate(self, samples: Sequence[Sample]) -> Arrays:
        """Pad to the most channels: [B, C, L]; of a channel that is not there nothing was measured."""
        if not self.ragged:
            return super().collate(samples)
        most = max(map(self.cost, samples))
        batch = {}
        for name in ("series", "measured"):
            rows = [sample.arrays[name] for sample in samples]
            batch[name] = np.stack([np.pad(row, ((0, most - len(row)), (0, 0))) for row in rows])
        return batch

    def prepared(self, arrays: Arrays) -> list[Sample]:
        samples = super().prepared(arrays)
        series, measured = arrays["series"], arrays["measured"]
        if series.shape != measured.shape:
            raise BadItem(f"series {list(series.shape)} and measured {list(measured.shape)} are not of one shape")
        if not np.isin(measured, (0, 1)).all() or not measured.any((1, 2)).all():
            raise BadItem("measured is 1 for a value and 0 for none, with at least one 1 in an item")
        if "times" in arrays and not ((arrays["times"] >= 0) & (arrays["times"] <= 1)).all():
            raise BadItem("times of a window go from 0 at its first step to 1 at its last")
        return samples

    def cost(self, sample: Sample) -> int:
        return len(sample.arrays["series"])  # channels

    def from_json(self, item: SeriesJson) -> bytes:
        """File bytes, or the numbers as the JSON they came in. Raises BadItem."""
        if isinstance(item.series, str):
            return super().from_json(item)
        if not isinstance(item.series, list | dict):
            raise BadItem(f"a series in a request is numbers or a file in base64, not {type(item.series).__name__}")
        return json.dumps(item.series).encode()

    def thumbnail(self, value: Signal, side: int = 96) -> bytes:
        """A chart of lines, one for each of the first channels, each over its own range."""
        from PIL import Image, ImageDraw

        wide, file = 4 * side, io.BytesIO()
        page = Image.new("RGB", (wide, wide), "white")
        draw = ImageDraw.Draw(page)
        inks = ("#1f4e79", "#c55a11", "#548235", "#7f7f7f")
        for column, ink in reversed(list(zip(value.values.T, inks, strict=False))):
            for line in _drawn(column, wide):
                draw.line(line, fill=ink, width=6, joint="curve")
        page.resize((side, side), Image.Resampling.BOX).save(file, "WEBP", quality=85)
        return file.getvalue()

    def window(self, value: Signal, start: int, mean: np.ndarray, spread: np.ndarray) -> Arrays:
        """The encoder's inputs of the L steps from `start` on, `level` being that of all of them."""
        L, spec = self.preprocess.window, self.preprocess
        seen = slice(start, start + L)
        arrays = windowed(standardized(value.values[seen], mean, spread), L)
        if spec.channels is not None:
            room = ((0, spec.channels - value.values.shape[1]), (0, 0))
            arrays = {name: np.pad(array, room) for name, array in arrays.items()}
        if spec.times is not None:
            arrays["times"] = moments(value, seen, L)
        return arrays

    def _decode(self, data: bytes) -> Signal | np.ndarray:
        """By its first bytes: a file may come without a name."""
        if data.startswith(npy.MAGIC):
            return self._array(data)
        if data.startswith(b"PAR1"):
            return self._parquet(data)
        if data[:64].lstrip()[:1] in (b"[", b"{"):
            return _of_json(data)
        return self._csv(data)

    def _checked(self, found: Signal) -> Signal:
        values = found.values
        if values.ndim != 2 or values.dtype.kind not in "iuf":
            raise BadItem(
                f"a series is numbers, [steps] or [steps, channels]; this one is {values.dtype} {values.shape}"
            )
        self._check_size(*values.shape)
        values = values.astype(np.float64)
        if values.size == 0:
            raise BadItem(f"the series is empty: it has {values.shape[0]} steps of {values.shape[1]} channels")
        if np.isinf(values).any():
            step, channel = np.argwhere(np.isinf(values))[0] + 1
            raise BadItem(
                f"step {step} of channel {channel} is infinite: leave a value out that was not measured (null, NaN)"
            )
        known = ~np.isnan(values)
        if not known.any(0).all():
            channel = int(np.argmin(known.any(0))) + 1
            raise BadItem(f"channel {channel} of the series holds no value at all, only missing ones: leave it out")
        if known.any(1).sum() < self.limits.min_steps:
            raise BadItem(f"the series has 1 value; a course needs {self.limits.min_steps} or more")
        if (most := np.abs(values[known]).max()) > _LARGEST:
            raise BadItem(f"the series reaches to {most:.3g}; {_LARGEST:g} is the most: is it damaged?")
        if found.channels is not None and len(found.channels) != values.shape[1]:
            raise BadItem(f"{len(found.channels)} names stand for the series' {values.shape[1]} channels")
        if found.times is None:
            return Signal(values, None, found.channels)
        return _on_grid(values, _ascending(found.times, len(values)), found.channels)

    def _check_size(self, steps: int, channels: int) -> None:
        limits = self.limits
        if channels > limits.max_channels:
            raise TooLarge(f"the series has {channels:,} channels; at most {limits.max_channels:,}: split it")
        if steps > limits.max_steps or steps * channels > limits.max_values:
            raise TooLarge(
                f"the series has {steps:,} steps of {channels:,} channels; at most {limits.max_steps:,} steps and "
                f"{limits.max_values:,} values: send its last part, or average several steps"
            )

    def _array(self, data: bytes) -> np.ndarray:
        array = npy.open_scan(data)
        if array.shape:
            self._check_size(array.shape[0], array.shape[1] if len(array.shape) > 1 else 1)
        return array.voxels()

    def _csv(self, data: bytes) -> Signal:
        """Cells apart by comma, semicolon (then numbers may have a decimal comma) or tab; a header or none."""
        self._check_size(data.count(b"\n"), 1)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise BadItem(
                f"the file is neither Parquet, .npy nor text in UTF-8 (byte {error.start}, in line {line}): save a "
                "table as CSV in UTF-8, all of it"
            ) from None
        apart = max(",;\t", key=text.partition("\n")[0].count)
        try:
            rows = [row for row in csv.reader(io.StringIO(text), delimiter=apart) if row]
        except csv.Error as error:
            raise BadItem(f"the CSV is damaged ({error})") from None
        if not rows:
            raise BadItem("the CSV is empty: a series needs steps, one in each line")
        self._check_size(len(rows), len(rows[0]))
        for number, row in enumerate(rows, 1):
            if len(row) != len(rows[0]):
                raise BadItem(
                    f"row {number} of the CSV has {len(row)} cells, the first has {len(rows[0])}: fill or cut it"
                )
        cells = [[cell.strip() for cell in row] for row in rows]
        if apart == ";":
            cells = [[cell.replace(",", ".") for cell in row] for row in cells]
        return _of_cells(cells)

    def _parquet(self, data: bytes) -> Signal:
        parquet, pa = (require(name, "series", "reading a .parquet file") for name in ("pyarrow.parquet", "pyarrow"))
        try:
            file = parquet.ParquetFile(io.BytesIO(data))
            self._check_size(file.metadata.num_rows, len(file.schema_arrow.names))
            fields = {field.name: field.type for field in file.schema_arrow}
            when = next((name for name, kind in fields.items() if name.lower() in _TIMES), None)
            when = when or next((name for name, kind in fields.items() if pa.types.is_temporal(kind)), None)
            for name, kind in fields.items():
                if name != when and not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
                    raise BadItem(f"column '{name}' of the .parquet file is no numbers ({kind}): leave it out")
            if not set(fields) - {when}:
                raise BadItem("the .parquet file has no column of numbers beside its times")
            columns = {name: file.read([name]).column(0).to_numpy() for name in fields}
            if len(set(map(len, columns.values()))) > 1:
                raise BadItem("the .parquet file is damaged: its columns are not of one length")
        except BadItem:
            raise
        except Exception as error:  # pyarrow raises whatever the bytes lead it to
            raise BadItem(f"the .parquet file is damaged or cut short ({error})") from None
        times = columns.pop(when, None)
        return Signal(
            np.stack([column.astype(np.float64) for column in columns.values()], 1),
            None if times is None else _times(times.tolist() if times.dtype.kind == "O" else times),
            tuple(columns),
        )


def level(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of each column of [T, C], of what was measured; a spread of 0 where all of that is one value."""
    known = ~np.isnan(values)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, values, 0).sum(0) / count
    spread = np.sqrt((np.where(known, values - mean, 0) ** 2).sum(0) / count)
    return mean, np.where(spread <= 1e-12 * np.abs(mean), 0.0, spread)  # less is rounding


def standardized(values: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """[T, C] with `level` taken out; where that knows no spread everything is at the mean."""
    found: np.ndarray = (values - mean) / np.where(spread > 0, spread, np.inf)
    return found


def windowed(values: np.ndarray, length: int) -> Arrays:
    """{"series", "measured"} float32 [C, L] of the last steps of [T, C]; those before its first are missing."""
    filled = np.full((length, values.shape[1]), np.nan)
    tail = values[-length:]
    filled[length - len(tail) :] = tail
    known = ~np.isnan(filled.T)
    return {
        "series": np.ascontiguousarray(np.where(known, filled.T, 0), np.float32),
        "measured": np.ascontiguousarray(known, np.float32),
    }


def moments(value: Signal, seen: slice, length: int) -> np.ndarray:
    """When each of the steps `seen` was, float32 [L] from 0 to 1; by their number where the series has no times."""
    steps = len(value.values[seen])
    times = np.arange(steps) if value.times is None else value.times[seen]
    since = (times - times[0]).astype(np.float64)
    scaled = since / (since[-1] or 1.0)
    return np.pad(scaled, (length - steps, 0)).astype(np.float32)


def following(times: np.ndarray | None, count: int) -> list[str] | list[float] | None:
    """The times of the next steps, where those there are have one step; dates in ISO 8601."""
    if times is None or len(times) < 2:
        return None
    unit, ahead = _months(times), np.arange(1, count + 1)
    step = np.diff(unit)
    if times.dtype.kind == "f":
        even = np.allclose(step, step[0], rtol=_EVEN, atol=0)
        return [float(one) for one in times[-1] + ahead * step.mean()] if even else None
    if (step != step[0]).any():
        return None
    return [str(one) for one in (unit[-1] + ahead * step[0] + (times[0] - unit[0])).astype("M8[s]")]


def _columns(values: np.ndarray) -> np.ndarray:
    return values[:, None] if values.ndim == 1 else values


def _ascending(times: np.ndarray, steps: int) -> np.ndarray:
    """The same times. Raises BadItem."""
    if len(times) != steps:
        raise BadItem(f"the series has {steps:,} steps and {len(times):,} times: give each step its own")
    if np.isnan(times.astype(np.float64)).any() if times.dtype.kind == "f" else np.isnat(times).any():
        raise BadItem("a step of the series has no time: give each step its own, or none at all")
    if times.dtype.kind == "f" and not (times <= _LARGEST).all():
        raise BadItem(f"the series reaches to time {times.max():.3g}; {_LARGEST:g} is the most: is it damaged?")
    if times.dtype.kind == "f" and times.min() < 0:
        raise BadItem(f"the series begins at time {times.min():g}: count from 0 on, or give dates")
    late = np.flatnonzero(times[1:] <= times[:-1])
    if len(late):
        before, after, number = times[late[0]], times[late[0] + 1], late[0] + 2
        if after == before:
            raise BadItem(f"steps {number - 1} and {number} of the series have the same time {after}: keep one of them")
        raise BadItem(f"time {after} of step {number} lies before {before}, that of the step before: sort them")
    return times


def _on_grid(values: np.ndarray, times: np.ndarray, channels: tuple[str, ...] | None) -> Signal:
    """Steps that were left out of evenly spaced times, as missing; other times stay as they are."""
    if len(times) < 3:
        return Signal(values, times, channels)
    unit = _months(times)
    ahead = (unit - unit[0]).astype(np.float64)
    places = ahead / np.diff(ahead).min()
    whole = np.rint(places)
    count = int(whole[-1]) + 1
    if len(times) == count or np.abs(places - whole).max() > _EVEN or count > _SPARSE * len(times):
        return Signal(values, times, channels)
    filled = np.full((count, values.shape[1]), np.nan)
    filled[whole.astype(int)] = values
    if times.dtype.kind == "f":
        return Signal(filled, np.linspace(times[0], times[-1], count), channels)
    step = np.diff(unit).min()
    return Signal(filled, ((unit[0] + np.arange(count) * step) + (times[0] - unit[0])).astype("M8[us]"), channels)


def _months(times: np.ndarray) -> np.ndarray:
    """Dates that are one place in their months (the first, at midnight) as those months; other times as they are."""
    if times.dtype.kind != "M":
        return times
    months = times.astype("M8[M]")
    return months if len(np.unique(times - months)) == 1 else times


def _of_cells(cells: list[list[str]]) -> Signal:
    """Rows of text of one length: with a header, where no cell of the first row is a number or a time."""
    first = cells[0]
    headed = any(_number(cell) is None for cell in first) and all(instant(cell) is None for cell in first if cell)
    names, rows = (first, cells[1:]) if headed else (None, cells)
    if not rows:
        raise BadItem("the CSV holds a header and no step below it")
    when = next((at for at, name in enumerate(names or ()) if name.lower() in _TIMES), None)
    if when is None and _number(rows[0][0]) is None and instant(rows[0][0]) is not None:
        when = 0
    left_out = {when} | ({0} if names and not names[0] and when != 0 else set())  # a first column that only counts
    kept = [at for at in range(len(first)) if at not in left_out]
    if not kept:
        raise BadItem("the CSV has no column of numbers beside its times")
    values = np.empty((len(rows), len(kept)))
    for step, row in enumerate(rows):
        for place, at in enumerate(kept):
            if (value := _number(row[at])) is None:
                column = f"'{names[at]}'" if names else str(at + 1)
                raise BadItem(
                    f"step {step + 1}, column {column}: '{row[at][:40]}' is no number: correct it, leave it empty, or "
                    "leave the column out"
                )
            values[step, place] = value
    times = None if when is None else _times([row[when] for row in rows])
    return Signal(values, times, tuple(names[at] for at in kept) if names else None)


def _of_json(data: bytes) -> Signal:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadItem(f"the series is no JSON ({str(error)[:80]})") from None
    facts = found if isinstance(found, dict) else {"values": found}
    if unknown := set(facts) - {"values", "times", "channels"}:
        raise BadItem(
            f"a series in JSON is a list, or values with times and channels; '{unknown.pop()}' is none of them"
        )
    if not isinstance(facts.get("values"), list):
        raise BadItem("a series in JSON is a list, or an object with a list of values: this one has none")
    rows = [row if isinstance(row, list) else [row] for row in facts["values"]]
    if len({len(row) for row in rows}) > 1:
        number = next(at for at, row in enumerate(rows, 1) if len(row) != len(rows[0]))
        raise BadItem(f"step {number} has {len(rows[number - 1])} values, the first has {len(rows[0])}: they are alike")
    for number, row in enumerate(rows, 1):
        for value in row:
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise BadItem(f"step {number} of the series holds {str(value)[:40]!r}: a value is a number or null")
    try:
        values = np.array([[np.nan if value is None else value for value in row] for row in rows], np.float64)
    except OverflowError:
        raise BadItem("the series holds a whole number that is too large") from None
    times, channels = facts.get("times"), facts.get("channels")
    if not isinstance(times, list | None) or not isinstance(channels, list | None):
        raise BadItem("times and channels of a series are lists")
    return Signal(
        values.reshape(len(rows), -1) if rows else np.empty((0, 1)),
        None if times is None else _times(times),
        None if channels is None else tuple(map(str, channels)),
    )


def _times(found: Sequence[Any] | np.ndarray) -> np.ndarray:
    """float64 of numbers, datetime64[us] of dates and texts that are dates. Raises BadItem."""
    if isinstance(found, np.ndarray):
        return found.astype("M8[us]") if found.dtype.kind == "M" else found.astype(np.float64)
    numbers = [_number(str(one)) if one is not None else np.nan for one in found]
    if all(number is not None for number in numbers):
        return np.array(numbers, np.float64)
    instants = [instant(one.isoformat() if hasattr(one, "isoformat") else str(one)) for one in found]
    if None in instants:
        wrong = instants.index(None)
        raise BadItem(f"step {wrong + 1}: '{str(found[wrong])[:40]}' is no time: write 2010-12-31 23:59, or a number")
    return np.array(instants, "M8[us]")


def _number(text: str) -> float | None:
    """What a cell tells; NaN where it says that nothing was measured, None where it is no number."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return np.nan if text.lower() in _MISSING else None


def instant(text: str) -> datetime | None:
    """A date, in UTC where it names its zone; a bare number is none."""
    try:
        found = datetime.fromisoformat(text.replace("/", "-")) if not text.isdigit() else None
    except ValueError:
        return None
    return found.astimezone(UTC).replace(tzinfo=None) if found and found.tzinfo else found


def _drawn(column: np.ndarray, wide: int) -> list[list[tuple[float, float]]]:
    """Unbroken lines through a channel, through the least and the most of steps that share a place."""
    known = column[~np.isnan(column)]
    if not len(known):
        return []
    low, reach = known.min(), max(float(np.ptp(known)), 1e-300)
    ends = np.linspace(0, len(column), min(len(column), wide // 2) + 1).astype(int)
    lines: list[list[tuple[float, float]]] = [[]]
    for number, (start, end) in enumerate(pairwise(ends)):
        piece = column[start:end][~np.isnan(column[start:end])]
        if not len(piece):
            lines.append([])
            continue
        x = wide * (0.03 + 0.94 * number / max(len(ends) - 2, 1))
        for value in dict.fromkeys((piece.min(), piece.max())):
            lines[-1].append((x, wide * (0.94 - 0.88 * float((value - low) / reach))))
    return [line if len(line) > 1 else [*line, (line[0][0] + 1, line[0][1])] for line in lines if line]
