import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from stoker.core.errors import Cancelled, InvalidArguments
from stoker.settings import TaskSettings
from stoker.tasks import analysis
from stoker.tasks.analysis import Analysis, analyse_batch
from stoker.tasks.errors import BadInput
from tests.unit.tasks.conftest import JobAround

SALES = "city,amount,note\nUlm,10,a\nBonn,2.5,\nUlm,-3,b\nKöln,1e2,a\n"


def test_every_column_of_a_csv_file_is_counted(tmp_path: Path, settings: TaskSettings) -> None:
    (tmp_path / "sales.csv").write_text(SALES, encoding="utf-8")
    found = analyse_batch("sales.csv", settings=settings)
    assert (found.rows, found.ragged, found.format) == (4, 0, "csv")
    assert found.bytes == len(SALES.encode())
    assert list(found.columns) == ["city", "amount", "note"]
    amount = found.columns["amount"]
    numbers = [10, 2.5, -3, 100]
    assert (amount.kind, amount.count, amount.nulls, amount.distinct) == ("number", 4, 0, 4)
    assert (amount.min, amount.max) == (-3.0, 100.0)
    assert amount.mean == pytest.approx(statistics.mean(numbers))
    assert amount.stddev == pytest.approx(statistics.stdev(numbers))
    city = found.columns["city"]
    assert (city.kind, city.min, city.max, city.mean, city.stddev) == (
        "text",
        "Bonn",
        "Ulm",
        None,
        None,
    )
    assert city.top[0] == ("Ulm", 2)
    note = found.columns["note"]
    assert (note.count, note.nulls, note.distinct, note.top) == (3, 1, 2, [("a", 2), ("b", 1)])


def test_every_column_of_a_json_lines_file_is_counted(
    tmp_path: Path, settings: TaskSettings
) -> None:
    rows = [{"a": 1, "b": "x"}, {"a": None}, {}, {"a": 3, "c": [1]}, {"b": "7", "d": True}]
    text = "\n\n".join(json.dumps(row) for row in rows)
    (tmp_path / "rows.jsonl").write_text(text)
    found = analyse_batch("rows.jsonl", settings=settings)
    assert (found.rows, found.format) == (5, "jsonl")
    kinds = {
        name: (column.kind, column.count, column.nulls) for name, column in found.columns.items()
    }
    assert kinds == {
        "a": ("number", 2, 3),
        "b": ("text", 2, 3),
        "c": ("text", 1, 4),
        "d": ("text", 1, 4),
    }
    assert found.columns["c"].top == [("[1]", 1)]
    assert found.columns["d"].top == [("true", 1)]


def test_text_and_rows_in_the_payload_say_the_same_as_a_file() -> None:
    by_text = analyse_batch(data='{"a": 1}\n{"a": 2}\n')
    by_rows = analyse_batch(data=[{"a": 1}, {"a": 2}])
    assert by_text.columns == by_rows.columns
    assert by_text.columns["a"].mean == 1.5


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_seen_from_the_header(delimiter: str) -> None:
    text = delimiter.join(["a", "b"]) + "\n" + delimiter.join(["1", "2"]) + "\n"
    assert list(analyse_batch(data=text).columns) == ["a", "b"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_quotes_marks_and_line_ends_of_other_systems_are_read(line_end: str) -> None:
    text = line_end.join(["\ufeffa,b", '"x, y","line', "", 'two"', "z,1", ""])
    found = analyse_batch(data=text)
    assert found.rows == 2
    assert found.columns["a"].max == "z"
    assert found.columns["b"].top[0][0].split() == ["line", "two"]
    assert line_end * 2 in found.columns["b"].top[0][0]


def test_mixed_columns_average_their_numbers_only() -> None:
    column = analyse_batch(data="a\n1\nx\n3\n").columns["a"]
    assert (column.kind, column.count, column.mean) == ("mixed", 3, 2.0)
    assert (column.min, column.max) == ("x", "x")


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "1_000", "0x10", "1e999", "١٢", "."])
def test_what_only_looks_like_a_number_is_text(text: str) -> None:
    assert analyse_batch(data=f"a\n{text}\n").columns["a"].kind == "text"


def test_a_column_without_values_is_empty() -> None:
    column = analyse_batch(data="a,b\n,1\n,2\n").columns["a"]
    assert (column.kind, column.count, column.nulls) == ("empty", 0, 2)
    assert (column.min, column.max, column.mean, column.top) == (None, None, None, [])


def test_large_numbers_near_each_other_keep_their_deviation() -> None:
    """The naive sum of squares gives 0 or worse here."""
    numbers = [1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16]
    column = analyse_batch(data=[{"a": number} for number in numbers]).columns["a"]
    assert column.stddev == pytest.approx(statistics.stdev([4, 7, 13, 16]), rel=1e-9)


def test_sums_beyond_floats_are_left_out_of_the_result() -> None:
    column = analyse_batch(data=[{"a": 1.7e308}, {"a": -1.7e308}]).columns["a"]
    assert column.stddev is None
    assert analyse_batch(data=[{"a": 10**400}]).columns["a"].kind == "text"


def test_rows_of_another_length_are_counted_and_read_as_far_as_they_go() -> None:
    found = analyse_batch(data="a,b\n1\n1,2,3\n\n1,2\n")
    assert (found.rows, found.ragged) == (3, 2)
    assert found.columns["b"].nulls == 1


def test_columns_of_one_name_are_told_apart() -> None:
    assert list(analyse_batch(data="a,a,,\n1,2,3,4\n").columns) == ["a", "a (2)", "", " (2)"]


def test_only_the_wanted_columns_are_counted() -> None:
    found = analyse_batch(data=SALES, columns=["note", "city"])
    assert list(found.columns) == ["note", "city"]


@pytest.mark.parametrize("data", [SALES, '{"city": 1}\n', [{"city": 1}]])
def test_a_wanted_column_that_is_not_there_is_an_error(data: Any) -> None:
    with pytest.raises(InvalidArguments, match="no column 'town'; it has city"):
        analyse_batch(data=data, columns=["city", "town"])


def test_distinct_values_are_bounded_and_the_result_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(analysis, "MAX_DISTINCT", 10)
    rows = [{"few": n % 10, "many": n % 11} for n in range(110)]
    found = analyse_batch(data=rows).columns
    assert (found["few"].distinct, found["few"].is_distinct_exact) == (10, True)
    assert (found["many"].distinct, found["many"].is_distinct_exact) == (10, False)
    assert found["many"].count == 110


def test_distinct_values_are_bounded_over_all_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "MAX_KEPT", 15)
    rows = [{"a": n, "b": n} for n in range(10)]
    found = analyse_batch(data=rows).columns
    assert found["a"].distinct + found["b"].distinct == 15
    assert not found["b"].is_distinct_exact


def test_columns_are_bounded() -> None:
    with pytest.raises(BadInput, match="more than 1,000 columns"):
        analyse_batch(data=[{f"c{n}": n} for n in range(1001)])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ('{"a": 1}\n{"a": \n', "line 2 is not JSON"),
        ('{"a": 1}\n\n[1]\n', "line 3 is a list"),
        ("[1, 2]\n", "line 1 is a list"),
        ('{"a": ' + "[" * 100_000, "line 1 is not JSON"),
        ("a\n" + "x" * 1_100_000, "line 2 is longer than"),
        ('a\n"' + "x\n" * 70_000, "is not CSV: field larger"),
    ],
)
def test_what_is_no_table_says_where(data: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        analyse_batch(data=data)


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path, settings: TaskSettings) -> None:
    (tmp_path / "a.csv").write_bytes("a\nGröße\n".encode("latin-1"))
    with pytest.raises(BadInput, match="not UTF-8"):
        analyse_batch("a.csv", settings=settings)


def test_exactly_one_source_is_expected(settings: TaskSettings) -> None:
    with pytest.raises(InvalidArguments, match="neither"):
        analyse_batch(settings=settings)
    with pytest.raises(InvalidArguments, match="both"):
        analyse_batch("a.csv", data="a", settings=settings)


@pytest.fixture
def long(tmp_path: Path) -> Path:
    file = tmp_path / "long.csv"
    file.write_text("n,text\n" + "".join(f"{n},some text of row {n}\n" for n in range(20_000)))
    return file


def test_progress_follows_the_bytes(long: Path, settings: TaskSettings, job: JobAround) -> None:
    found: Analysis = analyse_batch(str(long), settings=settings)
    assert found.rows == 20_000
    assert found.columns["n"].mean == 9999.5
    assert job.shares == sorted(job.shares)
    assert job.shares[-1] == 1.0
    assert len(job.shares) > 20


def test_a_cancel_midway_ends_it(long: Path, settings: TaskSettings, job: JobAround) -> None:
    job.cancel_from = 0.5
    with pytest.raises(Cancelled):
        analyse_batch(str(long), settings=settings)
    assert 0.5 <= job.shares[-1] < 0.6
