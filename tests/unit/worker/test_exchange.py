"""The loop around `Store.exchange`, and what it does at each failure."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from stoker.core.clock import SystemClock
from stoker.core.errors import InvalidPayload, StokerError
from stoker.core.job import Exchanged, Outcome, SessionSpec, SessionState, Settlement
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.settings import Seconds
from stoker.stores.memory import MemoryStore
from stoker.testing import After, Before, FakeClock, FaultyStore, wait_until
from stoker.worker.exchange import AGED, MAX_BUFFER, _Pace
from tests.unit.worker import kit
from tests.unit.worker.kit import Bench, bench


@dataclass(frozen=True)
class Call:
    session: str
    settled: tuple[tuple[str, Outcome], ...]
    queues: dict[str, int]
    want: int
    nonce: str
    aged: int


class Recorder(FaultyStore):
    """Keeps what each exchange said, and how many were under way at once."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(clock=SystemClock()))
        self.exchanges: list[Call] = []
        self.refuse: dict[str, StokerError] = {}
        self.under_way = 0
        self.most_under_way = 0

    async def exchange(
        self,
        session_id: str,
        settlements: Sequence[Settlement],
        *,
        queues: Mapping[str, int],
        want: int,
        nonce: str,
        aged: int = 0,
        ids: Sequence[str] = (),
    ) -> Exchanged:
        settled = tuple((s.id, s.outcome) for s in settlements)
        self.exchanges.append(Call(session_id, settled, dict(queues), want, nonce, aged))
        for settlement in settlements:
            if settlement.id in self.refuse and settlement.outcome is Outcome.COMPLETED:
                raise self.refuse[settlement.id]
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await super().exchange(
                session_id,
                settlements,
                queues=queues,
                want=want,
                nonce=nonce,
                aged=aged,
                ids=ids,
            )
        finally:
            self.under_way -= 1

    def settling(self, job_id: str) -> list[Call]:
        return [c for c in self.exchanges if job_id in dict(c.settled)]


async def opened(b: Bench) -> None:
    await wait_until(lambda: b.worker.is_open, "the session is open")


async def test_an_exchange_without_an_answer_is_repeated_with_the_same_nonce() -> None:
    store = Recorder()
    async with bench(store=store, start=False) as b:
        store.plan("exchange", After(), Before(), After())
        job_id = await b.submit("double", {"number": 1})
        b.start()
        record = await b.ended(job_id)
        assert record.state is State.COMPLETED
        assert len(record.attempts) == 1
        first = store.exchanges[:4]
        assert len({c.nonce for c in first}) == 1
        assert len({(c.want, c.session) for c in first}) == 1
        assert store.exchanges[4].nonce != first[0].nonce


async def test_a_settlement_is_repeated_until_it_is_answered() -> None:
    store = Recorder()
    async with bench(store=store) as b:
        await opened(b)
        blocked = await b.submit("thread.blocks")
        await wait_until(kit.started.is_set, "the job has started")
        faults: list[Any] = [After(), Before(), After(), Before()]
        store.rule = lambda verb: faults.pop() if verb == "exchange" and faults else None
        kit.release.set()
        record = await b.ended(blocked)
        assert [a.outcome for a in record.attempts] == ["completed"]
        await wait_until(lambda: not faults, "all faults were met")
        calls = store.settling(blocked)
        await wait_until(lambda: b.worker.held == 0, "the answer has arrived")
        assert len({c.nonce for c in calls}) == 1


async def test_there_is_never_a_second_exchange_under_way() -> None:
    store = Recorder()
    async with bench(store=store, concurrency=3) as b:
        for _ in range(20):
            await b.submit("double", {"number": 1})
        await wait_until(lambda: b.worker.finished >= 20, "all have ended")
        await b.finish()
        assert store.most_under_way == 1


async def test_outcomes_that_gather_while_an_exchange_is_away_go_with_the_next() -> None:
    store = Recorder()
    async with bench(store=store, concurrency=8, start=False) as b:
        b.start()
        await opened(b)
        jobs = [await b.submit("thread.blocks") for _ in range(8)]
        await wait_until(lambda: b.worker.busy == 8, "all run")
        first = await b.submit("double", {"number": 1})
        hold = store.hold("exchange")
        kit.release.set()
        await hold.reached.wait()
        await wait_until(lambda: b.worker.busy == 0, "all have ended")
        hold.release()
        for job_id in (*jobs, first):
            await b.ended(job_id)
        sizes = [len(c.settled) for c in store.exchanges if c.settled]
        assert len([s for s in sizes if s]) <= 4
        assert sum(sizes) == 9


async def test_a_lost_session_abandons_everything_and_begins_anew() -> None:
    async with bench(concurrency=2) as b:
        job_id = await b.submit("never", timeout=60.0)
        await b.in_state(job_id, State.RUNNING)
        old = b.worker.session_id
        await b.store.reap(sessions=[old])
        await b.submit("double", {"number": 1})
        await wait_until(lambda: b.worker.session_id != old, "a new session")
        record = await b.until(job_id, lambda r: len(r.attempts) == 2, "was leased again")
        assert record.attempts[0].outcome == "lost"
        # It is a suspect now, and its second attempt is told from the first by its epoch.
        assert [a.epoch for a in record.attempts] == [1, 2]
        assert sum(a.outcome is None for a in record.attempts) <= 1
        states = [s.state for s in await b.store.sessions(ended=True)]
        assert states.count(SessionState.DEAD) == 1


async def test_an_outcome_of_a_job_that_was_taken_back_is_dropped_and_counted() -> None:
    store = Recorder()
    async with bench(store=store, concurrency=2, isolated=False) as b:
        job_id = await b.submit("thread.blocks", timeout=60.0)
        await b.in_state(job_id, State.RUNNING)
        hold = store.hold("beat")
        await b.store.reap(sessions=[b.worker.session_id])
        kit.release.set()
        hold.release()
        record = await b.ended(job_id)
        assert record.lost == 1
        assert [a.outcome for a in record.attempts] == ["lost", "completed"]


async def test_a_settlement_that_the_store_cannot_take_fails_its_job_alone() -> None:
    store = Recorder()
    async with bench(store=store, concurrency=8, start=False) as b:
        jobs = [await b.submit("double", {"number": n}) for n in range(8)]
        store.refuse[jobs[5]] = InvalidPayload("the engine cannot keep this result")
        b.start()
        records = [await b.ended(job_id) for job_id in jobs]
        bad = records.pop(5)
        assert bad.state is State.DEAD_LETTER
        assert bad.error is not None
        assert bad.error.code == "invalid_payload"
        assert {r.state for r in records} == {State.COMPLETED}


async def test_low_priorities_are_served_one_time_in_eight() -> None:
    store = Recorder()
    async with bench(store=store, concurrency=4) as b:
        for _ in range(80):
            await b.ended(await b.submit("double", {"number": 1}))
        wanted = sum(c.want for c in store.exchanges)
        aged = sum(c.aged for c in store.exchanges)
        assert wanted // AGED - 2 <= aged <= wanted // AGED + 1


async def test_queues_take_turns_at_being_first() -> None:
    store = Recorder()
    async with bench(store=store, queues={"a": 0, "b": 0}, concurrency=1, start=False) as b:
        for queue in ("a", "b"):
            for _ in range(3):
                await b.submit("thread.plain_double", {"number": 1}, queue=queue)
        b.start()
        await wait_until(lambda: b.worker.finished == 6, "all have ended")
        firsts = {next(iter(c.queues)) for c in store.exchanges if c.want}
        assert firsts == {"a", "b"}


async def test_slow_jobs_are_leased_for_free_slots_only() -> None:
    store = Recorder()
    async with bench(store=store, concurrency=3) as b:
        await opened(b)
        for _ in range(10):
            await b.submit("thread.blocks")
        await wait_until(lambda: b.worker.busy == 3, "the slots are full")
        assert b.worker.held == 3
        assert max(c.want for c in store.exchanges) == 3


def test_the_buffer_follows_how_fast_jobs_end() -> None:
    clock = FakeClock()
    pace = _Pace(clock)
    for finished in range(100, 1_100, 100):
        sent_at = clock.monotonic()
        clock.advance(0.005)
        pace.note(sent_at, finished)
    assert 150 <= pace.buffer <= 250
    clock.advance(2.0)
    pace.note(clock.monotonic(), 1_001)
    assert pace.buffer == 0
    for step in range(50):
        clock.advance(0.000_1)
        pace.note(clock.monotonic(), 10_000 * step)
    assert pace.buffer == MAX_BUFFER


async def test_what_waits_too_long_for_a_slot_is_given_back() -> None:
    async with bench(concurrency=1, processes=1) as b:
        first = await b.submit("process.spins", timeout=60.0)
        await b.in_state(first, State.RUNNING)
        dispatcher = b.worker._dispatcher
        second = await b.submit("double", {"number": 1})
        b.worker._exchange._pace.buffer = 1
        b.worker._exchange.look()
        await wait_until(lambda: len(dispatcher.buffer) == 1, "one job waits in the buffer")
        record = await b.tried(second)
        assert record.attempts[0].outcome == "released"
        assert record.attempt == 0


async def test_leases_whose_answer_came_too_late_go_back() -> None:
    store = Recorder()
    async with bench(store=store, lease=Seconds(0.4), beat=Seconds(0.05)) as b:
        await opened(b)
        hold = store.hold("exchange")
        job_id = await b.submit("double", {"number": 1})
        await hold.reached.wait()
        loop = asyncio.get_running_loop()
        over = loop.time() + 0.25
        await wait_until(lambda: loop.time() > over, "more than half of the lease is over")
        hold.release()
        record = await b.tried(job_id)
        assert record.attempts[0].outcome == "released"
        assert (await b.ended(job_id)).state is State.COMPLETED


async def test_a_job_cancelled_between_lease_and_start_never_runs() -> None:
    store = Recorder()
    async with bench(store=store, start=False) as b:
        job_id = await b.submit("double", {"number": 1})
        await b.store.beat(SessionSpec(id="other", name="other"), (), ttl=30)
        taken = await b.store.exchange("other", (), queues={"default": 1}, want=1, nonce="1" * 32)
        assert len(taken.leased) == 1
        await b.cancel(job_id)
        # The reaper ends it: there is nothing left to lease.
        await b.store.reap(sessions=["other"])
        b.start()
        assert (await b.ended(job_id)).state is State.CANCELLED


async def test_a_drain_does_not_lease_and_ends_though_leases_are_unanswered() -> None:
    store = Recorder()
    async with bench(store=store, start=False) as b:
        job_id = await b.submit("double", {"number": 1})
        store.plan("exchange", After())
        hold = store.hold("exchange")
        b.start()
        await hold.reached.wait()
        b.worker.drain()
        hold.release()
        assert b.task is not None
        await b.task
        record = await b.get(job_id)
        # Leased by the first, unanswered try; handed back when the second one told.
        assert (record.state, record.attempt, record.lost) == (State.QUEUED, 0, 0)
        assert [a.outcome for a in record.attempts] == ["released"]


async def test_a_drain_asks_again_until_it_knows_what_an_unanswered_exchange_leased(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Recorder()
    async with bench(store=store, start=False) as b:

        async def drain_meanwhile(failures: int) -> None:
            b.worker.drain()

        monkeypatch.setattr(b.worker._exchange, "_back_off", drain_meanwhile)
        job_id = await b.submit("double", {"number": 1})
        store.plan("exchange", After(), Before())
        b.start()
        assert b.task is not None
        await b.task
        record = await b.get(job_id)
        assert (record.state, record.attempt, record.lost) == (State.QUEUED, 0, 0)


async def test_a_worker_whose_store_is_gone_ends_after_its_last_words(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stoker.worker.worker.LAST_WORDS", 0.2)
    monkeypatch.setattr("stoker.worker.heartbeat.GOODBYE", 0.1)
    store = Recorder()
    async with bench(store=store, drain=Seconds(0.1)) as b:
        job_id = await b.submit("thread.blocks", timeout=60.0)
        await b.in_state(job_id, State.RUNNING)
        store.rule = lambda verb: Before() if verb in {"exchange", "beat"} else None
        kit.release.set()
        await b.finish()
        assert "could not be handed in" in caplog.text
        store.rule = lambda verb: None
        await b.store.reap(sessions=[b.worker.session_id])
        assert (await b.get(job_id)).lost == 1


@pytest.mark.parametrize("rate", [0.3])
async def test_nothing_is_lost_or_done_twice_while_the_store_loses_every_third_call(
    rate: float,
) -> None:
    store = Recorder()
    clock = SystemClock()

    def rule(verb: str) -> Before | After | None:
        if verb not in {"exchange", "beat"} or clock.random() > rate:
            return None
        return Before() if clock.random() < 0.5 else After()

    store.rule = rule
    async with bench(store=store, concurrency=5, start=False) as b:
        ids = [await b.submit("double", {"number": n}) for n in range(200)]
        b.start()
        records = [await b.ended(job_id) for job_id in ids]
        assert {r.state for r in records} == {State.COMPLETED}
        assert [r.result for r in records] == [msgspec.Raw(b"%d" % (n * 2)) for n in range(200)]
        assert sum(len(r.attempts) for r in records) == 200
        store.rule = lambda verb: None
        assert not (await b.store.find(JobQuery(states=(State.QUEUED,)))).jobs


class Gap(Recorder):
    """A store into which a job comes right after an exchange has found nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.gap: Callable[[], Awaitable[None]] | None = None

    async def exchange(
        self,
        session_id: str,
        settlements: Sequence[Settlement],
        *,
        queues: Mapping[str, int],
        want: int,
        nonce: str,
        aged: int = 0,
        ids: Sequence[str] = (),
    ) -> Exchanged:
        answer = await super().exchange(
            session_id, settlements, queues=queues, want=want, nonce=nonce, aged=aged, ids=ids
        )
        if self.gap is not None and want and not answer.leased:
            gap, self.gap = self.gap, None
            await gap()
        return answer


async def test_a_job_that_comes_between_a_dry_answer_and_the_sleep_is_not_missed() -> None:
    store = Gap()
    async with bench(store=store, poll=Seconds(3600), queues={"default": 0}, start=False) as b:
        made: list[str] = []

        async def gap() -> None:
            made.append(await b.submit("double", {"number": 1}))
            # It rings while the exchange that has found nothing is still under way.
            for _ in range(10):
                await asyncio.sleep(0)

        store.gap = gap
        b.start()
        await wait_until(lambda: made, "the job was submitted in the gap")
        assert (await b.ended(made[0])).state is State.COMPLETED


async def test_leases_of_a_session_that_died_before_they_arrived_are_not_run() -> None:
    class Late(Recorder):
        async def exchange(self, session_id: str, *args: Any, **kwargs: Any) -> Exchanged:
            answer = await super().exchange(session_id, *args, **kwargs)
            if answer.leased and len(died) == 0:
                died.append(session_id)
                await self.inner.reap(sessions=[session_id])
                await wait_until(lambda: b.worker.session_id != session_id, "a new session")
            return answer

    died: list[str] = []
    store = Late()
    async with bench(store=store, beat=Seconds(0.05), isolated=False) as b:
        record = await b.ended(await b.submit("double", {"number": 1}))
        assert [a.outcome for a in record.attempts] == ["lost", "completed"]
        assert b.worker.finished == 1
        assert len(store.settling(record.id)) == 1


async def test_an_idle_worker_is_woken_by_a_submit_and_not_by_its_poll() -> None:
    async with bench(poll=Seconds(3600), queues={"default": 0}) as b:
        await opened(b)
        for _ in range(5):
            await wait_until(lambda: b.worker._exchange._listening, "it listens")
            assert (await b.ended(await b.submit("double", {"number": 1}))).attempt == 1


async def test_a_store_that_cannot_ring_is_polled() -> None:
    store = Recorder()
    store.rule = lambda verb: Before() if verb == "wait" else None
    async with bench(store=store, poll=Seconds(0.02)) as b:
        await opened(b)
        for _ in range(3):
            assert (await b.ended(await b.submit("double", {"number": 1}))).attempt == 1


async def test_rings_for_nothing_make_the_bell_take_a_breath() -> None:
    class Nervous(Recorder):
        async def wait(
            self, queues: Sequence[str] = (), *, ids: Sequence[str] = (), timeout: float
        ) -> bool:
            self.calls["wait"] += 1
            await asyncio.sleep(0)
            return True

    store = Nervous()
    async with bench(store=store) as b:
        await opened(b)
        loop = asyncio.get_running_loop()
        over = loop.time() + 0.5
        await wait_until(lambda: loop.time() > over, "half a second is over")
        # Without a breath it would be some ten thousand.
        assert 4 <= store.calls["wait"] < 60
        assert (await b.ended(await b.submit("double", {"number": 1}))).attempt == 1


async def test_a_full_worker_does_not_listen() -> None:
    async with bench(concurrency=1, poll=Seconds(0.05)) as b:
        job_id = await b.submit("thread.blocks")
        await b.in_state(job_id, State.RUNNING)
        await wait_until(lambda: not b.worker._exchange._listening, "the bell rests")
        kit.release.set()
        await b.ended(job_id)
        assert (await b.ended(await b.submit("double", {"number": 1}))).attempt == 1


async def test_an_idle_worker_asks_no_more_often_than_its_poll_says() -> None:
    store = Recorder()
    async with bench(store=store, poll=Seconds(0.1)) as b:
        await opened(b)
        loop = asyncio.get_running_loop()
        over = loop.time() + 0.6
        await wait_until(lambda: loop.time() > over, "six polls are over")
        assert 3 <= len(store.exchanges) <= 12
        assert store.calls["beat"] <= 2
