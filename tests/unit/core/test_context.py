"""What a running task can ask and say."""

import asyncio
import contextvars
import threading
from typing import Any

import pytest

from stoker.core.context import MAX_LOG_LINE, JobContext, current_job, running, running_job
from stoker.core.errors import Cancelled, UsageError
from stoker.core.job import Leased


class Notebook:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def progress(self, done: float, note: str | None) -> None:
        self.told.append((done, note))

    def log(self, message: str) -> None:
        self.told.append(message)


def leased(**changes: Any) -> Leased:
    given: dict[str, Any] = {
        "id": "j1",
        "task": "work",
        "payload": b"{}",
        "queue": "default",
        "attempt": 2,
        "epoch": 7,
        "nonce": "ab" * 16,
    }
    return Leased(**(given | changes))


def test_a_context_tells_of_its_job() -> None:
    job = JobContext(
        leased(tenant="acme", headers={"traceparent": "00"}), Notebook(), worker="w", deadline=60.0
    )
    assert (job.id, job.task, job.queue, job.attempt, job.epoch) == ("j1", "work", "default", 2, 7)
    assert (job.tenant, job.worker, dict(job.headers)) == ("acme", "w", {"traceparent": "00"})
    assert job.deadline is not None
    assert job.deadline.timestamp() == 60.0
    assert JobContext(leased(), Notebook()).deadline is None


def test_the_idempotency_key_is_the_same_in_every_attempt() -> None:
    keys = {JobContext(leased(attempt=n, epoch=n), Notebook()).idempotency_key for n in (1, 2)}
    assert keys == {"j1"}


def test_the_fence_rises_with_every_attempt() -> None:
    fences = [JobContext(leased(epoch=n), Notebook()).fence for n in (1, 9, 10, 999_999)]
    assert fences == sorted(fences)
    assert len(set(fences)) == 4
    assert fences[0] == "000000000001-" + "ab" * 16


@pytest.mark.parametrize(("said", "kept"), [(0.5, 0.5), (-1, 0.0), (7, 1.0), (1, 1.0)])
def test_progress_is_cut_to_what_it_can_be(said: float, kept: float) -> None:
    notebook = Notebook()
    JobContext(leased(), notebook).progress(said, "encode")
    assert notebook.told == [(kept, "encode")]


def test_log_lines_are_formatted_and_cut() -> None:
    notebook = Notebook()
    job = JobContext(leased(), notebook)
    job.log("%d of %s", 3, "five")
    job.log("100%")
    job.log({"any": "thing"})
    job.log("x" * (MAX_LOG_LINE + 1))
    assert notebook.told[:3] == ["3 of five", "100%", "{'any': 'thing'}"]
    assert len(notebook.told[3]) == MAX_LOG_LINE


def test_a_job_that_is_called_off_can_notice() -> None:
    flag: list[bool] = []
    job = JobContext(leased(), Notebook(), cancelled=lambda: bool(flag))
    assert not job.is_cancelled
    job.check_cancelled()
    flag.append(True)
    assert job.is_cancelled
    with pytest.raises(Cancelled) as caught:
        job.check_cancelled()
    assert caught.value.job_id == "j1"


def test_results_of_parents_are_given_by_node_name() -> None:
    lease = leased(parents={"p1": b"1", "p2": b"2"}, parent_names={"p1": "first"})
    results = {"p1": "one", "p2": "two"}
    job = JobContext(lease, Notebook(), results=results.__getitem__)
    assert dict(job.parents) == {"first": "one", "p2": "two"}
    assert dict(JobContext(leased(), Notebook()).parents) == {}


def test_the_current_job_is_known_inside_only() -> None:
    job = JobContext(leased(), Notebook())
    assert running_job() is None
    with running(job):
        assert current_job() is job
        with running(JobContext(leased(id="j2"), Notebook())):
            assert current_job().id == "j2"
        assert running_job() is job
    with pytest.raises(UsageError, match="inside a running task only"):
        current_job()


def test_the_current_job_ends_with_an_error() -> None:
    with pytest.raises(ZeroDivisionError), running(JobContext(leased(), Notebook())):
        raise ZeroDivisionError
    assert running_job() is None


async def test_jobs_on_one_loop_do_not_see_each_other() -> None:
    async def attempt(name: str) -> str:
        with running(JobContext(leased(id=name), Notebook())):
            await asyncio.sleep(0)
            return current_job().id

    assert await asyncio.gather(*(attempt(name) for name in "abc")) == ["a", "b", "c"]


def test_a_thread_sees_the_job_only_through_a_copied_context() -> None:
    seen: list[str | None] = []

    def look() -> None:
        job = running_job()
        seen.append(job.id if job else None)

    with running(JobContext(leased(), Notebook())):
        copied = contextvars.copy_context()
        for target in (look, lambda: copied.run(look)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert seen == [None, "j1"]
