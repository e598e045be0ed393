"""Jobs on their way through the slots, with executors that do what the test says."""

from collections.abc import Mapping
from typing import Any

import pytest

from stoker.core.job import Leased, Outcome, Settled
from stoker.core.task import Registry, Task, TaskOptions
from stoker.testing import FakeClock
from stoker.worker.attempt import Attempt, Stop, Verdict
from stoker.worker.dispatcher import SOON, STALE, Dispatcher
from stoker.worker.runner import Runner

DONE = Verdict(Outcome.COMPLETED, b"null")


def nothing() -> None:
    pass


class Stub:
    """An executor in the hands of a test."""

    def __init__(self, dispatcher: Dispatcher, patience: Mapping[Stop, float]) -> None:
        self.patience = patience
        self.room = 100
        self.started: list[Attempt] = []
        self.told: list[tuple[str, Stop]] = []
        self.killed: list[str] = []
        self._dispatcher = dispatcher

    def has_room(self) -> bool:
        return len(self.started) < self.room

    def start(self, attempt: Attempt) -> None:
        attempt.begin()
        self.started.append(attempt)

    def interrupt(self, attempt: Attempt, stop: Stop) -> None:
        self.told.append((attempt.leased.id, stop))

    def kill(self, attempt: Attempt) -> None:
        self.killed.append(attempt.leased.id)
        self.end(attempt, Verdict(Outcome.FAILED))

    def end(self, attempt: Attempt, verdict: Verdict = DONE) -> None:
        self.started.remove(attempt)
        self._dispatcher.done(attempt, verdict)

    async def aclose(self) -> None:
        pass


class Rig:
    def __init__(self, concurrency: int = 2) -> None:
        tasks = Registry()
        tasks.add(Task(nothing, name="t", options=TaskOptions.make(run_in="thread")))
        tasks.add(Task(nothing, name="p", options=TaskOptions.make(run_in="process")))
        self.clock = FakeClock()
        self.dispatcher = Dispatcher(
            registry=tasks,
            runner=Runner(worker="w", result_limit=100, random=lambda: 0.5),
            clock=self.clock,
            concurrency=concurrency,
            count_load=True,
        )
        patience = {Stop.HARD: 1.0, Stop.CANCEL: 10.0, Stop.RELEASE: 1.0}
        self.threads = Stub(self.dispatcher, patience)
        self.processes = Stub(self.dispatcher, patience)
        self.dispatcher.executors = {"thread": self.threads, "process": self.processes}

    def lease(self, *ids: str, task: str = "t", **fields: Any) -> None:
        given: dict[str, Any] = {"attempt": 1, "epoch": 1, "nonce": "n"} | fields
        jobs = [Leased(i, task, b"{}", "q", **given) for i in ids]
        self.dispatcher.accept(jobs, self.clock.monotonic())

    def tick(self, after: float = 0.0) -> bool:
        self.clock.advance(after)
        return self.dispatcher.tick(self.clock.monotonic())

    @property
    def outcomes(self) -> list[tuple[str, Outcome]]:
        return [(s.id, s.outcome) for s in self.dispatcher.outbox]


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_jobs_fill_the_slots_in_order_and_the_rest_waits(rig: Rig) -> None:
    rig.lease("a", "b", "c")
    assert [a.leased.id for a in rig.threads.started] == ["a", "b"]
    assert [a.leased.id for a in rig.dispatcher.buffer] == ["c"]
    assert (rig.dispatcher.free, rig.dispatcher.busy) == (0, 2)
    rig.threads.end(rig.threads.started[0])
    assert [a.leased.id for a in rig.threads.started] == ["b", "c"]
    assert rig.outcomes == [("a", Outcome.COMPLETED)]


def test_a_job_is_held_until_its_settlement_is_answered(rig: Rig) -> None:
    rig.lease("a")
    rig.threads.end(rig.threads.started[0])
    assert set(rig.dispatcher.held) == {"a"}
    rig.dispatcher.answered(list(rig.dispatcher.outbox), [Settled.OK])
    assert not rig.dispatcher.held


def test_an_old_answer_does_not_let_go_of_a_newer_lease(rig: Rig) -> None:
    rig.lease("a")
    rig.threads.end(rig.threads.started[0])
    old = list(rig.dispatcher.outbox)
    rig.lease("a", epoch=2)
    rig.dispatcher.answered(old, [Settled.LEASE_LOST])
    assert rig.dispatcher.held["a"].leased.epoch == 2
    assert rig.dispatcher.refused == 1


def test_an_executor_without_room_does_not_hold_up_the_others(rig: Rig) -> None:
    rig.processes.room = 1
    rig.lease("p1", "p2", task="p")
    rig.lease("t1")
    assert [a.leased.id for a in rig.processes.started] == ["p1"]
    assert [a.leased.id for a in rig.threads.started] == ["t1"]
    rig.threads.end(rig.threads.started[0])
    assert [a.leased.id for a in rig.dispatcher.buffer] == ["p2"]
    rig.processes.end(rig.processes.started[0])
    assert [a.leased.id for a in rig.processes.started] == ["p2"]


def test_the_load_of_a_queue_is_counted_until_its_jobs_end(rig: Rig) -> None:
    rig.lease("a", "b", "c")
    assert rig.dispatcher.load["q"] == 3
    rig.threads.end(rig.threads.started[0])
    rig.dispatcher.close()
    rig.threads.end(rig.threads.started[0])
    rig.threads.end(rig.threads.started[0])
    assert rig.dispatcher.load["q"] == 0


def test_a_cancel_before_the_start_settles_at_once(rig: Rig) -> None:
    rig.lease("a", "b", "c")
    rig.dispatcher.call_off(rig.dispatcher.held["c"])
    assert rig.outcomes == [("c", Outcome.CANCELLED)]
    assert not rig.dispatcher.buffer
    rig.lease("d", cancel_requested=True)
    assert rig.outcomes[1:] == [("d", Outcome.CANCELLED)]


def test_a_cancel_is_told_once_and_kills_in_the_end(rig: Rig) -> None:
    rig.lease("a")
    attempt = rig.dispatcher.held["a"]
    rig.dispatcher.call_off(attempt)
    rig.dispatcher.call_off(attempt)
    assert rig.threads.told == [("a", Stop.CANCEL)]
    rig.tick(9.9)
    assert not rig.threads.killed
    rig.tick(0.2)
    assert rig.threads.killed == ["a"]


def test_limits_are_told_and_then_kept(rig: Rig) -> None:
    rig.lease("a", timeout=10.0, soft_timeout=5.0)
    rig.tick(4.9)
    assert not rig.threads.told
    rig.tick(0.2)
    rig.tick(0.2)
    assert rig.threads.told == [("a", Stop.SOFT)]
    rig.tick(5.0)
    assert rig.threads.told == [("a", Stop.SOFT), ("a", Stop.HARD)]
    rig.tick(0.5)
    assert not rig.threads.killed
    rig.tick(0.6)
    assert rig.threads.killed == ["a"]


def test_the_hard_limit_holds_for_a_job_that_was_cancelled_before(rig: Rig) -> None:
    rig.threads.patience = {Stop.HARD: 1.0}
    rig.lease("a", timeout=10.0)
    rig.dispatcher.call_off(rig.dispatcher.held["a"])
    rig.tick(10.1)
    rig.tick(1.1)
    assert rig.threads.told == [("a", Stop.CANCEL), ("a", Stop.HARD)]
    assert rig.threads.killed == ["a"]


def test_a_late_start_does_not_move_the_deadline_beyond_the_stores_grace(rig: Rig) -> None:
    rig.lease("a", "b", timeout=60.0)
    rig.lease("late", timeout=10.0)
    rig.clock.advance(9.0)
    rig.threads.end(rig.threads.started[0])
    rig.tick(3.4)
    assert not rig.threads.told
    rig.tick(0.2)
    assert rig.threads.told == [("late", Stop.HARD)]


def test_what_waits_too_long_goes_back_uncounted(rig: Rig) -> None:
    rig.lease("a", "b", "c")
    rig.tick(STALE - 0.1)
    assert not rig.outcomes
    rig.tick(0.2)
    assert rig.outcomes == [("c", Outcome.RELEASED)]


def test_a_job_that_was_taken_back_is_dropped_without_a_settlement(rig: Rig) -> None:
    rig.lease("a", "b", "c")
    running, waiting = rig.dispatcher.held["a"], rig.dispatcher.held["c"]
    rig.dispatcher.lose(running)
    rig.dispatcher.lose(waiting)
    rig.dispatcher.lose(waiting)
    assert rig.threads.told == [("a", Stop.ABANDON)]
    assert set(rig.dispatcher.held) == {"b"}
    rig.threads.end(running)
    assert not rig.outcomes
    assert not rig.dispatcher.buffer


def test_a_job_that_has_ended_is_not_lost_any_more(rig: Rig) -> None:
    rig.lease("a")
    attempt = rig.dispatcher.held["a"]
    rig.threads.end(attempt)
    rig.dispatcher.lose(attempt)
    assert rig.outcomes == [("a", Outcome.COMPLETED)]
    assert set(rig.dispatcher.held) == {"a"}


def test_an_abandoned_worker_keeps_its_slots_busy_until_its_jobs_end(rig: Rig) -> None:
    rig.lease("a", "b", "c")
    first = rig.threads.started[0]
    rig.dispatcher.abandon()
    assert (len(rig.dispatcher.held), rig.dispatcher.free) == (0, 0)
    assert [stop for _, stop in rig.threads.told] == [Stop.ABANDON] * 2
    rig.lease("a", epoch=2)
    assert len(rig.dispatcher.buffer) == 1
    rig.threads.end(first)
    assert [a.leased.epoch for a in rig.threads.started] == [1, 2]
    assert not rig.outcomes


def test_a_fenced_worker_starts_nothing(rig: Rig) -> None:
    rig.dispatcher.fenced = True
    rig.lease("a")
    assert not rig.threads.started
    rig.dispatcher.fenced = False
    rig.dispatcher.fill()
    assert len(rig.threads.started) == 1


def test_leases_that_arrive_at_a_closed_worker_go_back(rig: Rig) -> None:
    rig.dispatcher.close()
    rig.lease("a")
    assert rig.outcomes == [("a", Outcome.RELEASED)]


def test_news_are_a_job_that_runs_for_a_moment_and_what_it_says(rig: Rig) -> None:
    rig.lease("a")
    assert not rig.tick(SOON / 2)
    assert rig.tick(SOON)
    attempt = rig.dispatcher.held["a"]
    attempt.shown = True
    assert not rig.tick()
    attempt.log("something")
    assert rig.tick()


def test_what_a_job_said_last_goes_with_its_settlement(rig: Rig) -> None:
    rig.lease("a")
    attempt = rig.dispatcher.held["a"]
    attempt.progress(0.5, "half")
    attempt.log("one")
    rig.clock.advance(2.0)
    rig.threads.end(attempt)
    [settlement] = rig.dispatcher.outbox
    assert (settlement.progress, settlement.note) == (0.5, "half")
    assert [line.message for line in settlement.logs] == ["one"]
    assert settlement.ran_for == 2.0


def test_of_too_many_lines_the_oldest_go_and_their_order_stays() -> None:
    rig = Rig()
    rig.lease("a")
    attempt = rig.dispatcher.held["a"]
    for number in range(1_500):
        attempt.log(str(number))
    lines = attempt.take_lines()
    assert [lines[0].message, lines[-1].message, len(lines)] == ["500", "1499", 1_000]
    attempt.log("newer")
    attempt.put_back(lines[-2:])
    assert [line.message for line in attempt.take_lines()] == ["1498", "1499", "newer"]
