"""A worker from its first beat to its last, on the memory store."""

import asyncio
import logging
import os
import signal

import msgspec
import pytest

from stoker.core.clock import SystemClock
from stoker.core.errors import ReadOnlyStore, SchemaMismatch
from stoker.core.events import Kind
from stoker.core.job import Command, SessionState
from stoker.core.lifecycle import State
from stoker.core.records import EventQuery, JobQuery
from stoker.core.retry import RetryPolicy
from stoker.settings import Bytes, LimitSettings, Seconds
from stoker.stores.memory import MemoryStore
from stoker.testing import Before, FaultyStore, wait_until
from stoker.worker.worker import ExitReason, Worker, WorkerState, install_signals
from tests.unit.worker import kit
from tests.unit.worker.kit import Bench, bench


async def wait_started() -> None:
    await wait_until(kit.started.is_set, "the job has started")


@pytest.mark.parametrize("task", ["double", "thread.plain_double", "process.plain_double"])
async def test_a_job_runs_where_its_task_says_and_its_result_is_kept(task: str) -> None:
    async with bench() as b:
        record = await b.ended(await b.submit(task, {"number": 21}))
        assert record.state is State.COMPLETED
        assert record.result == msgspec.Raw(b"42")
        assert [(a.outcome, a.worker) for a in record.attempts] == [("completed", "tester")]


async def test_a_thousand_jobs_complete_each_in_one_attempt() -> None:
    async with bench(start=False) as b:
        ids = [await b.submit("double", {"number": n}) for n in range(1_000)]
        b.start()
        await wait_until(lambda: b.worker.finished == 1_000, "all jobs have ended")
        assert await b.finish() is ExitReason.DRAINED
        records = [await b.get(job_id) for job_id in ids]
        assert {r.state for r in records} == {State.COMPLETED}
        assert {len(r.attempts) for r in records} == {1}
        assert b.worker.held == 0


async def test_no_more_jobs_run_at_once_than_the_worker_may() -> None:
    async with bench(concurrency=3) as b:
        for _ in range(9):
            await b.submit("never")
        await wait_until(lambda: b.worker.busy == 3, "the slots are full")
        states = [r.state for r in (await b.store.find(JobQuery())).jobs]
        assert states.count(State.QUEUED) == 6
        b.worker.stop()


async def test_a_queue_with_a_limit_of_its_own_leaves_slots_to_others() -> None:
    async with bench(concurrency=4, queues={"slow": 1, "fast": 0}, start=False) as b:
        for _ in range(3):
            await b.submit("never", queue="slow")
        fast = [await b.submit("double", {"number": 1}, queue="fast") for _ in range(5)]
        b.start()
        for job_id in fast:
            assert (await b.ended(job_id)).state is State.COMPLETED
        await wait_until(lambda: b.worker.busy == 1, "one slow job runs")
        [slow, *_] = [q for q in await b.store.queues() if q.name == "slow"]
        assert slow.counts[State.QUEUED] == 2
        b.worker.stop()


async def test_a_queue_nobody_named_is_found() -> None:
    async with bench() as b:
        await wait_until(lambda: b.worker.state is WorkerState.RUNNING, "the worker runs")
        record = await b.ended(await b.submit("double", {"number": 1}, queue="brand-new"))
        assert record.state is State.COMPLETED


async def test_a_failed_job_is_tried_again_and_then_buried_with_every_attempt() -> None:
    policy = RetryPolicy(2, backoff="fixed", base=0.01)
    async with bench() as b:
        record = await b.ended(await b.submit("fails", {"text": "no luck"}, retry=policy))
        assert record.state is State.DEAD_LETTER
        assert [a.outcome for a in record.attempts] == ["failed"] * 3
        assert record.error is not None
        assert (record.error.type, record.error.message) == ("ValueError", "no luck")
        assert "in fails" in (record.error.traceback or "")


@pytest.mark.parametrize(
    ("kind", "state", "attempt"),
    [
        ("retry", State.RETRY_QUEUED, 1),
        ("snooze", State.SCHEDULED, 0),
        ("discard", State.DEAD_LETTER, 1),
        ("cancelled", State.CANCELLED, 1),
    ],
)
async def test_a_task_says_how_its_attempt_ends(kind: str, state: State, attempt: int) -> None:
    async with bench() as b:
        record = await b.tried(await b.submit("signals", {"kind": kind}, retry=RetryPolicy(3)))
        assert (record.state, record.attempt) == (state, attempt)


async def test_a_job_nobody_here_knows_is_put_off_and_not_dropped() -> None:
    async with bench() as b:
        job_id = await b.submit("from.another.version")
        record = await b.tried(job_id, 2)
        assert record.state is State.SCHEDULED
        assert record.attempt == 0
        first, second = record.attempts[:2]
        assert first.error is not None
        assert first.error.code == "unknown_task"
        assert (first.outcome, second.outcome) == ("snoozed", "snoozed")


async def test_progress_and_lines_of_a_running_job_are_seen_at_once_and_kept() -> None:
    async with bench() as b:
        job_id = await b.submit("talks")
        running = await b.until(job_id, lambda r: len(r.logs) == 2, "logged twice")
        assert running.state is State.RUNNING
        assert (running.progress, running.progress_note) == (0.25, "reading")
        kit.release.set()
        record = await b.ended(job_id)
        assert record.progress == 0.75
        assert [line.message for line in record.logs] == ["line 1", "line 2", "line 3"]


async def test_progress_and_lines_come_out_of_a_child_process() -> None:
    async with bench() as b:
        record = await b.ended(await b.submit("process.process_talks"))
        assert (record.progress, record.progress_note) == (0.5, "half")
        assert [line.message for line in record.logs] == ["from the child"]


@pytest.mark.parametrize(
    "task",
    ["never", "thread.spins", "process.spins", "process.blocks_in_c", "process.process_never"],
)
async def test_a_running_job_obeys_a_cancel(task: str) -> None:
    async with bench(lease=Seconds(1)) as b:
        job_id = await b.submit(task, timeout=60.0)
        await b.in_state(job_id, State.RUNNING)
        assert await b.cancel(job_id) == "requested"
        record = await b.ended(job_id)
        assert record.state is State.CANCELLED
        await wait_until(lambda: b.worker.busy == 0, "the slot is free")
        assert (await b.ended(await b.submit("double", {"number": 1}))).state is State.COMPLETED


async def test_a_handler_that_swallows_a_cancel_and_returns_has_completed() -> None:
    async with bench(lease=Seconds(1), concurrency=1) as b:
        job_id = await b.submit("stubborn", {"swallow": 1})
        await b.in_state(job_id, State.RUNNING)
        await b.cancel(job_id)
        record = await b.ended(job_id)
        assert (record.state, record.result) == (State.COMPLETED, msgspec.Raw(b'"went on"'))
        after = await b.ended(await b.submit("groups"))
        assert (after.state, after.result) == (State.COMPLETED, msgspec.Raw(b'"caught"'))


async def test_a_job_that_cancels_its_own_asyncio_task_does_not_hit_the_next_one() -> None:
    async with bench(concurrency=1) as b:
        first = await b.ended(await b.submit("cancels_itself"))
        assert first.result == msgspec.Raw(b'"went on"')
        after = await b.ended(await b.submit("groups"))
        assert (after.state, after.result) == (State.COMPLETED, msgspec.Raw(b'"caught"'))


@pytest.mark.parametrize("task", ["thread.tidies_up", "process.tidies_up"])
async def test_a_soft_limit_lets_the_task_tidy_up(task: str) -> None:
    async with bench() as b:
        record = await b.ended(await b.submit(task, timeout=30.0, soft_timeout=0.2))
        assert (record.state, record.result) == (State.COMPLETED, msgspec.Raw(b'"tidied up"'))


async def test_an_async_task_is_cancelled_at_its_soft_limit() -> None:
    async with bench() as b:
        record = await b.ended(await b.submit("never", timeout=30.0, soft_timeout=0.1))
        assert record.error is not None
        assert record.error.code == "timeout"
        assert "soft limit" in record.error.message


async def test_results_of_parents_reach_their_child() -> None:
    async with bench() as b:
        parent = await b.submit("double", {"number": 4})
        child = await b.submit("child_of", {"text": {"$output": parent}}, parents=(parent,))
        record = await b.ended(child)
        # The hint says text, and 8 is a number: checked when it is known.
        assert record.error is not None
        assert record.error.code == "invalid_arguments"
        big = await b.submit("big", {"size": 2})
        good = await b.submit("child_of", {"text": {"$output": big}}, parents=(big,))
        assert (await b.ended(good)).result == msgspec.Raw(
            b'{"text":"xx","parents":{"%s":"xx"}}' % big.encode()
        )


async def test_a_result_over_the_limit_fails_the_job_and_not_the_worker() -> None:
    async with bench(limits=LimitSettings(result=Bytes(100))) as b:
        record = await b.ended(await b.submit("big", {"size": 1_000}))
        assert record.error is not None
        assert record.error.code == "result_too_large"
        child = await b.ended(await b.submit("process.environment"))
        assert child.state is State.COMPLETED


async def test_a_drain_finishes_what_runs_and_gives_back_what_waits() -> None:
    async with bench(concurrency=1) as b:
        running = await b.submit("thread.blocks")
        await wait_started()
        waiting = [await b.submit("double", {"number": 1}) for _ in range(3)]
        b.worker.drain()
        assert b.worker.state is WorkerState.DRAINING
        [session] = await b.store.sessions()
        await kit.until(lambda: drained(b), "the store knows that the worker drains")
        kit.release.set()
        assert b.task is not None
        assert await b.task is ExitReason.DRAINED
        assert (await b.get(running)).state is State.COMPLETED
        for job_id in waiting:
            record = await b.get(job_id)
            assert (record.state, record.attempt, record.lost) == (State.QUEUED, 0, 0)
        [session] = await b.store.sessions(ended=True)
        assert session.state is SessionState.LEFT


async def drained(b: Bench) -> bool:
    return [s.state for s in await b.store.sessions()] == [SessionState.DRAINING]


@pytest.mark.parametrize("task", ["never", "thread.spins", "thread.spins_deaf", "process.spins"])
async def test_what_does_not_end_within_the_drain_is_given_back_uncounted(task: str) -> None:
    async with bench(drain=Seconds(0.1)) as b:
        job_id = await b.submit(task, timeout=60.0)
        await b.in_state(job_id, State.RUNNING)
        assert await b.finish() is ExitReason.DRAINED
        record = await b.get(job_id)
        assert (record.state, record.attempt) == (State.QUEUED, 0)
        assert (record.failed, record.lost) == (0, 0)
        assert [a.outcome for a in record.attempts] == ["released"]


async def test_a_stop_interrupts_at_once() -> None:
    async with bench(drain=Seconds(600)) as b:
        job_id = await b.submit("never", timeout=600.0)
        await b.in_state(job_id, State.RUNNING)
        b.worker.drain()
        b.worker.stop()
        assert b.task is not None
        assert await b.task is ExitReason.STOPPED
        record = await b.get(job_id)
        assert (record.state, record.attempt) == (State.QUEUED, 0)


async def test_the_first_signal_drains_and_the_second_stops() -> None:
    async with bench(drain=Seconds(600)) as b:
        job_id = await b.submit("never", timeout=600.0)
        await b.in_state(job_id, State.RUNNING)
        remove = install_signals(b.worker, asyncio.get_running_loop())
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await wait_until(lambda: b.worker.is_draining, "the worker drains")
            assert b.task is not None
            assert not b.task.done()
            os.kill(os.getpid(), signal.SIGINT)
            assert await b.task is ExitReason.STOPPED
        finally:
            remove()


@pytest.mark.parametrize(
    ("command", "reason"),
    [(Command.DRAIN, ExitReason.DRAINED), (Command.STOP, ExitReason.STOPPED)],
)
async def test_an_operators_command_is_obeyed(command: Command, reason: ExitReason) -> None:
    async with bench(beat=Seconds(0.1)) as b:
        await wait_until(lambda: b.worker.is_open, "the session is open")
        assert await b.store.set_session([b.worker.session_id], command)
        assert b.task is not None
        assert await b.task is reason


async def test_a_worker_without_work_ends_at_once() -> None:
    async with bench() as b:
        await wait_until(lambda: b.worker.is_open, "the session is open")
        assert await b.finish() is ExitReason.DRAINED
        assert b.worker.state is WorkerState.ENDED
        kinds = [e.kind for e in await b.store.events(EventQuery())]
        assert Kind.WORKER_JOINED in kinds
        assert Kind.WORKER_LEFT in kinds


async def test_a_worker_waits_for_a_store_that_is_away_and_can_be_drained_meanwhile() -> None:
    store = FaultyStore(MemoryStore(clock=SystemClock()))
    store.rule = lambda verb: Before() if verb in {"beat", "exchange", "queues"} else None
    async with bench(store=store) as b:
        await wait_until(lambda: store.calls["beat"] >= 2, "the worker tries again")
        assert b.worker.state is WorkerState.STARTING
        assert await b.finish() is ExitReason.DRAINED


@pytest.mark.parametrize("verb", ["beat", "exchange"])
async def test_a_store_that_can_not_serve_any_more_ends_the_worker(verb: str) -> None:
    store = FaultyStore(MemoryStore(clock=SystemClock()))
    error = SchemaMismatch if verb == "beat" else ReadOnlyStore
    store.rule = lambda called: Before(error) if called == verb else None
    async with store:
        worker = Worker(
            store,
            kit.registry(),
            settings=kit.settings(),
            limits=LimitSettings(),
        )
        with pytest.raises(error):
            await worker.run()
        assert worker.state is WorkerState.ENDED


async def test_a_session_says_what_the_worker_is() -> None:
    async with bench(concurrency=7) as b:
        await wait_until(lambda: b.worker.is_open, "the session is open")
        [session] = await b.store.sessions()
        assert (session.name, session.pid, session.kind) == ("tester", os.getpid(), "python")
        assert session.concurrency == 7
        assert "thread.spins" in session.tasks
        assert "default" in session.queues
        assert session.id == b.worker.session_id


async def test_a_job_that_ends_soon_never_costs_a_beat() -> None:
    store = FaultyStore(MemoryStore(clock=SystemClock()))
    async with bench(store=store) as b:
        await wait_until(lambda: b.worker.is_open, "the session is open")
        before = store.calls["beat"]
        for _ in range(50):
            await b.ended(await b.submit("double", {"number": 1}))
        assert store.calls["beat"] <= before + 1


async def test_nothing_is_logged_for_a_job_at_info(caplog: pytest.LogCaptureFixture) -> None:
    async with bench() as b:
        await wait_until(lambda: b.worker.state is WorkerState.RUNNING, "the worker runs")
        with caplog.at_level(logging.INFO, logger="stoker"):
            caplog.clear()
            await b.ended(await b.submit("double", {"number": 1}))
            await b.ended(await b.submit("fails"))
            assert caplog.records == []
