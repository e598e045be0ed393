"""The task ``analysis.batch``: statistics of a CSV or JSON-lines file, in one pass.

The file is streamed, so its size does not matter. What could grow without end (distinct values,
columns, the length of a line) is bounded, and the result says where a bound was met.
"""

import csv
import heapq
import io
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import msgspec

from stoker.core.errors import InvalidArguments
from stoker.settings import TaskSettings
from stoker.tasks.errors import BadInput
from stoker.tasks.files import Folder
from stoker.tasks.progress import Progress
from stoker.tasks.wiring import DEFAULTS

Format = Literal["csv", "jsonl"]

MAX_DISTINCT = 10_000
"""Distinct values told apart in one column."""
MAX_KEPT = 500_000
"""Distinct values told apart in all columns together."""
MAX_COLUMNS = 1_000
MAX_LINE = 1_048_576
"""Characters of a line."""

_TOP = 5
_SHOWN = 200
_ROWS_BETWEEN_REPORTS = 500
_DELIMITERS = ",;\t|"
_JSON_SUFFIXES = {".jsonl", ".ndjson", ".jsonlines"}

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)

Row = Mapping[str, Any]


class Column(msgspec.Struct, frozen=True):
    """What one column holds."""

    kind: Literal["number", "text", "mixed", "empty"]
    """``mixed``: some values are numbers, some are not; the numbers alone are averaged."""
    count: int
    """Values that are there."""
    nulls: int
    """Empty, null or missing ones."""
    distinct: int
    is_distinct_exact: bool
    """False when there are more distinct values than are told apart."""
    min: float | str | None
    """The smallest number, or of text the first in the order of its characters."""
    max: float | str | None
    mean: float | None
    stddev: float | None
    """Of the sample (divided by n - 1); None for fewer than two numbers."""
    top: list[tuple[str, int]]
    """The most common values, with how often they are there."""


class Analysis(msgspec.Struct, frozen=True):
    """What `analyse_batch` returns."""

    rows: int
    ragged: int
    """Rows of a CSV file with more or fewer fields than its header."""
    format: Format
    columns: dict[str, Column]
    bytes: int


def analyse_batch(
    file: str | None = None,
    data: str | list[dict[str, Any]] | None = None,
    columns: list[str] | None = None,
    *,
    settings: TaskSettings = DEFAULTS,
) -> Analysis:
    """Compute statistics of each column of a table.

    Args:
        file: A CSV file with a header (separated by comma, semicolon, tab or bar), or a file with
            one JSON object on each line. UTF-8.
        data: The same as text, or the rows themselves, instead of ``file``.
        columns: Only these columns; all by default.
        settings: The worker's settings.

    Returns:
        The number of rows, and for each column how many values it has, how many distinct ones,
        its extremes, mean, standard deviation and most common values.

    Raises:
        FileNotFoundError: The file does not exist.
        BadInput: Empty, not UTF-8, or neither CSV nor one object on each line.
        InvalidArguments: Not exactly one of ``file`` and ``data``, or a column that is not there.
    """
    if (file is None) == (data is None):
        given = "neither" if file is None else "both"
        raise InvalidArguments(f"{given} of file and data given; expected exactly one of them")
    source = None if file is None else Folder(settings.files).source(file)
    progress = Progress()
    progress.to(0.0, "read the table")
    with _opened(source, data) as table:
        tally = _Tally(columns, table.header)
        for number, row in enumerate(table.rows(), 1):
            tally.add(row)
            if number % _ROWS_BETWEEN_REPORTS == 0:
                progress.to(table.share())
        progress.to(1.0)
        return Analysis(
            rows=tally.rows,
            ragged=table.ragged,
            format=table.format,
            columns=tally.result(),
            bytes=table.bytes,
        )


@contextmanager
def _opened(source: Path | None, data: str | list[dict[str, Any]] | None) -> "Iterator[_Table]":
    if source is not None:
        with source.open("rb") as handle:
            yield _TextTable(handle, source.stat().st_size, source.suffix.lower())
    elif isinstance(data, list):
        yield _ObjectTable(data)
    else:
        raw = (data or "").encode("utf-8", "replace")
        yield _TextTable(io.BytesIO(raw), len(raw), "")


class _Table(Protocol):
    format: Format
    header: list[str] | None
    ragged: int
    bytes: int

    def rows(self) -> Iterator[Row]: ...
    def share(self) -> float: ...


class _ObjectTable:
    """Rows that came inside the payload."""

    format: Format = "jsonl"
    header: list[str] | None = None
    ragged = 0
    bytes = 0

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def rows(self) -> Iterator[Row]:
        return iter(self._rows)

    def share(self) -> float:
        return 0.5


class _TextTable:
    """Rows of a CSV or JSON-lines text."""

    def __init__(self, raw: BinaryIO, size: int, suffix: str) -> None:
        self._raw = raw
        self._text = io.TextIOWrapper(raw, "utf-8-sig", newline="")
        self._number = 0
        self.bytes = size
        self.ragged = 0
        self.header: list[str] | None = None
        lines = self._lines()
        first = next((line for line in lines if line.strip()), "")
        if not first:
            raise BadInput("the table is empty; expected a CSV header or a JSON object")
        self._all = itertools.chain([first], lines)
        is_json = suffix in _JSON_SUFFIXES or first.lstrip()[:1] in {"{", "["}
        self.format: Format = "jsonl" if is_json else "csv"
        if not is_json:
            delimiter = max(_DELIMITERS, key=first.count)
            self._fields = csv.reader(self._all, delimiter=delimiter)
            self.header = _unique(self._record() or [])

    def rows(self) -> Iterator[Row]:
        """Iterate over the rows as column to value."""
        return self._objects() if self.header is None else self._records(self.header)

    def share(self) -> float:
        """Return which share of the bytes is read."""
        return self._raw.tell() / self.bytes if self.bytes else 1.0

    def _lines(self) -> Iterator[str]:
        try:
            while line := self._text.readline(MAX_LINE):
                self._number += 1
                if len(line) >= MAX_LINE and not line.endswith(("\n", "\r")):
                    raise BadInput(f"line {self._number} is longer than {MAX_LINE:,} characters")
                yield line
        except UnicodeDecodeError as error:
            raise BadInput(f"the table is not UTF-8: {error}") from None

    def _objects(self) -> Iterator[Row]:
        for line in self._all:
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise BadInput(f"line {self._number} is not JSON: {error}") from None
            if not isinstance(value, dict):
                raise BadInput(
                    f"line {self._number} is a {type(value).__name__}; expected one JSON object "
                    "on each line"
                )
            yield value

    def _records(self, header: list[str]) -> Iterator[Row]:
        while (fields := self._record()) is not None:
            if fields:
                self.ragged += len(fields) != len(header)
                yield dict(zip(header, fields, strict=False))

    def _record(self) -> list[str] | None:
        try:
            return next(self._fields, None)
        except csv.Error as error:
            raise BadInput(f"line {self._number} is not CSV: {error}") from None


class _Tally:
    """Adds up rows, column by column."""

    def __init__(self, wanted: Sequence[str] | None, header: list[str] | None) -> None:
        self.rows = 0
        self._wanted = None if wanted is None else list(dict.fromkeys(wanted))
        self._is_text = header is not None
        self._room = MAX_KEPT
        self._columns: dict[str, _Sum] = {}
        if header is not None:
            self._check_wanted(header)
            for name in header if self._wanted is None else self._wanted:
                self._column(name)

    def add(self, row: Row) -> None:
        self.rows += 1
        for name in row if self._wanted is None else self._wanted:
            value = row.get(name)
            # A column of nulls only is a column too, so it is made before its value is looked at.
            column = self._columns.get(name) or self._column(name, seen=name in row)
            if column is not None and value is not None and value != "":
                self._room -= column.add(value, is_text=self._is_text, has_room=self._room > 0)

    def result(self) -> dict[str, Column]:
        self._check_wanted(self._columns)
        return {name: column.result(self.rows) for name, column in self._columns.items()}

    def _column(self, name: str, *, seen: bool = True) -> "_Sum | None":
        if not seen:
            return None
        if len(self._columns) >= MAX_COLUMNS:
            raise BadInput(
                f"the table has more than {MAX_COLUMNS:,} columns; name some of them with columns="
            )
        return self._columns.setdefault(name, _Sum())

    def _check_wanted(self, known: Iterable[str]) -> None:
        known = list(known)
        missing = [name for name in self._wanted or () if name not in known]
        if missing:
            raise InvalidArguments(
                f"the table has no column {missing[0]!r}; it has {', '.join(known[:20]) or 'none'}"
            )


class _Sum:
    """One column so far."""

    __slots__ = (
        "_first",
        "_high",
        "_is_exact",
        "_last",
        "_low",
        "_m2",
        "_mean",
        "_numbers",
        "_seen",
        "_texts",
    )

    def __init__(self) -> None:
        self._numbers = 0
        self._mean = 0.0
        self._m2 = 0.0
        self._low = math.inf
        self._high = -math.inf
        self._texts = 0
        self._first: str | None = None
        self._last: str | None = None
        self._seen: dict[str, int] = {}
        self._is_exact = True

    def add(self, value: Any, *, is_text: bool, has_room: bool) -> bool:
        """Add a value and say whether it is remembered as a new one."""
        number = _number(value, is_text=is_text)
        shown = _shown(value)
        if number is None:
            self._texts += 1
            self._first = shown if self._first is None else min(self._first, shown)
            self._last = shown if self._last is None else max(self._last, shown)
        else:
            self._add_number(number)
        times = self._seen.get(shown)
        if times is not None:
            self._seen[shown] = times + 1
            return False
        if has_room and len(self._seen) < MAX_DISTINCT:
            self._seen[shown] = 1
            return True
        self._is_exact = False
        return False

    def result(self, rows: int) -> Column:
        count = self._numbers + self._texts
        has_numbers = self._numbers > 0
        return Column(
            kind=self._kind(),
            count=count,
            nulls=rows - count,
            distinct=len(self._seen),
            is_distinct_exact=self._is_exact,
            min=self._low if has_numbers and not self._texts else self._first,
            max=self._high if has_numbers and not self._texts else self._last,
            mean=_finite(self._mean) if has_numbers else None,
            stddev=self._deviation(),
            top=heapq.nlargest(_TOP, self._seen.items(), key=lambda item: item[1]),
        )

    def _deviation(self) -> float | None:
        # Numbers at the ends of what floats can say leave an infinity behind, of either sign.
        if self._numbers < 2 or not 0 <= self._m2 < math.inf:  # noqa: PLR2004 - n - 1
            return None
        return math.sqrt(self._m2 / (self._numbers - 1))

    def _add_number(self, number: float) -> None:
        # Welford's method: the sum of squares less the square of the sum loses every digit when
        # the values are large and near each other.
        self._numbers += 1
        delta = number - self._mean
        self._mean += delta / self._numbers
        self._m2 += delta * (number - self._mean)
        self._low = min(self._low, number)
        self._high = max(self._high, number)

    def _kind(self) -> Literal["number", "text", "mixed", "empty"]:
        if self._numbers and self._texts:
            return "mixed"
        if self._numbers:
            return "number"
        return "text" if self._texts else "empty"


def _number(value: Any, *, is_text: bool) -> float | None:
    if isinstance(value, str):
        if not is_text or not _NUMBER.fullmatch(value):
            return None
    elif isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return _finite(float(value))
    except OverflowError:
        return None


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text[:_SHOWN]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _unique(names: list[str]) -> list[str]:
    unique: dict[str, None] = {}
    for name in names:
        candidate, number = name.strip(), 2
        while candidate in unique:
            candidate, number = f"{name.strip()} ({number})", number + 1
        unique[candidate] = None
    return list(unique)
