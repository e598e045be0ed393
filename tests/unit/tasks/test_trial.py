from collections.abc import Iterator

import pytest

from stoker.core.context import JobContext, running
from stoker.core.errors import Cancelled, InvalidArguments
from stoker.core.job import Leased
from stoker.tasks.trial import TrialFailed, trial


class Notes:
    def __init__(self) -> None:
        self.shares: list[float] = []
        self.lines: list[str] = []

    def progress(self, done: float, note: str | None) -> None:
        self.shares.append(done)

    def log(self, message: str) -> None:
        self.lines.append(message)


def leased(attempt: int) -> Leased:
    return Leased("j", "trial", b"{}", "default", attempt, attempt, "n")


@pytest.fixture
def notes() -> Iterator[Notes]:
    kept = Notes()
    with running(JobContext(leased(2), kept)):
        yield kept


def test_a_trial_reports_each_step_and_gives_its_message_back(notes: Notes) -> None:
    end = trial(seconds=0.0, steps=4, message="hello")
    assert (end.message, end.steps, end.attempt) == ("hello", 4, 2)
    assert notes.shares[-1] == 1.0
    assert notes.lines == ["hello (attempt 2)"]


def test_a_trial_fails_as_often_as_it_was_asked_to(notes: Notes) -> None:
    with pytest.raises(TrialFailed, match="attempt 2 failed"):
        trial(seconds=0.0, failures=2)
    assert trial(seconds=0.0, failures=1).attempt == 2
    with pytest.raises(TrialFailed):
        trial(seconds=0.0, fail=1.0)


def test_a_cancelled_trial_stops_at_its_next_step() -> None:
    context = JobContext(leased(1), Notes(), cancelled=lambda: True)
    with running(context), pytest.raises(Cancelled):
        trial(seconds=60.0)


def test_a_trial_is_also_a_plain_function() -> None:
    assert trial(seconds=0.0).attempt == 0


@pytest.mark.parametrize("wrong", [{"seconds": -1.0}, {"fail": 1.5}, {"steps": 0}])
def test_numbers_outside_their_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidArguments, match="expected"):
        trial(**wrong)  # type: ignore[arg-type]
