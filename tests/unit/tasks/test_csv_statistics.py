import csv
import io
import math
import statistics
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoker.core.errors import InvalidArguments
from stoker.settings import TaskSettings
from stoker.tasks.csv_statistics import (
    MAX_COLUMNS,
    MAX_FIELD,
    MAX_RECORD,
    ColumnStatistics,
    csv_statistics,
)
from stoker.tasks.errors import BadInput

TABLE = 'city,people,note\nBerlin,3700000,"a ""capital"", large"\nUlm,126000,\nRome,,"x\ny"\n'


def column(text: str, name: str) -> ColumnStatistics:
    return csv_statistics(data=text).columns[name]


def test_a_table_is_counted_and_measured() -> None:
    found = csv_statistics(data=TABLE)
    assert (found.rows, found.ragged, found.bytes) == (3, 0, len(TABLE))
    assert list(found.columns) == ["city", "people", "note"]
    people = found.columns["people"]
    assert (people.count, people.texts, people.empty) == (2, 0, 1)
    assert (people.min, people.max, people.mean) == (126000.0, 3700000.0, 1913000.0)
    assert people.stddev == pytest.approx(statistics.stdev([3700000, 126000]))
    assert found.columns["note"] == ColumnStatistics(2 - 2, 2, 1, None, None, None, None)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.floats(-6e4, 6e4, width=16), min_size=2, max_size=50))
def test_numbers_are_measured_as_the_standard_library_measures_them(numbers: list[float]) -> None:
    found = column("x\n" + "\n".join(map(repr, numbers)), "x")
    assert (found.count, found.min, found.max) == (len(numbers), min(numbers), max(numbers))
    scale = max(map(abs, numbers))
    assert found.mean == pytest.approx(statistics.fmean(numbers), abs=scale * 1e-12)
    assert found.stddev == pytest.approx(statistics.stdev(numbers), abs=scale * 1e-7)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(st.text(max_size=5), min_size=2, max_size=4), max_size=8))
def test_whatever_a_csv_writer_wrote_is_read_row_by_row(rows: list[list[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["a", "b"])
    writer.writerows(rows)
    found = csv_statistics(data=text.getvalue())
    assert found.rows == len(rows)
    assert found.ragged == sum(len(row) != 2 for row in rows)
    assert found.columns["a"].empty == sum(row[0] == "" for row in rows)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1.0),
        (" \t-1.5e3 ", -1500.0),
        ("+.5", 0.5),
        ("5.", 5.0),
        ("1e999", None),
        ("nan", None),
        ("0x10", None),
        ("1_000", None),
        ("1,5", None),
        ("٣", None),
        ("1e", None),
        (".", None),
    ],
)
def test_a_number_is_what_a_double_holds(text: str, number: float | None) -> None:
    found = column(f'x\n"{text}"\n', "x")
    assert (found.count, found.texts) == ((1, 0) if number is not None else (0, 1))
    assert found.mean == number


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_they_like_and_blank_ones_are_none(end: str) -> None:
    found = csv_statistics(data=end.join(["", "x,y", "1,2", "", "3,4", ""]))
    assert (found.rows, found.columns["y"].mean) == (2, 3.0)


def test_what_the_ends_of_floats_leave_is_null() -> None:
    found = column("x\n1e308\n-1e308\n1e308\n", "x")
    assert found.stddev is None
    assert found.max == 1e308


def test_names_are_text_and_no_two_are_alike() -> None:
    found = csv_statistics(data="\ufeff a ,a,Größe,\n1,2,3,4\n")
    assert list(found.columns) == ["a", "a (2)", "Größe", ""]


def test_a_file_is_read_with_another_delimiter(tmp_path: Path, settings: TaskSettings) -> None:
    (tmp_path / "t.csv").write_bytes(b"a;b\n1;2\n")
    found = csv_statistics("t.csv", delimiter=";", settings=settings)
    assert found.columns["b"].mean == 2.0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("\n\r\n", "empty"),
        ("\ufeff", "empty"),
        ('a\n"open', "line 2 is not CSV"),
        ('a\n"closed"x\n', "line 2 is not CSV"),
        ("a\n" + "x" * (MAX_FIELD + 1), "line 2 is not CSV"),
        ("a\n" + "x," * (MAX_RECORD // 2) + "y\n", "a record has more than"),
        ('a\n"' + '\n","' * (MAX_RECORD // 4 + 1), "a record has more than"),
        ("a," * MAX_COLUMNS + "a\n", "more than 1,000 columns"),
        ("a\0b\n", "column 1 is not UTF-8"),
    ],
    ids=lambda value: value[:8] if isinstance(value, str) else None,
)
def test_what_is_no_table_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        csv_statistics(data=text)


def test_what_is_just_within_the_bounds_is_read() -> None:
    assert csv_statistics(data="a\n" + "x" * MAX_FIELD).rows == 1
    wide = "x," * (MAX_RECORD // 2 - 1) + "xy"
    assert len(wide) == MAX_RECORD
    assert csv_statistics(data=f"a\r\n{wide}\r\n{wide}\r\n").rows == 2
    assert len(csv_statistics(data="a," * (MAX_COLUMNS - 1) + "a\n").columns) == MAX_COLUMNS


def test_a_name_that_is_no_text_is_refused(tmp_path: Path, settings: TaskSettings) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,\xff\n1,2\n")
    with pytest.raises(BadInput, match="column 2 is not UTF-8"):
        csv_statistics("t.csv", settings=settings)


def test_arguments_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InvalidArguments, match="neither"):
        csv_statistics()
    with pytest.raises(InvalidArguments, match="both"):
        csv_statistics("a", "b")
    with pytest.raises(InvalidArguments, match="delimiter"):
        csv_statistics(data="a", delimiter="::")  # type: ignore[arg-type]


def test_the_deviation_keeps_its_digits_where_values_are_large_and_near() -> None:
    found = column("x\n" + "".join(f"{1e9 + n}\n" for n in (4, 7, 13, 16)), "x")
    assert found.stddev is not None
    assert math.isclose(found.stddev, math.sqrt(30), rel_tol=1e-12)
