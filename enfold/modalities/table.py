"""table: one row with named columns, as a JSON object, a CSV file of one row, or a row of a file of many.

A decoded row is {column: cell}: numbers, booleans and texts, None where nothing is known. The order of columns means
nothing, and no column must be there; a name is read as words, so that `Tumour_size` and `tumour size` are one column.
The encoder sees tokens: every piece of "name value" of a text, those of the name of a boolean that is true, and one of
a number, in which its name is multiplied by where it lies between the least and the greatest of training.
"""
# N tokens of a row, W pieces of a column's name

import csv
import hashlib
import io
import json
import math
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, Field

from enfold.errors import BadItem, TooLarge, require
from enfold.modalities import Arrays, Modality, Part, Sample, Spec, Stored
from enfold.modalities.text import TOKENIZER
from enfold.resources import resource

COLUMNS = "resources/columns.json"  # inside a bundle, and inside a run that learnt it
TEXT, NUMBER = 1, 2  # kinds of tokens; 0 is padding
_FARTHEST = 100  # widths of a column's range, beyond which a number is taken for one in another unit
_MISSING = {"", "NA", "N/A", "NaN", "nan", "NULL", "null"}  # as R, pandas and databases write it; "none" is a word
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_TRUE, _FALSE = {"true", "yes", "1", "y", "t"}, {"false", "no", "0", "n", "f"}
_BARE = re.compile(r"[a-z]{0,3} ?\d+|col(umn)? ?\d+|feature ?\d+")  # V1, x 12, column 3: names of nothing
_CACHED = 2**14  # texts whose pieces are remembered


class Declared(NamedTuple):
    """A number that says its column's range itself: {"value": 3.1, "low": 0, "high": 20}."""

    value: float
    low: float
    high: float


Cell = float | bool | str | Declared | None
Row = dict[str, Cell]


class Column(Spec):
    """What training saw under a name."""

    numbers: bool = False
    booleans: bool = False
    texts: bool = False
    low: float = 0.0
    high: float = 1.0

    def scaled(self, number: float) -> float:
        """0 at the least number of training, 1 at the greatest."""
        return (number - self.low) / ((self.high - self.low) or 1.0)


class TablePreprocess(Spec):
    """From a row to pieces int64 [N, W], values float32 [N] and kinds int64 [N]."""

    tokenizer: str = TOKENIZER
    columns: str = COLUMNS
    max_tokens: int = Field(128, ge=8)
    name_pieces: int = Field(8, ge=1)  # W; of a number's name
    cell_tokens: int = Field(32, ge=1)  # of a text with its column's name


class TableLimits(Spec):
    max_bytes: int = 4 * 2**20
    max_columns: int = 10_000
    max_name: int = 200  # characters
    max_cell: int = 20_000  # characters
    max_parts: int = 1024


class TableJson(BaseModel, extra="forbid"):
    table: dict[str, Any] | str = Field(
        description="the row: {column: number, true, false, text, null, or {value, low, high}}; or a .json or .csv "
        "file of one row, base64"
    )


class Table(Modality[Row]):
    name = "table"
    # Neither is a row wherever it lies: notes beside an item are .json, and lists of items .csv.
    media_types = {}
    shared_types = {".csv": "text/csv", ".json": "application/json"}
    Preprocess, Limits, Json = TablePreprocess, TableLimits, TableJson
    batch_cost, light_bytes, ragged, inline, rows = 1024, 4096, True, True, True

    @property
    def input_size(self) -> int:
        return int(self._tokenizer.get_vocab_size()) + 1  # 0 is no piece

    def read(self, item: Any) -> Row:
        """{column: cell} of a mapping, file bytes, a path or the text of a JSON object. Raises BadItem or TooLarge."""
        if isinstance(item, str) and item.lstrip().startswith("{"):
            item = item.encode("utf-8", "surrogatepass")
        if isinstance(item, Stored):
            item = _decoded(self.file_bytes(item))
        if not isinstance(item, Mapping):
            raise BadItem(f"a row is a JSON object, one-row .csv or .json bytes or a path, not {type(item).__name__}")
        if not item:
            raise BadItem("the row has no columns: give at least one, {column: value}")
        if len(item) > self.limits.max_columns:
            raise TooLarge(f"the row has {len(item):,} columns; at most {self.limits.max_columns:,}: leave some out")
        names = [self._name(name) for name in item]
        _check_distinct(names)
        row = {name: self._cell(name, value) for name, value in zip(names, item.values(), strict=True)}
        if all(cell is None for cell in row.values()):
            raise BadItem(f"none of the row's {len(row):,} columns has a value: fill at least one")
        return row

    def from_json(self, item: Any) -> bytes:
        if isinstance(item.table, str):
            return super().from_json(item)
        try:
            return json.dumps(item.table, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise BadItem("the row holds a lone surrogate: it is not valid Unicode") from None

    def prepare(self, value: Row, *, parts: bool = False) -> list[Sample]:
        """Samples of at most `max_tokens` tokens: of the trained columns first, or with `parts` of all, in order.

        Raises BadItem for a row that shares no column with training, and for a cell that its column cannot hold.
        """
        if not any(cell is not None and words(name) in self._known for name, cell in value.items()):
            names = sorted(self._known)
            more = f" and {len(names) - 12} more" if len(names) > 12 else ""
            raise BadItem(
                f"the row has none of the columns that this model was trained on: {', '.join(names[:12])}{more}"
            )
        groups = self._groups(value)
        samples: list[Sample] = []
        start = 0
        for count in _fitting([len(tokens) for tokens in groups], self.preprocess.max_tokens):
            tokens = [token for group in groups[start : start + count] for token in group]
            samples.append(
                Sample(
                    self._arrays(tokens[: self.preprocess.max_tokens]),
                    Part(index=len(samples), start=start, end=start + count),
                )
            )
            start += count
            if not parts:
                break
        if len(samples) > self.limits.max_parts:
            raise TooLarge(f"the row makes {len(samples):,} parts; at most {self.limits.max_parts:,}")
        return samples if len(samples) > 1 else [Sample(samples[0].arrays)]

    def tokens(self, value: Row) -> Arrays:
        """What `prepare` makes of the row's beginning, also where training knows none of its columns."""
        flat = [token for group in self._groups(value) for token in group]
        return self._arrays(flat[: self.preprocess.max_tokens])

    def collate(self, samples: Sequence[Sample]) -> Arrays:
        """Pad to the longest, at least 1: [B, N, …]; padding is of kind 0."""
        longest = max(1, *(len(sample.arrays["kinds"]) for sample in samples))
        return {
            name: np.stack([padded(sample.arrays[name], longest) for sample in samples]) for name in samples[0].arrays
        }

    def prepared(self, arrays: Arrays) -> list[Sample]:
        """Of pieces [N, T, W], values and kinds [N, T]: what the graph would look up beyond its tables is refused."""
        pieces, kinds = arrays["pieces"], arrays["kinds"]
        if pieces.shape[:2] != kinds.shape or arrays["values"].shape != kinds.shape:
            shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in arrays.items())
            raise BadItem(f"the inputs do not fit each other: {shapes}")
        if not 1 <= kinds.shape[1] <= self.preprocess.max_tokens:
            raise BadItem(f"a row has {kinds.shape[1]} tokens; this model takes 1 to {self.preprocess.max_tokens}")
        if pieces.min() < 0 or pieces.max() >= self.input_size:
            raise BadItem(f"pieces go from {pieces.min()} to {pieces.max()}; there are {self.input_size:,}")
        if not np.isin(kinds, (0, TEXT, NUMBER)).all():
            raise BadItem(f"kinds are 0 for padding, {TEXT} for a text, {NUMBER} for a number")
        return super().prepared(arrays)

    def cost(self, sample: Sample) -> int:
        return len(sample.arrays["kinds"]) + 1  # tokens, and the one of the whole row

    def mark(self, value: Row) -> str:
        """A digest of what the row says, in whatever order."""
        said = sorted((words(name), repr(cell)) for name, cell in value.items() if cell is not None)
        return hashlib.sha256(json.dumps(said).encode("utf-8", "surrogatepass")).hexdigest()

    def texts(self, value: Row) -> Iterator[str]:
        for name, cell in value.items():
            yield _spoken(name, cell if isinstance(cell, str) else "")

    def learnt(self, values: Iterable[Row]) -> dict[str, bytes]:
        """What stands under each name, and the least and greatest of its numbers. Warns of names that say nothing."""
        seen: dict[str, list[Cell]] = {}
        for row in values:
            for name, cell in row.items():
                if cell is not None:
                    seen.setdefault(words(name), []).append(cell)
        bare = [name for name in seen if _BARE.fullmatch(name)]
        if len(bare) * 2 > len(seen):
            warnings.warn(
                f"{len(bare)} of {len(seen)} columns have names that say nothing ({', '.join(sorted(bare)[:3])}): "
                "what is learnt will not carry over to other tables; give them names in words",
                stacklevel=2,
            )
        known = {name: _column(cells).model_dump() for name, cells in sorted(seen.items())}
        return {self.preprocess.columns: json.dumps(known, indent=1, ensure_ascii=False).encode()}

    def thumbnail(self, value: Row, side: int = 96) -> bytes:
        """The first columns, drawn as lines of a table."""
        from PIL import Image, ImageDraw

        page, file = Image.new("RGB", (side, side), "white"), io.BytesIO()
        draw, height, middle = ImageDraw.Draw(page), 12, side * 11 // 20
        for line, (name, cell) in enumerate(list(value.items())[: max(1, side // height)]):
            top = line * height
            if line % 2:
                draw.rectangle((0, top, side, top + height - 1), fill=(238, 242, 248))
            draw.text((2, top + 1), name[: side // 5], fill=(90, 90, 90), font_size=9)
            draw.rectangle((middle, top, side, top + height - 1), fill=(238, 242, 248) if line % 2 else "white")
            draw.text((middle + 2, top + 1), _shown(cell)[: side // 5], fill=(20, 20, 20), font_size=9)
        page.save(file, "WEBP", quality=85)
        return file.getvalue()

    def column_of(self, name: str) -> Column | None:
        """What training saw under a name."""
        return self._known.get(words(name))

    def _name(self, name: Any) -> str:
        text = str(name).strip()
        if not isinstance(name, str) or not text:
            raise BadItem(f"a column of the row has no name ({name!r}): name it, or leave it out")
        if len(text) > self.limits.max_name:
            raise TooLarge(
                f"a column's name has {len(text):,} characters ('{text[:40]}…'); at most {self.limits.max_name}"
            )
        return text

    def _cell(self, name: str, value: Any) -> Cell:
        """A checked cell; None for what is missing."""
        if isinstance(value, Declared):
            value = value._asdict()
        if value is None or isinstance(value, bool | np.bool_):
            return None if value is None else bool(value)
        if isinstance(value, int | float | np.integer | np.floating):
            return self._number(name, value)
        if isinstance(value, str):
            if len(value) > self.limits.max_cell:
                raise TooLarge(
                    f"column '{name[:60]}' has a text of {len(value):,} characters; at most {self.limits.max_cell:,}: "
                    "shorten it, or embed it as a text"
                )
            try:
                value.encode()
            except UnicodeEncodeError:
                raise BadItem(f"column '{name[:60]}' holds a lone surrogate: it is not valid Unicode") from None
            text = unicodedata.normalize("NFC", value).strip()
            return None if text in _MISSING else text
        if isinstance(value, Mapping) and set(value) == set(Declared._fields):
            return self._declared(name, value)
        raise BadItem(
            f"column '{name[:60]}' holds {'an object' if isinstance(value, Mapping) else f'a {type(value).__name__}'}; "
            "a cell is a number, true, false, a text or null, or of a number {value, low, high}: flatten the row"
        )

    def _number(self, name: str, value: Any) -> float | None:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isinf(number):
            raise BadItem(f"column '{name[:60]}' is infinite or too large for a number: give a finite one, or null")
        return None if math.isnan(number) else number

    def _declared(self, name: str, stated: Mapping[str, Any]) -> Declared | None:
        numbers = [
            self._number(name, stated[field])
            for field in Declared._fields
            if isinstance(stated[field], int | float) and not isinstance(stated[field], bool)
        ]
        if len(numbers) < 3 or numbers[1] is None or numbers[2] is None or not numbers[1] < numbers[2]:
            raise BadItem(f"column '{name[:60]}': value, low and high are numbers, low below high")
        return None if numbers[0] is None else Declared(numbers[0], numbers[1], numbers[2])

    def _groups(self, value: Row) -> list[list[tuple[list[int], float, int]]]:
        """Tokens (pieces, value, kind) of every column that has any: known ones first, then by kind and name."""
        found = []
        for name, cell in value.items():
            known = self.column_of(name)
            fitted = cell if cell is None or known is None else _fitted(name, cell, known)
            tokens = [] if fitted is None else self._tokens(name, fitted, known)
            if tokens:
                order = 0 if isinstance(fitted, Declared | float) else 1 if isinstance(fitted, str) else 2
                found.append(((known is None, order, words(name), name), tokens))
        return [tokens for _, tokens in sorted(found, key=lambda pair: pair[0])]

    def _tokens(self, name: str, cell: Cell, known: Column | None) -> list[tuple[list[int], float, int]]:
        if isinstance(cell, str):
            pieces = self._pieces(_spoken(name, cell))[: self.preprocess.cell_tokens]
            return [([piece], 1.0, TEXT) for piece in pieces]
        if isinstance(cell, bool):
            pieces = self._pieces(_spoken(name))[: self.preprocess.cell_tokens] if cell else []
            return [([piece], 1.0, TEXT) for piece in pieces]
        if isinstance(cell, Declared):
            known, cell = Column(numbers=True, low=cell.low, high=cell.high), cell.value
        if known is None or not known.numbers or cell is None:
            return []  # a number whose range nobody knows would drown the row
        scaled = known.scaled(cell)
        if abs(scaled) > _FARTHEST:
            raise BadItem(
                f"column '{name}' is {cell:g}, far from the {known.low:g} to {known.high:g} that are known: "
                "check its unit"
            )
        return [(self._pieces(_spoken(name))[: self.preprocess.name_pieces], scaled, NUMBER)]

    def _arrays(self, tokens: Sequence[tuple[list[int], float, int]]) -> Arrays:
        pieces = np.zeros((len(tokens), self.preprocess.name_pieces), np.int64)
        for row, (own, _, _) in enumerate(tokens):
            pieces[row, : len(own)] = own
        return {
            "pieces": pieces,
            "values": np.array([value for _, value, _ in tokens], np.float32),
            "kinds": np.array([kind for _, _, kind in tokens], np.int64),
        }

    @cached_property
    def _known(self) -> dict[str, Column]:
        """Columns by the words of their names."""
        if self.folder is None:
            raise BadItem("this entry of rows knows no columns: open it from a bundle")
        with resource(self.folder, self.preprocess.columns) as file:
            return {name: Column(**facts) for name, facts in json.loads(file.read_bytes()).items()}

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizers = require("tokenizers", "table", "reading the names of columns")
        if self.folder is None:
            raise BadItem("this entry of rows has no tokenizer: open it from a bundle")
        with resource(self.folder, self.preprocess.tokenizer) as file:
            tokenizer = tokenizers.Tokenizer.from_file(str(file))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    @cached_property
    def _pieces(self) -> Callable[[str], list[int]]:
        """Text -> numbers of its pieces, from 1."""
        encode = self._tokenizer.encode
        return lru_cache(_CACHED)(lambda text: [id + 1 for id in encode(text, add_special_tokens=False).ids])


def words(name: str) -> str:
    """A column's name as words: small letters, blanks for underscores, dots and hyphens."""
    return " ".join(re.sub(r"[_.\-]+", " ", name).casefold().split())


def _spoken(name: str, text: str = "") -> str:
    """What is cut into pieces; a blank before every word gives a word the same pieces wherever it stands."""
    return " " + " ".join([words(name), *text.casefold().split()])


def _column(cells: Sequence[Cell]) -> Column:
    """What a column holds; numbers that are 0 and 1 alone mean no and yes."""
    plain = [cell.value if isinstance(cell, Declared) else cell for cell in cells]
    numbers = [cell for cell in plain if isinstance(cell, float)]
    flags = bool(numbers) and set(numbers) <= {0.0, 1.0}
    real = numbers and not flags
    return Column(
        numbers=bool(real),
        booleans=flags or any(isinstance(cell, bool) for cell in cells),
        texts=any(isinstance(cell, str) for cell in cells),
        low=min(numbers) if real else 0.0,
        high=max(numbers) if real else 1.0,
    )


def _fitted(name: str, cell: float | bool | str | Declared, known: Column) -> Cell:
    """A cell as its column holds it: CSV says 1 where JSON says true, and codes of categories may be numbers."""
    if isinstance(cell, str):
        if known.numbers and _NUMBER.fullmatch(cell):
            return float(cell)
        if known.texts:
            return cell
        if known.booleans and cell.casefold() in _TRUE | _FALSE:
            return cell.casefold() in _TRUE
        wanted = " or ".join(
            [f"a number ({known.low:g} to {known.high:g})"] * known.numbers + ["true or false"] * known.booleans
        )
        raise BadItem(f"column '{name}' is {wanted}; '{cell[:60]}' is neither that nor null")
    if isinstance(cell, Declared) or (isinstance(cell, float) and known.numbers):
        return cell
    if isinstance(cell, bool):
        return cell if known.booleans or not known.texts else _shown(cell)
    if known.booleans and cell in (0.0, 1.0):
        return bool(cell)
    if known.texts:
        return _shown(cell)
    raise BadItem(f"column '{name}' is true or false; {cell:g} is neither that nor null")


def _shown(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, Declared):
        return _shown(cell.value)
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else repr(cell)
    return str(cell).casefold() if isinstance(cell, bool) else cell


def _fitting(sizes: Sequence[int], most: int) -> Iterator[int]:
    """How many groups of those sizes go into each run of at most `most` tokens; one run at least, if of none."""
    count, room = 0, most
    for size in sizes:
        if count and size > room:
            yield count
            count, room = 0, most
        count, room = count + 1, room - size
    yield count


def padded(values: np.ndarray, length: int) -> np.ndarray:
    """[N, …] -> [length, …], with noughts behind."""
    return np.pad(values, [(0, length - len(values))] + [(0, 0)] * (values.ndim - 1))


def _decoded(data: bytes) -> dict[str, Any]:
    """By its first letter: a file may come without a name."""
    coding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(coding)
    except UnicodeDecodeError as error:
        raise BadItem(f"the row is not UTF-8 (byte {error.start}): save the whole file in one encoding") from None
    if "\0" in text:
        raise BadItem("these bytes are no JSON object and no CSV: they hold zeros")
    return _of_json(text) if text.lstrip()[:1] in ("{", "[") else _of_csv(text)


def _of_json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text, object_pairs_hook=_of_pairs)
    except (ValueError, RecursionError) as error:
        raise BadItem(f"the row is no JSON object, or cut short ({error})") from None
    if isinstance(found, list):
        raise BadItem(f"the file holds a list of {len(found):,}; one row is an object: a CSV or JSONL file lists many")
    row: dict[str, Any] = found
    return row


def _of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _check_distinct([name for name, _ in pairs])
    return dict(pairs)


def _of_csv(text: str) -> dict[str, Any]:
    """A line of names and one of values, apart by whichever of comma, semicolon and tab the first has most of."""
    first = text.lstrip().split("\n", 1)[0]
    apart = max(",;\t", key=first.count)
    try:
        lines = [line for line in csv.reader(io.StringIO(text), delimiter=apart, strict=True) if any(line)]
    except csv.Error as error:
        raise BadItem(f"the row is neither JSON nor a CSV that can be read ({error})") from None
    if len(lines) != 2:
        raise BadItem(
            f"a CSV file of one row has a line of names and one of values; this one has {len(lines):,} lines: "
            "name the file itself as the source of many rows"
        )
    names, cells = [name.strip() for name in lines[0]], lines[1]
    if len(names) != len(cells):
        raise BadItem(f"the CSV names {len(names):,} columns, and its row has {len(cells):,} cells")
    _check_distinct(names)
    return {name: _parsed(cell.strip()) for name, cell in zip(names, cells, strict=True)}


def _parsed(text: str) -> float | bool | str:
    """A cell of a CSV file, which says no types."""
    if text.casefold() in ("true", "false"):
        return text.casefold() == "true"
    return float(text) if _NUMBER.fullmatch(text) else text


def _check_distinct(names: Sequence[str]) -> None:
    repeated = next((name for name, count in Counter(names).items() if count > 1), None)
    if repeated is not None:
        raise BadItem(f"column '{repeated[:60]}' stands twice in the row: give each a name of its own")
