"""records: what happened to a person and when: events with a code, a time in days and, where there is one, a value.

A decoded item is a `History`. Its events are sorted by time, whatever order they came in, and the same event stated
twice counts once; all of one day are a visit, whose codes have no order. The encoder sees visits: numbers of codes, of
codes with values one number for each tenth of the values of training; the days since the visit before; and what is
known of the person throughout (`about`). A code that training never saw is read as unknown.

A .csv or .parquet file is the events of one person where it is an item; named as a source of its own it is a manifest,
whose column `records` holds a person in each row.
"""
# E events, T visits, V codes of a visit, A places of what is known throughout

import csv
import hashlib
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, WithJsonSchema

from enfold.errors import BadItem, TooLarge, WrongUse, require
from enfold.modalities import Arrays, Modality, Part, Sample, Spec, Stored
from enfold.modalities.series import instant
from enfold.modalities.table import padded
from enfold.resources import resource

CODES = "resources/codes.json"  # inside a bundle, and inside a run that learnt it
UNKNOWN = 1  # number of a code that training never saw; 0 is padding
_FIELDS = ("time", "code", "value")
_TENTHS = np.arange(1, 10) / 10
_MISSING = ("", "na", "n/a", "nan", "null", "none")
_LATEST = 1e6  # days: what is later is in another unit
_FARTHEST = 10.0  # spreads from the mean, beyond which a number known of a person counts as so far
_EVENTS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["time", "code"],
        "properties": {
            "time": {"type": ["number", "string"]},
            "code": {"type": "string"},
            "value": {"type": ["number", "null"]},
        },
    },
}


@dataclass(frozen=True)
class History:
    """One person's: events in the order of their times."""

    times: np.ndarray  # float64 [E], days
    codes: tuple[str, ...]  # [E]
    values: np.ndarray  # float64 [E], NaN where the event has none
    about: Mapping[str, float | str] = field(default_factory=dict)  # age, sex: what is known throughout
    until: float = 0.0  # the day up to which all that happened is stated

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def days(self) -> np.ndarray:
        """Of each event: whole days, [E]."""
        return np.floor(self.times)


class RecordsPreprocess(Spec):
    """From a history to codes int64 [T, V], gaps float32 [T] and about float32 [T, A], the same for every visit."""

    codes: str = CODES
    max_visits: int = Field(64, ge=1)  # T at most, the last ones
    visit_codes: int = Field(8, ge=1)  # V; of a visit with more, those that are rarest in training
    max_codes: int = Field(4096, ge=1)  # that training knows, the most frequent
    places: int = Field(8, ge=1)  # A


class RecordsLimits(Spec):
    max_bytes: int = 16 * 2**20
    max_events: int = 200_000
    max_code: int = 200  # characters
    max_about: int = 256  # facts
    max_parts: int = 1024


class RecordsJson(BaseModel, extra="forbid"):
    records: Annotated[
        Any,
        WithJsonSchema(
            {
                "description": "events, each with its time (days, or a date), its code and, if any, its value; "
                "`events` like these with what is known `about` the person; or a file's bytes (.json, .csv, .parquet), "
                "base64",
                "anyOf": [
                    _EVENTS,
                    {
                        "type": "object",
                        "required": ["events"],
                        "properties": {
                            "events": _EVENTS,
                            "about": {"type": "object"},
                            "until": {"type": ["number", "string"]},
                        },
                    },
                    {"type": "string", "contentEncoding": "base64"},
                ],
            }
        ),
    ]


class Code(Spec):
    """What training saw under a code: its first number, the bounds between tenths of its values, how often."""

    number: int
    bounds: tuple[float, ...] = ()
    count: int

    def of(self, value: float) -> int:
        """The number of the code with a value, or with none (NaN)."""
        if math.isnan(value) or not self.bounds:
            return self.number
        return self.number + 1 + int(np.searchsorted(self.bounds, value, side="right"))


class Fact(Spec):
    """What training saw of a fact about persons: numbers with mean and spread, or words."""

    place: int
    mean: float = 0.0
    spread: float = 1.0
    words: tuple[str, ...] = ()  # one place each


class Known(Spec):
    """What training knows."""

    size: int  # numbers of codes in all, with padding and the unknown one
    codes: dict[str, Code]
    facts: dict[str, Fact]


class Records(Modality[History]):
    name = "records"
    media_types = {}
    shared_types = {
        ".json": "application/json",
        ".csv": "text/csv",
        ".parquet": "application/vnd.apache.parquet",
    }
    Preprocess, Limits, Json = RecordsPreprocess, RecordsLimits, RecordsJson
    batch_cost, light_bytes, ragged, inline = 1024, 4096, True, True

    @property
    def input_size(self) -> int:
        return self.known.size

    def read(self, item: Any) -> History:
        """From file bytes, a path, a JSON text, its decoded list or object, or a `History`. Raises BadItem."""
        if isinstance(item, History):
            return item
        if isinstance(item, str) and item.lstrip()[:1] in ("{", "["):
            item = item.encode("utf-8", "surrogatepass")
        if isinstance(item, Stored):
            item = self._decoded(self.file_bytes(item))
        if isinstance(item, list):
            item = {"events": item}
        if not isinstance(item, Mapping):
            raise BadItem(f"a history is a list of events, file bytes or a path, not {type(item).__name__}")
        return self._history(item)

    def from_json(self, item: RecordsJson) -> bytes:
        """File bytes, or the events as the JSON they came in. Raises BadItem."""
        if isinstance(item.records, str):
            return super().from_json(item)
        if not isinstance(item.records, list | dict):
            raise BadItem(f"records in a request are events or a file in base64, not {type(item.records).__name__}")
        return json.dumps(item.records).encode()

    def prepare(self, value: History, *, parts: bool = False) -> list[Sample]:
        """Samples {"codes", "gaps", "about"} of at most `max_visits` visits: the last ones, or with `parts` all.

        Raises BadItem for a history none of whose codes training knows.
        """
        if not any(spoken(code) in self.known.codes for code in value.codes):
            named = ", ".join(list(self.known.codes)[:12])
            more = f" and {len(self.known.codes) - 12} more" if len(self.known.codes) > 12 else ""
            raise BadItem(f"none of the codes is one that this model was trained on: {named}{more}")
        arrays, T = self._visits(value), self.preprocess.max_visits
        count = len(arrays["gaps"])
        last = max(count - T, 0)
        starts = [*range(0, last, T), last] if parts else [last]
        if len(starts) > self.limits.max_parts:
            raise TooLarge(f"the history makes {len(starts):,} parts; at most {self.limits.max_parts:,}")
        made = [{name: rows[start : start + T] for name, rows in arrays.items()} for start in starts]
        if len(starts) == 1:
            return [Sample(made[0])]
        return [
            Sample(one, Part(index=index, start=start, end=start + T))
            for index, (start, one) in enumerate(zip(starts, made, strict=True))
        ]

    def collate(self, samples: Sequence[Sample]) -> Arrays:
        """Pad to the most visits: [B, T, …]; a visit that is not there has no codes."""
        most = max(map(self.cost, samples))
        return {name: np.stack([padded(one.arrays[name], most) for one in samples]) for name in samples[0].arrays}

    def prepared(self, arrays: Arrays) -> list[Sample]:
        """Of codes [N, T, V], gaps [N, T], about [N, T, A]: what the graph cannot look up is refused."""
        codes, gaps, about = arrays["codes"], arrays["gaps"], arrays["about"]
        V, A, T = self.preprocess.visit_codes, self.preprocess.places, self.preprocess.max_visits
        if codes.shape != (*gaps.shape, V) or about.shape != (*gaps.shape, A):
            shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in arrays.items())
            raise BadItem(f"the inputs do not fit each other, {V} codes and {A} places a visit: {shapes}")
        if not 1 <= gaps.shape[1] <= T:
            raise BadItem(f"a history has {gaps.shape[1]} visits; this model takes 1 to {T}")
        if codes.min() < 0 or codes.max() >= self.input_size:
            raise BadItem(f"codes go from {codes.min()} to {codes.max()}; there are {self.input_size:,}")
        if (gaps < 0).any():
            raise BadItem("gaps are days since the visit before, and one is negative")
        there: np.ndarray = np.any(codes > 0, axis=2)
        if not there[:, 0].all() or (there[:, 1:] > there[:, :-1]).any():
            raise BadItem("a visit without codes is padding: it stands after all others, of which there must be one")
        return super().prepared(arrays)

    def cost(self, sample: Sample) -> int:
        return len(sample.arrays["gaps"])  # visits

    def mark(self, value: History) -> str:
        """A digest of what happened, and to whom."""
        said = [value.times.tolist(), [spoken(code) for code in value.codes], value.values.tolist()]
        return hashlib.sha256(json.dumps([said, sorted(value.about.items())]).encode()).hexdigest()

    def words(self, value: History, part: Part | None = None) -> str:
        """Its codes, each once, in the order of their first time."""
        return " ".join(dict.fromkeys(value.codes))

    def learnt(self, values: Iterable[History]) -> dict[str, bytes]:
        """The most frequent codes with the tenths of their values, and what there is to know of persons."""
        counts, numbers = Counter[str](), dict[str, list[float]]()
        facts: dict[str, list[float | str]] = {}
        for history in values:
            for code, value in zip(map(spoken, history.codes), history.values.tolist(), strict=True):
                counts[code] += 1
                if not math.isnan(value):
                    numbers.setdefault(code, []).append(value)
            for name, fact in history.about.items():
                facts.setdefault(spoken(name), []).append(fact)
        size, codes = UNKNOWN + 1, {}
        for code, count in sorted(counts.most_common(self.preprocess.max_codes)):
            bounds = np.unique(np.quantile(numbers[code], _TENTHS)).tolist() if code in numbers else []
            codes[code] = Code(number=size, bounds=tuple(bounds), count=count)
            size += 2 + len(bounds) if bounds else 1
        known = Known(size=size, codes=codes, facts=self._facts(facts))
        return {self.preprocess.codes: known.model_dump_json(indent=1).encode()}

    def thumbnail(self, value: History, side: int = 96) -> bytes:
        """A line of time for each of the most frequent codes, with a dot at each of its events."""
        from PIL import Image, ImageDraw

        page, file = Image.new("RGB", (side, side), "white"), io.BytesIO()
        draw, height = ImageDraw.Draw(page), 16
        shown = [code for code, _ in Counter(value.codes).most_common(max(1, side // height))]
        first, reach = value.times[0], max(float(value.times[-1] - value.times[0]), 1.0)
        for row, code in enumerate(shown):
            middle = row * height + 12
            draw.text((2, row * height - 1), code[: side // 5], fill=(20, 20, 20), font_size=8)
            draw.line((3, middle, side - 4, middle), fill=(205, 213, 224))
            for time in (time for time, own in zip(value.times, value.codes, strict=True) if own == code):
                at = 3 + (time - first) / reach * (side - 7)
                draw.ellipse((at - 1.5, middle - 1.5, at + 1.5, middle + 1.5), fill="#1f4e79")
        page.save(file, "WEBP", quality=85)
        return file.getvalue()

    @cached_property
    def known(self) -> Known:
        """What training saw."""
        if self.folder is None:
            raise BadItem("this entry of records knows no codes: open it from a bundle")
        with resource(self.folder, self.preprocess.codes) as file:
            return Known.model_validate_json(file.read_bytes())

    def _facts(self, found: Mapping[str, list[float | str]]) -> dict[str, Fact]:
        places, facts = 0, {}
        for name, values in sorted(found.items()):
            words = tuple(sorted({one for one in values if isinstance(one, str)}))
            numbers = np.array([one for one in values if not isinstance(one, str)] or [0.0])
            facts[name] = Fact(place=places, mean=numbers.mean(), spread=numbers.std() or 1.0, words=words)
            places += max(1, len(words))
        if places > self.preprocess.places:
            raise WrongUse(
                f"what is known of persons takes {places} places (a number one, words one each); preprocess.places is "
                f"{self.preprocess.places}: raise it, or leave facts out"
            )
        return facts

    def _visits(self, value: History) -> Arrays:
        """Of all visits."""
        known, V = self.known, self.preprocess.visit_codes
        days = value.days
        visits = np.unique(days)
        found: list[dict[int, int]] = [{} for _ in visits]  # number of a code -> how often training saw it
        for visit, code, number in zip(np.searchsorted(visits, days), value.codes, value.values.tolist(), strict=True):
            seen = known.codes.get(spoken(code))
            found[visit][seen.of(number) if seen else UNKNOWN] = seen.count if seen else 0
        codes = np.zeros((len(visits), V), np.int64)
        for row, own in enumerate(found):
            known_first = sorted(own, key=lambda number: (number == UNKNOWN, own[number], number))[:V]
            codes[row, : len(known_first)] = known_first
        about = np.zeros(self.preprocess.places, np.float32)
        for name, told in value.about.items():
            if (fact := known.facts.get(spoken(name))) is not None:
                self._place(name, told, fact, about)
        return {
            "codes": codes,
            "gaps": np.diff(visits, prepend=visits[:1]).astype(np.float32),
            "about": np.tile(about, (len(visits), 1)),
        }

    @staticmethod
    def _place(name: str, told: float | str, fact: Fact, about: np.ndarray) -> None:
        """Set what a fact says; a word that training never saw says nothing."""
        if isinstance(told, str) != bool(fact.words):
            raise BadItem(f"about '{name}': training knows it as {'words' if fact.words else 'a number'}, not {told!r}")
        if isinstance(told, str):
            if told in fact.words:
                about[fact.place + fact.words.index(told)] = 1
        else:
            about[fact.place] = np.clip((told - fact.mean) / fact.spread, -_FARTHEST, _FARTHEST)

    def _decoded(self, data: bytes) -> Mapping[str, Any] | list[Any]:
        """By its first bytes: a file may come without a name."""
        if data.startswith(b"PAR1"):
            return self._parquet(data)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadItem(
                f"the file is neither JSON, Parquet nor CSV in UTF-8 (byte {error.start}): save it in one encoding"
            ) from None
        if text.lstrip()[:1] not in ("{", "["):
            return self._csv(text)
        try:
            found: Mapping[str, Any] | list[Any] = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadItem(f"the history is no JSON, or cut short ({str(error)[:80]})") from None
        return found

    def _csv(self, text: str) -> list[Any]:
        first = text.partition("\n")[0]
        try:
            lines = [line for line in csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count)) if line]
        except csv.Error as error:
            raise BadItem(f"the CSV is damaged ({error})") from None
        self._check_count(len(lines))
        names = [name.strip() for name in lines[0]] if lines else []
        self._check_names(names, "CSV")
        if wrong := next((number for number, line in enumerate(lines, 1) if len(line) != len(names)), None):
            raise BadItem(f"row {wrong} of the CSV has {len(lines[wrong - 1])} cells, the header {len(names)}")
        return [dict(zip(names, map(str.strip, line), strict=True)) for line in lines[1:]]

    def _parquet(self, data: bytes) -> list[Any]:
        parquet = require("pyarrow.parquet", "records", "reading a .parquet file")
        try:
            file = parquet.ParquetFile(io.BytesIO(data))
            self._check_count(file.metadata.num_rows)
            self._check_names(file.schema_arrow.names, ".parquet file")
            rows: list[dict[str, Any]] = file.read().to_pylist()
        except BadItem:
            raise
        except Exception as error:  # pyarrow raises whatever the bytes lead it to
            raise BadItem(f"the .parquet file is damaged or cut short ({error})") from None
        return [row | {"time": _plain(row["time"])} for row in rows]

    @staticmethod
    def _check_names(names: Sequence[str], what: str) -> None:
        if not {"time", "code"} <= set(names) or not set(names) <= set(_FIELDS) or len(set(names)) < len(names):
            listed = ", ".join(names[:8])
            raise BadItem(
                f"a {what} of one person's events has columns time, code and, if any, value; this one has {listed}: "
                "leave others out, and write a file for each person, or a manifest with a column 'records'"
            )

    def _check_count(self, events: int) -> None:
        if events > self.limits.max_events:
            raise TooLarge(f"the history has {events:,} events; at most {self.limits.max_events:,}: send the last ones")

    def _history(self, item: Mapping[str, Any]) -> History:
        if unknown := sorted(set(map(str, item)) - {"events", "about", "until"}):
            raise BadItem(f"a history has events, about and until; '{unknown[0][:60]}' is none of them")
        listed = item.get("events")
        if not isinstance(listed, list) or not listed:
            raise BadItem("the history has no events: give at least one, with its time and code")
        self._check_count(len(listed))
        stated = [self._event(number, one) for number, one in enumerate(listed, 1)]
        until = item.get("until")
        times, end = _days([time for time, _, _ in stated], until)
        once = sorted({(time, code, value) for time, (_, code, value) in zip(times, stated, strict=True)}, key=_order)
        if end is not None and end < once[-1][0]:
            raise BadItem(f"an event is at day {once[-1][0]:g}, after 'until', day {end:g}: correct one of them")
        return History(
            np.array([time for time, _, _ in once]),
            tuple(code for _, code, _ in once),
            np.array([math.nan if value is None else value for _, _, value in once], np.float64),
            self._about(item.get("about") or {}),
            once[-1][0] if end is None else end,
        )

    def _event(self, number: int, one: Any) -> tuple[Any, str, float | None]:
        """(time, code, value) as stated, but for the time checked."""
        if not isinstance(one, Mapping) or not {"time", "code"} <= set(one) or not set(one) <= set(_FIELDS):
            raise BadItem(f"event {number} is no object of time, code and, if any, value: {str(one)[:60]}")
        code, value = one["code"], one.get("value")
        if isinstance(code, int) and not isinstance(code, bool):
            code = str(code)
        if not isinstance(code, str) or not code.strip():
            raise BadItem(f"event {number} has no code: name what happened")
        if len(code) > self.limits.max_code:
            raise TooLarge(f"the code of event {number} has {len(code):,} characters; at most {self.limits.max_code}")
        _check_unicode(code, f"the code of event {number}")
        return one["time"], code.strip(), _number(value, f"the value of event {number}")

    def _about(self, found: Any) -> dict[str, float | str]:
        if not isinstance(found, Mapping):
            raise BadItem(f"about is an object of facts, such as {{'age': 61}}, not {type(found).__name__}")
        if len(found) > self.limits.max_about:
            raise TooLarge(f"about has {len(found):,} facts; at most {self.limits.max_about}")
        about: dict[str, float | str] = {}
        for name, told in found.items():
            where = f"about '{str(name)[:60]}'"
            _check_unicode(str(name), "a name in about")
            if isinstance(told, bool):
                told = float(told)
            if isinstance(told, str) and told.strip().lower() not in _MISSING:
                if len(told) > self.limits.max_code:
                    raise TooLarge(f"{where} has {len(told):,} characters; at most {self.limits.max_code}")
                _check_unicode(told, where)
                about[str(name)] = told.strip()
            elif (value := _number(told, where)) is not None:
                about[str(name)] = value
        return about


def spoken(code: str) -> str:
    """By what codes are the same: their letters, small, with single blanks."""
    return " ".join(code.casefold().split())


def _order(event: tuple[float, str, float | None]) -> tuple[float, str, float]:
    return event[0], event[1], -math.inf if event[2] is None else event[2]


def _plain(time: Any) -> Any:
    """A date of a Parquet file as text; a number as it is."""
    return time.isoformat() if hasattr(time, "isoformat") else time


def _days(times: Sequence[Any], until: Any) -> tuple[list[float], float | None]:
    """Numbers as they are; dates as days since the first. Raises BadItem."""
    given = [*times, *([] if until is None else [until])]
    numbers = [_time(one) for one in given]
    dates = [instant(one) if isinstance(one, str) else None for one in given]
    for at, (number, date) in enumerate(zip(numbers, dates, strict=True)):
        if number is None and date is None:
            what = f"event {at + 1}" if at < len(times) else "until"
            raise BadItem(
                f"{what}: '{str(given[at])[:40]}' is no time: write a number of days, or a date such as 2010-12-31"
            )
    if any(one is None for one in numbers) and any(one is None for one in dates):
        raise BadItem("some times are numbers and some are dates: give all of them as days, or all as dates")
    if all(one is not None for one in dates):
        known = [one for one in dates if one is not None]
        first: datetime = min(known[: len(times)])
        found = [(one - first).total_seconds() / 86_400 for one in known]
    else:
        found = [one for one in numbers if one is not None]
    for at, day in enumerate(found):
        if day < 0:
            what = f"event {at + 1}" if at < len(times) else "until"
            raise BadItem(f"{what} is at day {day:g}: count days from the first event on, or give dates")
        if day > _LATEST:
            raise BadItem(f"a time is {day:.3g}; times are in days, {_LATEST:,.0f} at most: check the unit")
    return found[: len(times)], None if until is None else found[-1]


def _time(given: Any) -> float | None:
    """A finite number, also as text."""
    try:
        found = float(given) if isinstance(given, int | float | str) and not isinstance(given, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def _number(given: Any, where: str) -> float | None:
    """A value that may be missing. Raises BadItem."""
    if given is None or (isinstance(given, str) and given.strip().lower() in _MISSING):
        return None
    if isinstance(given, float) and math.isnan(given):
        return None
    found = _time(given)
    if found is None:
        raise BadItem(f"{where} is {str(given)[:40]!r}: a value is a finite number or null; words belong into the code")
    return found


def _check_unicode(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadItem(f"{where} holds a lone surrogate: it is not valid Unicode") from None
