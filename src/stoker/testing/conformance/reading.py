"""The promises of the verbs that read: get, find, counts, record, events, info, migrate."""

import re
from datetime import timedelta
from typing import Any

import pytest

from stoker.core.errors import InvalidQuery, NotOpen
from stoker.core.events import Event, Kind
from stoker.core.job import ErrorInfo, Outcome, Priority
from stoker.core.lifecycle import State
from stoker.core.records import MAX_PAGE, EventQuery, JobQuery, Tally, TotalSpread
from stoker.core.retry import RetryPolicy
from stoker.core.spread import BOUNDS
from stoker.core.store import Store
from stoker.testing.clock import FakeClock
from stoker.testing.conformance.hand import Hand, settlement
from stoker.testing.conformance.settling import line
from stoker.testing.conformance.suite import StoreSuite


class Finding(StoreSuite):
    """Getting jobs by id, and finding them."""

    async def test_jobs_are_got_in_the_order_asked_for(self, hand: Hand) -> None:
        first, second = await hand.put_many(2)
        found = await hand.store.get([second, "nobody", first, second])
        assert [record and record.id for record in found] == [second, None, first, second]
        assert await hand.store.get([]) == []

    async def test_log_lines_are_got_and_not_found(self, hand: Hand) -> None:
        job_id = await hand.put()
        await hand.finish(job_id, logs=(line(1),))
        [found] = await hand.all_jobs()
        assert (found.logs, len(found.attempts)) == ([], 1)
        got = await hand.job(job_id)
        assert got.logs == [line(1)]
        assert got.to_dict() | {"logs": []} == found.to_dict()

    async def test_jobs_are_found_newest_submitted_first(self, hand: Hand) -> None:
        jobs = [*(await hand.put_many(2)), await hand.put(delay=99), *(await hand.put_many(2))]
        assert [job.id for job in await hand.all_jobs()] == jobs[::-1]

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({}, "abcd"),
            ({"states": (State.COMPLETED,)}, "b"),
            ({"states": (State.COMPLETED, State.QUEUED)}, "ab"),
            ({"queues": ("q2",)}, "cd"),
            ({"queues": ("q1", "q2"), "states": (State.SCHEDULED,)}, "c"),
            ({"tasks": ("mail",)}, "bc"),
            ({"priorities": (Priority.HIGH,)}, "b"),
            ({"priorities": (Priority.HIGH, Priority.MEDIUM), "queues": ("q1",)}, "ab"),
            ({"tenant": "acme"}, "ac"),
            ({"schedule": "nightly"}, "d"),
            ({"worker": "W1"}, "bd"),
            ({"worker": "w1"}, ""),
            ({"error": "DISK FULL"}, "d"),
            ({"error": "oserror"}, "d"),
            ({"error": "task_err"}, "d"),
            ({"error": "100%"}, ""),
            ({"ids": ("a", "d", "nobody")}, "ad"),
            ({"ids": ("a", "d"), "queues": ("q1",)}, "a"),
            ({"workflow_id": "nobody"}, ""),
        ],
    )
    async def test_every_field_of_a_query_narrows(
        self, hand: Hand, query: dict[str, Any], expected: str
    ) -> None:
        await hand.put(id="a", queue="q1", tenant="acme")
        await hand.put(id="b", queue="q1", task="mail", priority=Priority.HIGH)
        await hand.put(id="c", queue="q2", task="mail", tenant="acme", delay=60)
        await hand.put(id="d", queue="q2", schedule="nightly")
        await hand.finish("b")
        error = ErrorInfo(code="task_error", message="Disk full at 100 percent", type="OSError")
        await hand.finish("d", Outcome.FAILED, error=error)
        assert "".join(sorted(job.id for job in await hand.all_jobs(**query))) == expected

    async def test_the_time_of_submission_narrows(self, hand: Hand) -> None:
        times = []
        for job_id in "abc":
            await hand.put(id=job_id)
            times.append(hand.clock.now())
            hand.clock.advance(10)
        after = await hand.all_jobs(submitted_after=times[1])
        before = await hand.all_jobs(submitted_before=times[1])
        assert ([job.id for job in after], [job.id for job in before]) == (["c", "b"], ["a"])

    async def test_pages_hold_every_job_once(self, hand: Hand) -> None:
        jobs = await hand.put_many(23)
        found: list[str] = []
        cursors: list[str | None] = [None]
        for _ in range(5):
            page = await hand.store.find(JobQuery(), cursor=cursors[-1], limit=5)
            found += [job.id for job in page.jobs]
            cursors.append(page.next_cursor)
        assert found == jobs[::-1]
        assert [cursor is None for cursor in cursors] == [True, *([False] * 4), True]

    async def test_a_full_last_page_has_no_cursor(self, hand: Hand) -> None:
        await hand.put_many(6)
        first = await hand.store.find(JobQuery(), limit=3)
        last = await hand.store.find(JobQuery(), cursor=first.next_cursor, limit=3)
        assert (len(last.jobs), last.next_cursor) == (3, None)

    async def test_pages_are_stable_while_jobs_come_and_go(self, hand: Hand) -> None:
        jobs = await hand.put_many(6)
        first = await hand.store.find(JobQuery(), limit=2)
        await hand.put_many(3)
        await hand.store.purge(JobQuery(ids=(jobs[4], jobs[3])))
        rest = await hand.store.find(JobQuery(), cursor=first.next_cursor, limit=10)
        seen = [job.id for job in (*first.jobs, *rest.jobs)]
        assert seen == [jobs[5], jobs[4], jobs[2], jobs[1], jobs[0]]

    async def test_pages_of_a_query_hold_only_what_matches(self, hand: Hand) -> None:
        wanted = []
        for _ in range(7):
            wanted.append(await hand.put(queue="wanted"))
            await hand.put(queue="noise")
        query = JobQuery(queues=("wanted",))
        first = await hand.store.find(query, limit=4)
        last = await hand.store.find(query, cursor=first.next_cursor, limit=4)
        assert [job.id for job in (*first.jobs, *last.jobs)] == wanted[::-1]
        assert last.next_cursor is None

    @pytest.mark.parametrize("cursor", ["", "nonsense", "-1", "🎬", "0 or 1=1", "x" * 5_000])
    async def test_a_cursor_of_somebody_else_is_refused(self, hand: Hand, cursor: str) -> None:
        await hand.put_many(3)
        with pytest.raises(InvalidQuery):
            await hand.store.find(JobQuery(), cursor=cursor)

    @pytest.mark.parametrize("limit", [0, -1, MAX_PAGE + 1])
    async def test_a_limit_without_meaning_is_refused(self, hand: Hand, limit: int) -> None:
        with pytest.raises(InvalidQuery):
            await hand.store.find(JobQuery(), limit=limit)

    async def test_a_record_belongs_to_its_reader(self, hand: Hand) -> None:
        job_id = await hand.put()
        await hand.finish(job_id, Outcome.RELEASED)
        record = await hand.job(job_id)
        record.state = State.CANCELLED
        record.attempts.clear()
        assert await hand.state(job_id) is State.QUEUED
        assert len((await hand.job(job_id)).attempts) == 1


class Counting(StoreSuite):
    """The store's own numbers."""

    async def test_tallies_count_by_queue_priority_and_state(self, hand: Hand) -> None:
        await hand.put_many(2, queue="a")
        await hand.put(queue="a", priority=Priority.HIGH)
        await hand.put(queue="b", delay=60)
        await hand.finish(await hand.put(queue="b"))
        tallies = [tally for tally in (await hand.store.counts()).tallies if tally.count]
        assert sorted(tallies, key=str) == sorted(
            [
                Tally("a", Priority.MEDIUM, State.QUEUED, 2),
                Tally("a", Priority.HIGH, State.QUEUED, 1),
                Tally("b", Priority.MEDIUM, State.SCHEDULED, 1),
                Tally("b", Priority.MEDIUM, State.COMPLETED, 1),
            ],
            key=str,
        )

    async def test_the_oldest_queued_job_of_each_queue_is_named(self, hand: Hand) -> None:
        first = await hand.put(queue="a", priority=Priority.LOW)
        hand.clock.advance(10)
        second = await hand.put(queue="a")
        await hand.put(queue="b", delay=60)
        counts = await hand.store.counts()
        assert dict(counts.oldest) == {"a": (await hand.job(first)).run_at}
        await hand.take(first)
        counts = await hand.store.counts()
        assert dict(counts.oldest) == {"a": (await hand.job(second)).run_at}
        assert counts.now.timestamp() == pytest.approx(hand.clock.now(), abs=0.001)

    async def _activity(self, hand: Hand, window: float = 3_600.0) -> dict[str, int]:
        sums: dict[str, int] = {}
        for activity in (await hand.store.counts(window=window)).activity:
            sums[activity.outcome] = sums.get(activity.outcome, 0) + activity.count
        return sums

    async def test_every_end_of_an_attempt_is_counted_by_its_outcome(self, hand: Hand) -> None:
        for outcome in Outcome:
            await hand.finish(await hand.put(), outcome, retry_in=1e6)
            hand.clock.advance(45)
        expected = {outcome.value: 1 for outcome in Outcome} | {"submitted": len(Outcome)}
        assert await self._activity(hand) == expected
        assert dict((await hand.store.counts()).totals) == expected

    async def test_dead_letters_are_counted_besides_what_led_there(self, hand: Hand) -> None:
        await hand.finish(await hand.put(), Outcome.FAILED)
        await hand.finish(await hand.put(max_lost=1), Outcome.CRASHED)
        await hand.take(await hand.put(max_lost=1))
        await hand.store.reap(sessions=["w1"])
        await hand.put(expires=5)
        await hand.beat("w2")
        await hand.take(await hand.put(timeout=1.0, retry=RetryPolicy(0)), session="w2")
        hand.clock.advance(20)
        await hand.store.reap()
        assert await self._activity(hand) == {
            "submitted": 5,
            "failed": 1,
            "crashed": 1,
            "lost": 1,
            "timed_out": 1,
            "dead": 5,
        }

    async def test_a_job_that_existed_is_not_counted_as_submitted(self, hand: Hand) -> None:
        job_id = await hand.put()
        specs = [hand.spec(id=job_id), hand.spec(parents=("nobody",))]
        await hand.store.submit(specs)
        assert await self._activity(hand) == {"submitted": 1}

    async def test_activity_sums_waiting_and_running(self, hand: Hand) -> None:
        for waited, ran in ((4.0, 1.5), (6.0, 2.5)):
            job_id = await hand.put(task="mail", queue="post")
            hand.clock.advance(waited)
            lease = await hand.take(job_id)
            hand.clock.advance(3.0)
            await hand.settle(lease, ran_for=ran)
        counts = await hand.store.counts(window=3_600)
        [done] = [a for a in counts.activity if a.outcome == "completed"]
        assert (done.queue, done.task, done.count) == ("post", "mail", 2)
        assert done.waited == pytest.approx(10.0)
        assert done.ran == pytest.approx(4.0)

    async def test_an_exchange_that_is_repeated_does_not_change_how_long_its_jobs_waited(
        self, hand: Hand
    ) -> None:
        await hand.put_many(2)
        hand.clock.advance(4.0)
        await hand.lease(2, nonce="once")
        hand.clock.advance(3.0)
        leases = await hand.lease(2, nonce="once")
        await hand.exchange(
            *(settlement(lease, Outcome.COMPLETED, ran_for=1.0) for lease in leases)
        )
        counts = await hand.store.counts(window=3_600)
        [done] = [a for a in counts.activity if a.outcome == "completed"]
        assert done.count == 2
        assert (done.waited, done.ran) == pytest.approx((8.0, 2.0))

    async def test_how_long_attempts_took_is_counted_by_classes(self, hand: Hand) -> None:
        for waited, ran in ((4.0, 1.5), (4.0, 2.5), (0.0, 0.0)):
            job_id = await hand.put(task="mail", queue="post")
            hand.clock.advance(waited)
            lease = await hand.take(job_id)
            hand.clock.advance(3.0)
            await hand.settle(lease, ran_for=ran)
        counts = await hand.store.counts(window=3_600)
        waits: dict[int, int] = {}
        for spread in counts.spreads:
            assert (spread.queue, spread.task) == ("post", "mail")
            for number, count in spread.waited.items():
                waits[number] = waits.get(number, 0) + count
        # 4 s is above 2.048 s and not above 4.096 s; no wait at all is in the first class.
        assert waits == {0: 1, 12: 2} == dict(counts.spread.waited)
        assert counts.spread.waited_sum == pytest.approx(8.0)
        # 1.5 s: up to 2.048; 2.5 s: up to 4.096.
        assert dict(counts.spread.ran) == {0: 1, 11: 1, 12: 1}
        assert counts.spread.ran_sum == pytest.approx(4.0)
        assert not any(name.startswith(("waited", "ran")) for name in counts.totals)

    async def test_every_bound_belongs_to_the_class_below(self, hand: Hand) -> None:
        for number, bound in enumerate(BOUNDS):
            lease = await hand.take(await hand.put())
            # Nothing is exact about a clock of seconds since 1970: a little beside the bound.
            await hand.settle(lease, ran_for=bound * 1.01)
            lease = await hand.take(await hand.put())
            await hand.settle(lease, ran_for=bound * 0.99)
            ran = (await hand.store.counts()).spread.ran
            assert (ran[number], ran[number + 1]) == (2 if number else 1, 1)

    async def test_an_attempt_that_never_began_has_waited_and_not_run(self, hand: Hand) -> None:
        await hand.finish(await hand.put(), Outcome.RELEASED, ran_for=None)
        await hand.finish(await hand.put(), Outcome.FAILED, ran_for=5.0)
        spread = (await hand.store.counts()).spread
        assert (sum(spread.waited.values()), sum(spread.ran.values())) == (2, 1)
        assert spread.ran_sum == pytest.approx(5.0)

    async def test_how_long_attempts_took_outlives_their_jobs(self, hand: Hand) -> None:
        job_id = await hand.put()
        await hand.finish(job_id, ran_for=5.0)
        before = (await hand.store.counts()).spread
        await hand.store.purge(JobQuery(ids=(job_id,)))
        hand.clock.advance(7_200)
        counts = await hand.store.counts(window=3_600)
        assert (counts.spread, counts.spreads) == (before, [])

    async def test_activity_is_told_by_the_minute_oldest_first(self, hand: Hand) -> None:
        start = hand.clock.now()
        for _ in range(3):
            await hand.put()
            hand.clock.advance(60)
        activity = (await hand.store.counts(window=3_600)).activity
        minutes = [a.minute_at for a in activity]
        assert minutes == sorted(minutes)
        assert [later - minutes[0] for later in minutes] == [timedelta(minutes=n) for n in range(3)]
        assert all(minute.second == minute.microsecond == 0 for minute in minutes)
        assert 0 <= start - minutes[0].timestamp() < 60

    async def test_activity_outside_the_window_is_left_out(self, hand: Hand) -> None:
        await hand.put()
        hand.clock.advance(7_200)
        await hand.put_many(2)
        assert await self._activity(hand, 3_600) == {"submitted": 2}
        assert await self._activity(hand, 10_000) == {"submitted": 3}
        assert await self._activity(hand, 0.0) == {}
        assert (await hand.store.counts()).totals["submitted"] == 3

    async def test_a_new_store_counts_nothing(self, hand: Hand) -> None:
        counts = await hand.store.counts(window=60)
        assert [tally for tally in counts.tallies if tally.count] == []
        assert (dict(counts.oldest), counts.activity, dict(counts.totals)) == ({}, [], {})
        assert (counts.spreads, counts.spread) == ([], TotalSpread())


class Trail(StoreSuite):
    """The audit trail."""

    async def _record(self, hand: Hand, *events: Event) -> None:
        for event in events:
            await hand.store.record([event])
            hand.clock.advance(10)

    async def test_an_event_comes_back_as_it_was_recorded(self, hand: Hand) -> None:
        event = Event(
            kind=Kind.FLEET_SCALED,
            actor="cli:eve",
            job_id="j1",
            queue="video",
            worker="W1",
            details={"from": 2, "to": 5, "why": "queue grew"},
        )
        await hand.store.record([event])
        [found] = await hand.store.events(EventQuery())
        assert (found.kind, found.actor, found.job_id) == (Kind.FLEET_SCALED, "cli:eve", "j1")
        assert (found.queue, found.worker) == ("video", "W1")
        assert found.details == {"from": 2, "to": 5, "why": "queue grew"}
        assert found.at.timestamp() == pytest.approx(hand.clock.now(), abs=0.001)

    async def test_events_are_read_newest_first_or_after_a_number(self, hand: Hand) -> None:
        kinds = [Kind.FLEET_STARTED, Kind.FLEET_SCALED, Kind.FLEET_STOPPED]
        await hand.store.record([Event(kind=kind) for kind in kinds])
        newest = await hand.store.events(EventQuery(), limit=2)
        assert [event.kind for event in newest] == [Kind.FLEET_STOPPED, Kind.FLEET_SCALED]
        oldest = await hand.store.events(EventQuery(after=0))
        assert [event.kind for event in oldest] == kinds
        assert [event.seq for event in oldest] == sorted({event.seq for event in oldest})
        later = await hand.store.events(EventQuery(after=oldest[0].seq), limit=1)
        assert [event.kind for event in later] == [Kind.FLEET_SCALED]

    async def test_every_field_of_an_event_query_narrows(self, hand: Hand) -> None:
        start = hand.clock.now()
        await self._record(
            hand,
            Event(kind=Kind.FLEET_STARTED, actor="a", job_id="j", queue="q", worker="w"),
            Event(kind=Kind.FLEET_SCALED, actor="a", job_id="j2", queue="q"),
            Event(kind=Kind.FLEET_STOPPED, actor="b", worker="w"),
        )
        queries: list[tuple[EventQuery, str]] = [
            (EventQuery(kinds=(Kind.FLEET_STARTED, Kind.FLEET_STOPPED)), "started stopped"),
            (EventQuery(job_id="j"), "started"),
            (EventQuery(queue="q"), "started scaled"),
            (EventQuery(worker="w"), "started stopped"),
            (EventQuery(actor="b"), "stopped"),
            (EventQuery(since=start + 5), "scaled stopped"),
            (EventQuery(actor="a", worker="w"), "started"),
            (EventQuery(after=0, actor="a", since=start + 5), "scaled"),
        ]
        for query, expected in queries:
            found = await hand.store.events(query)
            told = {event.kind.removeprefix("fleet_") for event in found}
            assert told == set(expected.split()), query

    @pytest.mark.parametrize("limit", [0, MAX_PAGE + 1])
    async def test_a_number_of_events_without_meaning_is_refused(
        self, hand: Hand, limit: int
    ) -> None:
        with pytest.raises(InvalidQuery):
            await hand.store.events(EventQuery(), limit=limit)

    async def test_a_dead_letter_is_written_down(self, hand: Hand) -> None:
        job_id = await hand.put(queue="video")
        await hand.finish(job_id, Outcome.FAILED)
        [event] = await hand.events(Kind.JOB_DEAD)
        assert (event.job_id, event.queue, event.worker) == (job_id, "video", "W1")
        assert event.details["code"] == "task_error"

    async def test_a_session_is_written_down_when_it_comes_and_goes(self, hand: Hand) -> None:
        await hand.beat("w1")
        await hand.beat("w2")
        await hand.store.reap(sessions=["w2"], actor="fleet:f1")
        kinds = [(event.kind, event.worker) for event in await hand.events()]
        assert kinds == [
            (Kind.WORKER_JOINED, "W1"),
            (Kind.WORKER_JOINED, "W2"),
            (Kind.WORKER_DIED, "W2"),
        ]


class Itself(StoreSuite):
    """What a store says about itself."""

    async def test_a_store_says_what_it_can_lose(self, store: Store) -> None:
        assert store.info.engine
        assert store.info.version
        assert store.info.can_lose
        assert "://" in store.info.url
        assert store.info == store.info

    async def test_a_store_has_an_id_that_its_handles_share(
        self, store: Store, second: Store
    ) -> None:
        assert re.fullmatch(r"[0-9a-f]{32}", store.info.id)
        assert second.info.id == store.info.id

    async def test_another_store_has_another_id(self, store: Store, clock: FakeClock) -> None:
        async with self.open_store(clock) as another:
            assert another.info.id != store.info.id

    async def test_only_a_store_that_keeps_nothing_says_so(self, store: Store) -> None:
        assert (store.info.durability == "none") == (not self.capabilities.durable)

    async def test_a_store_says_whether_it_joins_transactions(self, store: Store) -> None:
        assert (store.transactions is not None) == self.capabilities.transactions

    async def test_an_open_store_has_the_newest_layout(self, store: Store) -> None:
        status = await store.migrate(dry_run=True)
        assert status.current == status.latest
        assert status.pending == ()
        assert (await store.migrate()).current == status.latest

    async def test_a_closed_store_says_that_it_is_closed(self, store: Store, hand: Hand) -> None:
        async with self.open_store(hand.clock) as another:
            pass
        with pytest.raises(NotOpen):
            await another.get(["x"])
        with pytest.raises(NotOpen):
            await another.submit([hand.spec()])
        await store.counts()
