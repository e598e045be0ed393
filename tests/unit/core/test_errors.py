"""The errors, their codes, and what they say."""

import pytest

from stoker.core import errors
from stoker.core.errors import JobFailed, StokerError, causes, error_classes, from_code


def test_every_error_has_a_code_of_its_own() -> None:
    classes = [
        found
        for found in vars(errors).values()
        if isinstance(found, type) and issubclass(found, StokerError)
    ]
    codes = [cls.code for cls in classes]
    assert len(set(codes)) == len(codes)
    assert set(error_classes()) >= set(codes)


def test_every_error_is_drawn_in_the_tree_at_the_top() -> None:
    drawn = errors.__doc__ or ""
    missing = [
        name
        for name, found in vars(errors).items()
        if isinstance(found, type) and issubclass(found, StokerError) and name not in drawn
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("code", "retryable"),
    [("unavailable", True), ("outcome_unknown", True), ("store_full", True), ("usage", False)],
)
def test_an_error_says_whether_trying_again_helps(code: str, *, retryable: bool) -> None:
    assert error_classes()[code].retryable is retryable


def test_an_error_carries_details_for_programs() -> None:
    error = StokerError("a size of 5 is over 4", size=5, limit=4)
    assert (str(error), error.details) == ("a size of 5 is over 4", {"size": 5, "limit": 4})


def test_an_error_is_made_of_its_code() -> None:
    error = from_code("lease_lost", "gone")
    assert isinstance(error, errors.LeaseLost)
    assert (error.message, str(error), error.details) == ("gone", "gone", {})
    assert type(from_code("of another version", "?")) is StokerError


def test_a_failed_job_shows_the_remote_traceback() -> None:
    error = JobFailed("ValueError: no", job_id="j1", traceback="Traceback (most recent)")
    assert str(error) == "ValueError: no\n\nRemote traceback:\nTraceback (most recent)"
    assert (error.job_id, str(JobFailed("no"))) == ("j1", "no")


def test_signals_carry_what_the_task_asked_for() -> None:
    assert errors.Retry("busy", after="10s").after == "10s"
    assert errors.Snooze("1d", "not today").delay == "1d"
    assert errors.Discard().message == "the task discarded the job"
    assert errors.Cancelled(job_id="j1").job_id == "j1"


def test_what_lies_below_an_error_is_given_once_even_where_it_goes_round() -> None:
    """As drivers leave it that raise an error again from what it led to."""
    lost, reset, first = ConnectionError("lost"), ConnectionResetError("reset"), OSError("first")
    lost.__cause__, reset.__context__ = reset, first
    assert list(causes(lost)) == [lost, reset, first]
    first.__context__ = lost
    assert list(causes(lost)) == [lost, reset, first]
    assert list(causes(None)) == []
