"""Middleware around attempts, in all three executors."""

from contextvars import ContextVar

import pytest

from stoker.core.context import JobContext
from stoker.core.job import Outcome
from stoker.core.lifecycle import State
from stoker.settings import Seconds
from stoker.testing import wait_until
from stoker.worker.attempt import Verdict
from stoker.worker.middleware import Call, Middleware
from tests.unit.worker import kit
from tests.unit.worker.kit import bench

EXECUTORS = ["double", "thread.plain_double", "process.plain_double"]
tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


class Notes(Middleware):
    def __init__(self, name: str, notes: list[str]) -> None:
        self.name = name
        self.notes = notes

    async def around_attempt(self, job: JobContext, call: Call) -> Verdict:
        self.notes.append(f"{self.name} before {job.task}")
        verdict = await call()
        self.notes.append(f"{self.name} after {verdict.outcome}")
        return verdict


@pytest.mark.parametrize("task", EXECUTORS)
async def test_middleware_wraps_an_attempt_from_outside_in(task: str) -> None:
    notes: list[str] = []
    async with bench(middleware=[Notes("outer", notes), Notes("inner", notes)]) as b:
        assert (await b.ended(await b.submit(task, {"number": 1}))).state is State.COMPLETED
    assert notes == [
        f"outer before {task}",
        f"inner before {task}",
        "inner after completed",
        "outer after completed",
    ]


@pytest.mark.parametrize("task", EXECUTORS)
async def test_what_middleware_raises_counts_as_raised_by_the_task(task: str) -> None:
    class Guard(Middleware):
        async def around_attempt(self, job: JobContext, call: Call) -> Verdict:
            raise PermissionError("not for you")

    async with bench(middleware=[Guard()]) as b:
        record = await b.ended(await b.submit(task, {"number": 1}))
        assert record.state is State.DEAD_LETTER
        assert record.error is not None
        assert record.error.type == "PermissionError"


async def test_middleware_may_end_an_attempt_in_its_own_way() -> None:
    class Cached(Middleware):
        async def around_attempt(self, job: JobContext, call: Call) -> Verdict:
            return Verdict(Outcome.COMPLETED, b'"cached"')

    async with bench(middleware=[Cached()]) as b:
        record = await b.ended(await b.submit("fails"))
        assert record.result is not None
        assert bytes(record.result) == b'"cached"'


@pytest.mark.parametrize("task", ["who", "thread.who"])
async def test_context_that_middleware_sets_is_seen_by_the_task(task: str) -> None:
    from stoker.core.task import Task, TaskOptions

    async def who() -> str:
        return tenant.get()

    def plain_who() -> str:
        return tenant.get()

    class Tenant(Middleware):
        async def around_attempt(self, job: JobContext, call: Call) -> Verdict:
            tenant.set(job.tenant or "")
            return await call()

    tasks = kit.registry()
    tasks.add(Task(who, name="who", options=TaskOptions.make(run_in="async")))
    tasks.add(Task(plain_who, name="thread.who", options=TaskOptions.make(run_in="thread")))
    async with bench(middleware=[Tenant()], tasks=tasks) as b:
        record = await b.ended(await b.submit(task, tenant="acme"))
        assert record.result is not None
        assert bytes(record.result) == b'"acme"'


@pytest.mark.parametrize("task", ["never", "thread.spins_deaf", "process.spins"])
async def test_limits_hold_inside_middleware(task: str) -> None:
    notes: list[str] = []
    async with bench(middleware=[Notes("m", notes)], concurrency=1) as b:
        record = await b.ended(await b.submit(task, timeout=0.3))
        assert record.error is not None
        assert record.error.code == "timeout"
        assert (await b.ended(await b.submit("double", {"number": 1}))).state is State.COMPLETED


@pytest.mark.parametrize("when", ["before", "after"])
async def test_middleware_that_hangs_is_stopped_at_the_limit_of_the_job(when: str) -> None:
    import asyncio

    class Hangs(Middleware):
        async def around_attempt(self, job: JobContext, call: Call) -> Verdict:
            if when == "after":
                await call()
            await asyncio.Event().wait()
            return await call()

    async with bench(middleware=[Hangs()]) as b:
        record = await b.ended(await b.submit("double", {"number": 1}, timeout=0.2))
        assert record.error is not None
        assert record.error.code == "timeout"
        await wait_until(lambda: b.worker.busy == 0, "the slot is free")


async def test_a_job_inside_middleware_can_be_cancelled_and_given_back() -> None:
    notes: list[str] = []
    async with bench(middleware=[Notes("m", notes)], drain=Seconds(0.1)) as b:
        first = await b.submit("never", timeout=60.0)
        second = await b.submit("thread.spins", timeout=60.0)
        for job_id in (first, second):
            await b.in_state(job_id, State.RUNNING)
        await b.cancel(first)
        assert (await b.ended(first)).state is State.CANCELLED
        await b.finish()
        assert (await b.get(second)).state is State.QUEUED


async def test_middleware_does_nothing_unless_it_is_written() -> None:
    async with bench(middleware=[Middleware()]) as b:
        assert (await b.ended(await b.submit("double", {"number": 1}))).state is State.COMPLETED
