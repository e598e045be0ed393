"""The session: beats, what they carry, and what happens when they fail."""

from collections.abc import Sequence

import pytest

from stoker.core.clock import SystemClock
from stoker.core.job import BeatReply, HeldJob, SessionSpec, SessionState
from stoker.core.lifecycle import State
from stoker.settings import Seconds
from stoker.stores.memory import MemoryStore
from stoker.testing import After, Before, FaultyStore, wait_until
from stoker.worker.attempt import Stop
from stoker.worker.worker import ExitReason
from tests.unit.worker import kit
from tests.unit.worker.kit import bench


class Recorder(FaultyStore):
    """Keeps what each beat said."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(clock=SystemClock()))
        self.beats: list[tuple[SessionSpec, list[HeldJob]]] = []

    async def beat(self, session: SessionSpec, held: Sequence[HeldJob], *, ttl: float) -> BeatReply:
        self.beats.append((session, list(held)))
        return await super().beat(session, held, ttl=ttl)


async def test_every_beat_names_all_that_is_held() -> None:
    store = Recorder()
    async with bench(store=store, concurrency=3, beat=Seconds(0.05)) as b:
        ids = [await b.submit("never", timeout=60.0) for _ in range(3)]
        for job_id in ids:
            await b.in_state(job_id, State.RUNNING)
        count = len(store.beats)
        await wait_until(lambda: len(store.beats) > count + 2, "more beats")
        for _, held in store.beats[count + 1 :]:
            assert {h.id for h in held} == set(ids)
            assert all(h.ran_for is not None for h in held)


async def test_a_job_that_waits_for_its_settlement_to_be_answered_is_still_held() -> None:
    store = Recorder()
    async with bench(store=store, beat=Seconds(0.05)) as b:
        job_id = await b.submit("thread.blocks", timeout=60.0)
        await b.in_state(job_id, State.RUNNING)
        hold = store.hold("exchange")
        kit.release.set()
        await hold.reached.wait()
        count = len(store.beats)
        await wait_until(lambda: len(store.beats) > count + 1, "a beat meanwhile")
        assert [h.id for h in store.beats[-1][1]] == [job_id]
        hold.release()
        assert (await b.ended(job_id)).state is State.COMPLETED


async def test_what_a_failed_beat_could_not_deliver_goes_with_the_next() -> None:
    store = Recorder()
    async with bench(store=store) as b:
        await wait_until(lambda: b.worker.is_open, "the session is open")
        store.plan("beat", Before(), Before())
        job_id = await b.submit("talks")
        record = await b.until(job_id, lambda r: len(r.logs) == 2, "logged twice")
        assert (record.progress, record.progress_note) == (0.25, "reading")
        assert [line.message for line in record.logs] == ["line 1", "line 2"]


async def test_a_job_that_the_store_took_back_is_dropped_here() -> None:
    async with bench(beat=Seconds(0.1)) as b:
        job_id = await b.submit("never", timeout=60.0)
        await b.in_state(job_id, State.RUNNING)
        # What a beat without the job would do, had its lease been longer ago.
        [attempt] = b.worker._dispatcher.running
        b.worker._dispatcher.lose(attempt)
        await wait_until(lambda: b.worker.busy == 0, "the slot is free")
        assert b.worker.held == 0
        assert (await b.get(job_id)).attempts[0].outcome is None


async def test_a_silent_store_makes_the_worker_stop_what_runs_and_go_on_when_it_is_back() -> None:
    store = Recorder()
    async with bench(store=store, lease=Seconds(0.5), beat=Seconds(0.05)) as b:
        job_id = await b.submit("never", timeout=60.0)
        await b.in_state(job_id, State.RUNNING)
        session = b.worker.session_id
        store.rule = lambda verb: Before() if verb in {"exchange", "beat"} else None
        await wait_until(lambda: b.worker.busy == 0, "the job was stopped")
        assert b.worker._dispatcher.fenced
        store.rule = lambda verb: None
        record = await b.tried(job_id)
        # Nobody had declared the session dead: the job was given back, and was not lost.
        assert record.attempts[0].outcome == "released"
        assert record.lost == 0
        await b.in_state(job_id, State.RUNNING)
        assert b.worker.session_id == session


async def test_a_session_that_died_meanwhile_is_followed_by_a_new_one() -> None:
    store = Recorder()
    async with bench(store=store, lease=Seconds(0.5), beat=Seconds(0.05)) as b:
        await wait_until(lambda: b.worker.is_open, "the session is open")
        old = b.worker.session_id
        await b.store.reap(sessions=[old])
        await wait_until(lambda: b.worker.session_id != old, "a new session")
        await wait_until(lambda: b.worker.is_open, "the new session is open")
        assert (await b.ended(await b.submit("double", {"number": 1}))).state is State.COMPLETED


async def test_nothing_of_a_dead_session_is_held_any_more() -> None:
    async with bench(concurrency=1) as b:
        job_id = await b.submit("never", timeout=60.0)
        await b.in_state(job_id, State.RUNNING)
        [attempt] = b.worker._dispatcher.running
        b.worker._heartbeat.lost("another session", "a late answer")
        assert attempt.stop is None
        b.worker._heartbeat.lost(b.worker.session_id, "it was declared dead")
        assert b.worker.held == 0
        assert attempt.stop is Stop.ABANDON
        assert not b.worker.is_open


async def test_a_lost_answer_to_the_first_beat_makes_no_second_session() -> None:
    store = Recorder()
    store.plan("beat", After())
    async with bench(store=store) as b:
        await wait_until(lambda: b.worker.is_open, "the session is open")
        assert len(await b.store.sessions()) == 1


async def test_beats_come_often_while_there_is_something_to_cancel_and_seldom_otherwise() -> None:
    async with bench(lease=Seconds(30)) as b:
        heart = b.worker._heartbeat
        assert heart._interval() == 10.0
        job_id = await b.submit("never", timeout=60.0)
        await b.in_state(job_id, State.RUNNING)
        await wait_until(lambda: heart._interval() == 2.0, "the store knows that it runs")


async def test_the_configured_interval_is_obeyed() -> None:
    async with bench(lease=Seconds(30), beat=Seconds(7)) as b:
        assert b.worker._heartbeat._interval() == 7.0
    async with bench(lease=Seconds(30), beat=Seconds(60)) as b:
        assert b.worker._heartbeat._interval() == 15.0


async def test_a_worker_that_ends_says_goodbye_once() -> None:
    store = Recorder()
    async with bench(store=store) as b:
        await wait_until(lambda: b.worker.is_open, "the session is open")
        await b.finish()
        states = [spec.state for spec, _ in store.beats]
        assert states.count(SessionState.LEFT) == 1
        assert states[-1] is SessionState.LEFT


async def test_a_store_that_hangs_does_not_keep_a_worker_from_leaving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stoker.worker.heartbeat.GOODBYE", 0.1)
    store = Recorder()
    async with bench(store=store) as b:
        await wait_until(lambda: b.worker.is_open, "the session is open")
        store.hold("beat")
        assert await b.finish() is ExitReason.DRAINED
