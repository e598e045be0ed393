"""csv.statistics: the plugin gives the answer of the task in Python, to the last bit."""

import csv
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoker.tasks.csv_statistics import MAX_COLUMNS, MAX_FIELD, MAX_RECORD
from tests.workers_c.twins import Twins

FIELDS = (
    st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.integers().map(str)
    | st.from_regex(r"\s*[+-]?[0-9]{0,4}\.?[0-9]{0,4}([eE][+-]?[0-9]{1,3})?\s*", fullmatch=True)
    | st.text(max_size=6)
)
PIECES = st.lists(
    st.sampled_from(['"', '""', ",", ";", "\n", "\r\n", "\r", "a", "1", "-2.5", " ", "é", "\0"])
)


pytestmark = pytest.mark.timeout(600)  # the first test builds


@pytest.fixture
def twins(tmp_path: Path) -> Twins:
    return Twins(tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(st.lists(FIELDS, min_size=1, max_size=4), max_size=12))
def test_any_table_has_the_same_statistics(rows: list[list[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["a", "b", "a"])
    writer.writerows(rows)
    with TemporaryDirectory() as folder:
        answer = Twins(Path(folder)).both("csv.statistics", data=text.getvalue())
    assert answer.error is None, answer
    assert answer.result["rows"] == len(rows)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pieces=PIECES, delimiter=st.sampled_from([",", ";"]))
def test_any_text_is_read_or_refused_alike(pieces: list[str], delimiter: str) -> None:
    with TemporaryDirectory() as folder:
        answer = Twins(Path(folder)).both(
            "csv.statistics", data="".join(pieces), delimiter=delimiter
        )
    assert answer.error in {None, "BadInput"}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=200))
def test_any_file_is_read_or_refused_alike(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        Path(folder, "t.csv").write_bytes(data)
        answer = Twins(Path(folder)).both("csv.statistics", file="t.csv")
    assert answer.error in {None, "BadInput"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\r\n\r",
        b"\xef\xbb\xbf",
        b"\xef\xbb",
        b'a\n"open',
        b'a\n"closed"x\n',
        b"a,\xff\n",
        b"a,\xed\xa0\x80\n",
        b"a,\xc0\x80\n",
        b"a,\xf5\x80\x80\x80\n",
        b"a\0b\n",
        b"a\n" + b"x" * (MAX_FIELD + 1),
        b"a\n" + b"x," * (MAX_RECORD // 2) + b"y\n",
        b'a\n"' + b'\n","' * (MAX_RECORD // 4 + 1),
        b"a," * MAX_COLUMNS + b"a\n",
    ],
    ids=lambda data: repr(data[:12]),
)
def test_a_hostile_table_is_refused_alike(twins: Twins, data: bytes) -> None:
    (twins.folder / "t.csv").write_bytes(data)
    twins.refused("csv.statistics", "BadInput", file="t.csv")


@pytest.mark.parametrize(
    "data",
    [
        b"a\n" + b"x" * MAX_FIELD,
        b"a\r\n" + (b"x," * (MAX_RECORD // 2 - 1) + b"xy\r\n") * 2,
        b'a\n"' + b"x\n" * (MAX_FIELD // 2) + b'"\n',
        b"same," * (MAX_COLUMNS - 1) + b"same\n" + b"1," * 5000 + b"\n",
        b"x\n" + b"1" * 4000 + b"\n." + b"0" * 3000 + b"1\n",
        b"x\n-0\n0\n-0.0\n",
        b"x\n1e308\n-1e308\n1e308\n5e-324\n",
    ],
    ids=lambda data: repr(data[:12]),
)
def test_a_strange_but_right_table_has_the_same_statistics(twins: Twins, data: bytes) -> None:
    (twins.folder / "t.csv").write_bytes(data)
    assert twins.both("csv.statistics", file="t.csv").error is None


def test_a_file_of_many_pieces_has_the_same_statistics(twins: Twins) -> None:
    lines = [f'{n},"{n * 0.37}",{"" if n % 7 else "x"}\r\n' for n in range(40_000)]
    (twins.folder / "t.csv").write_text("\ufeffn,value,note\r\n" + "".join(lines), newline="")
    answer = twins.both("csv.statistics", file="t.csv")
    assert answer.result["columns"]["value"]["count"] == 40_000
    assert answer.result["columns"]["note"]["empty"] == 40_000 - 40_000 // 7 - 1


def test_a_payload_that_means_nothing_is_refused_alike(twins: Twins) -> None:
    twins.refused("csv.statistics", "InvalidArguments")
    twins.refused("csv.statistics", "InvalidArguments", data="a", file="b")
    twins.refused("csv.statistics", "InvalidArguments", data="a", delimiter="::")
    twins.refused("csv.statistics", "InvalidArguments", data="a", delimiter="x")
    twins.refused("csv.statistics", "InvalidArguments", data="a", columns=["a"])
    twins.refused("csv.statistics", "FileNotFoundError", file="none.csv")
