import pytest

from stoker.core.errors import Cancelled
from stoker.tasks.progress import Progress
from tests.unit.tasks.conftest import JobAround


def test_without_a_job_nothing_is_told_and_nothing_fails() -> None:
    progress = Progress()
    progress.check()
    progress.to(0.5, "half")
    progress.of(1, 2)


def test_a_stretch_is_a_part_of_the_whole(job: JobAround) -> None:
    progress = Progress(0.5, 1.0)
    progress.to(0.0, "second half")
    progress.to(0.5)
    progress.to(1.0)
    assert job.reports == [(0.5, "second half"), (0.75, "second half"), (1.0, "second half")]


def test_steps_too_small_to_see_are_dropped(job: JobAround) -> None:
    progress = Progress()
    for number in range(100_001):
        progress.of(number, 100_000)
    assert 90 <= len(job.reports) <= 102
    assert job.shares[-1] == 1.0


def test_a_new_note_is_told_at_once(job: JobAround) -> None:
    progress = Progress()
    progress.to(0.0, "one")
    progress.to(0.0, "two")
    assert [note for _, note in job.reports] == ["one", "two"]


def test_shares_beyond_the_ends_are_cut_and_nothing_of_nothing_is_all(job: JobAround) -> None:
    Progress().to(7.0)
    Progress().to(-7.0)
    Progress().of(0, 0)
    assert job.shares == [1.0, 0.0, 1.0]


def test_every_report_is_a_chance_to_cancel(job: JobAround) -> None:
    progress = Progress()
    progress.to(0.5)
    job.cancel_from = 0.5
    with pytest.raises(Cancelled):
        progress.to(0.5001)
    with pytest.raises(Cancelled):
        progress.check()
