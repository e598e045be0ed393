"""Errors become exit codes and one message each."""

import json
from collections.abc import Callable
from typing import Any, NoReturn

import click
import pytest

from stoker.cli.exits import exit_code, guard
from stoker.core import errors

PAIRS = [
    (errors.UnknownTask("x"), 2),
    (errors.InvalidConfig("x"), 2),
    (errors.JobNotFound("x"), 2),
    (errors.Unsupported("x"), 2),
    (errors.JobFailed("x"), 1),
    (errors.Cancelled("x"), 1),
    (errors.IllegalTransition("x"), 1),
    (errors.PortInUse("x"), 1),
    (errors.Unavailable("x"), 3),
    (errors.StoreFull("x"), 3),
    (errors.OutcomeUnknown("x"), 3),
    (errors.NotAStore("x"), 3),
    (errors.ReadOnlyStore("x"), 3),
    (errors.SchemaMismatch("x"), 3),
    (errors.ResultTimeout("x"), 4),
]


@pytest.mark.parametrize(("error", "code"), PAIRS, ids=lambda x: type(x).__name__)
def test_an_error_has_the_exit_code_of_its_kind(error: errors.StokerError, code: int) -> None:
    assert exit_code(error) == code


def test_every_error_has_an_exit_code() -> None:
    for cls in errors.error_classes().values():
        assert exit_code(cls.__new__(cls)) in {1, 2, 3, 4}


def _raises(error: BaseException) -> Callable[[], NoReturn]:
    def run() -> NoReturn:
        raise error

    return run


def test_an_error_is_one_message_with_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    error = errors.UnknownTask("no task is named 'x'\x1b[2J", task="x")
    assert guard(_raises(error), as_json=False) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "Error: no task is named 'x'\\x1b[2J [unknown_task]\n"


def test_an_error_is_json_when_json_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    error = errors.UnknownTask("no such task", task="x")
    assert guard(_raises(error), as_json=True) == 2
    assert json.loads(capsys.readouterr().err) == {
        "error": {"code": "unknown_task", "message": "no such task", "details": {"task": "x"}}
    }


def test_a_failed_job_brings_its_remote_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    error = errors.JobFailed("it failed", job_id="1", traceback="Traceback:\n  boom\x07")
    assert guard(_raises(error), as_json=False) == 1
    assert "Traceback:\n  boom\\x07" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_ctrl_c_ends_with_130(error: BaseException) -> None:
    assert guard(_raises(error), as_json=False) == 130


def test_a_group_of_errors_is_told_as_the_one_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    group = ExceptionGroup("many", [ValueError("x"), errors.Unavailable("gone")])
    assert guard(_raises(ExceptionGroup("outer", [group])), as_json=False) == 3
    assert capsys.readouterr().err == "Error: gone [unavailable]\n"


def test_a_bug_shows_its_traceback_and_ends_with_70(capsys: pytest.CaptureFixture[str]) -> None:
    assert guard(_raises(ZeroDivisionError("oops")), as_json=False) == 70
    printed = capsys.readouterr().err
    assert "[internal]" in printed
    assert "ZeroDivisionError: oops" in printed


def test_a_bug_is_json_when_json_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    assert guard(_raises(ZeroDivisionError("oops")), as_json=True) == 70
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "internal"


def test_a_file_that_cannot_be_used_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    error = PermissionError(13, "Permission denied", "/etc/x")
    assert guard(_raises(error), as_json=False) == 2
    assert capsys.readouterr().err == "Error: /etc/x: Permission denied [usage]\n"


@pytest.mark.parametrize(("answer", "code"), [(None, 0), (0, 0), (1, 1), ("text", 0)])
def test_what_a_command_returns_is_its_exit_code(answer: Any, code: int) -> None:
    assert guard(lambda: answer, as_json=False) == code
