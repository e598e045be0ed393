"""The promises of `Store.beat`, `Store.sessions` and `Store.set_session`."""

from datetime import timedelta

import pytest

from stoker.core.events import Kind
from stoker.core.job import BeatReply, Command, HeldJob, LogLine, Outcome, SessionState, Settled
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.testing.conformance.hand import TTL, Hand, held_job, session_spec
from stoker.testing.conformance.settling import line
from stoker.testing.conformance.suite import StoreSuite


class Living(StoreSuite):
    """How sessions come, live and go."""

    async def test_the_first_beat_creates_the_session(self, hand: Hand) -> None:
        reply = await hand.beat(
            "w1",
            host="mars",
            pid=4711,
            kind="python",
            version="1.2.3",
            queues=("default", "video"),
            tasks=("work", "mail"),
            concurrency=8,
        )
        assert reply == BeatReply(alive=True)
        [session] = await hand.store.sessions()
        assert (session.id, session.name, session.state) == ("w1", "W1", SessionState.ALIVE)
        assert (session.host, session.pid, session.version) == ("mars", 4711, "1.2.3")
        assert (session.queues, session.tasks) == (("default", "video"), ("work", "mail"))
        assert (session.concurrency, session.busy, session.command) == (8, 0, None)
        assert session.seen_at == session.started_at
        assert session.expires_at == session.seen_at + timedelta(seconds=TTL)

    async def test_a_beat_renews_the_session(self, hand: Hand) -> None:
        await hand.beat("w1", concurrency=1)
        [first] = await hand.store.sessions()
        hand.clock.advance(10)
        await hand.beat("w1", ttl=60.0, concurrency=5)
        [now] = await hand.store.sessions()
        assert now.started_at == first.started_at
        assert now.seen_at == first.seen_at + timedelta(seconds=10)
        assert now.expires_at == now.seen_at + timedelta(seconds=60)
        assert now.concurrency == 5

    async def test_what_a_session_tells_of_itself_is_kept_as_it_told_it_last(
        self, hand: Hand
    ) -> None:
        await hand.beat("w1")
        told = {"kinds": [{"name": "Ä", "min": 1, "share": 0.5, "on": True}], "why": None}
        await hand.beat("f1", kind="fleet", concurrency=0, details=told)
        found = {session.id: session for session in await hand.store.sessions()}
        assert found["w1"].details == {}
        assert (found["f1"].kind, found["f1"].details) == ("fleet", told)
        await hand.beat("f1", kind="fleet", concurrency=0, details={"kinds": []})
        found = {session.id: session for session in await hand.store.sessions()}
        assert found["f1"].details == {"kinds": []}

    async def test_a_session_that_is_late_but_not_declared_dead_renews(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        hand.clock.advance(TTL * 100)
        assert await hand.beat("w1", started=[lease]) == BeatReply(alive=True)
        assert (await hand.store.reap()).sessions == ()
        assert await hand.settle(lease) is Settled.OK

    async def test_a_dead_session_never_comes_back(self, hand: Hand) -> None:
        await hand.beat("w1")
        await hand.store.reap(sessions=["w1"])
        assert not (await hand.beat("w1")).alive
        hand.clock.advance(1_000)
        assert not (await hand.beat("w1")).alive
        assert await hand.store.sessions() == []

    async def test_sessions_are_listed_newest_first(self, hand: Hand) -> None:
        for name in ("w2", "w1", "w3"):
            await hand.beat(name)
            hand.clock.advance(1)
        assert [session.id for session in await hand.store.sessions()] == ["w3", "w1", "w2"]

    async def test_two_sessions_may_have_one_name(self, hand: Hand) -> None:
        await hand.beat("w1", name="same")
        await hand.beat("w2", name="same")
        assert {session.id for session in await hand.store.sessions()} == {"w1", "w2"}

    async def test_ended_sessions_are_listed_for_a_day_when_asked_for(self, hand: Hand) -> None:
        await hand.beat("w1")
        await hand.beat("w2")
        await hand.beat("w3", ttl=1e7)
        await hand.beat("w1", state=SessionState.LEFT)
        await hand.store.reap(sessions=["w2"])
        assert [session.id for session in await hand.store.sessions()] == ["w3"]
        ended = {s.id: s.state for s in await hand.store.sessions(ended=True)}
        assert ended == {
            "w1": SessionState.LEFT,
            "w2": SessionState.DEAD,
            "w3": SessionState.ALIVE,
        }
        hand.clock.advance(86_401)
        await hand.store.reap()
        assert [session.id for session in await hand.store.sessions(ended=True)] == ["w3"]

    async def test_busy_counts_the_jobs_that_a_session_holds(self, hand: Hand) -> None:
        leases = [await hand.take(await hand.put()) for _ in range(3)]
        await hand.beat("w2")
        await hand.settle(leases[0])
        busy = {session.id: session.busy for session in await hand.store.sessions()}
        assert busy == {"w1": 2, "w2": 0}

    async def test_a_session_that_drains_is_shown_and_written_down_once(self, hand: Hand) -> None:
        await hand.beat("w1")
        for _ in range(3):
            await hand.beat("w1", state=SessionState.DRAINING)
        [session] = await hand.store.sessions()
        assert session.state is SessionState.DRAINING
        events = await hand.events(Kind.WORKER_JOINED, Kind.WORKER_DRAINING)
        assert [(event.kind, event.worker) for event in events] == [
            (Kind.WORKER_JOINED, "W1"),
            (Kind.WORKER_DRAINING, "W1"),
        ]

    async def test_a_draining_session_settles_and_reports(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        await hand.beat("w1", started=[lease], state=SessionState.DRAINING)
        assert await hand.state(lease.id) is State.RUNNING
        assert await hand.settle(lease) is Settled.OK


class Leaving(StoreSuite):
    """How a session says goodbye."""

    async def test_what_a_leaving_session_holds_is_taken_back_as_lost(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        await hand.beat("w1", started=[lease], state=SessionState.LEFT)
        job = await hand.job(lease.id)
        assert (job.state, job.lost, job.attempt) == (State.QUEUED, 1, 1)
        assert [attempt.outcome for attempt in job.attempts] == ["lost"]
        assert await hand.store.sessions() == []

    async def test_a_session_that_left_may_say_so_again(self, hand: Hand) -> None:
        await hand.beat("w1")
        for _ in range(2):
            await hand.beat("w1", state=SessionState.LEFT)
        [session] = await hand.store.sessions(ended=True)
        assert session.state is SessionState.LEFT
        assert len(await hand.events(Kind.WORKER_LEFT)) == 1

    async def test_nobody_declares_a_session_dead_that_left(self, hand: Hand) -> None:
        await hand.beat("w1")
        await hand.beat("w1", state=SessionState.LEFT)
        hand.clock.advance(TTL * 2)
        assert (await hand.store.reap(sessions=["w1"])).sessions == ()
        assert await hand.events(Kind.WORKER_DIED) == []


class Reports(StoreSuite):
    """What a beat tells about the jobs that a session holds."""

    async def test_a_held_job_that_began_is_running(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        hand.clock.advance(5)
        await hand.store.beat(session_spec("w1"), [held_job(lease, ran_for=2.0)], ttl=TTL)
        job = await hand.job(lease.id)
        assert job.state is State.RUNNING
        assert job.started_at is not None
        assert job.started_at.timestamp() == pytest.approx(hand.clock.now() - 2, abs=0.001)
        assert job.attempts[0].started_at == job.started_at

    async def test_a_held_job_that_waits_in_the_worker_stays_assigned(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        await hand.beat("w1", held=[lease])
        job = await hand.job(lease.id)
        assert (job.state, job.started_at) == (State.ASSIGNED, None)

    async def test_a_running_job_keeps_the_moment_it_began(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        await hand.store.beat(session_spec("w1"), [held_job(lease, ran_for=0.0)], ttl=TTL)
        began = (await hand.job(lease.id)).started_at
        hand.clock.advance(7)
        await hand.store.beat(session_spec("w1"), [held_job(lease, ran_for=7.0)], ttl=TTL)
        assert (await hand.job(lease.id)).started_at == began

    async def test_progress_and_note_are_kept(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        told = held_job(lease, ran_for=1.0, progress=0.25, note="decode")
        await hand.store.beat(session_spec("w1"), [told], ttl=TTL)
        await hand.beat("w1", started=[lease])
        job = await hand.job(lease.id)
        assert (job.progress, job.progress_note) == (0.25, "decode")

    async def test_log_lines_are_kept_in_order(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        for lines in [(line(1), line(2)), (line(3),)]:
            await hand.store.beat(session_spec("w1"), [held_job(lease, logs=lines)], ttl=TTL)
        assert (await hand.job(lease.id)).logs == [line(1), line(2), line(3)]

    async def test_a_repeated_beat_changes_nothing_more(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        twice = LogLine(line(1).at, "the same words", 1)
        told = held_job(lease, ran_for=1.0, progress=0.5, logs=(line(1), twice, line(2)))
        first = await hand.store.beat(session_spec("w1"), [told], ttl=TTL)
        job = (await hand.job(lease.id)).to_dict()
        assert await hand.store.beat(session_spec("w1"), [told], ttl=TTL) == first
        assert (await hand.job(lease.id)).to_dict() == job
        assert len(job["logs"]) == 3

    async def test_a_job_of_another_session_is_lost(self, hand: Hand) -> None:
        mine = await hand.take(await hand.put(), session="w1")
        theirs = await hand.take(await hand.put(), session="w2")
        reply = await hand.beat("w1", held=[mine, theirs])
        assert (reply.alive, reply.lost) == (True, (theirs.id,))
        assert (await hand.job(theirs.id)).worker == "W2"

    @pytest.mark.parametrize("wrong", [{"nonce": "f" * 32}, {"epoch": 9}])
    async def test_a_report_with_a_wrong_fence_is_not_written(
        self, hand: Hand, wrong: dict[str, object]
    ) -> None:
        lease = await hand.take(await hand.put())
        before = (await hand.job(lease.id)).to_dict()
        told = held_job(lease, ran_for=1.0, progress=0.9, logs=(line(1),), **wrong)
        reply = await hand.store.beat(session_spec("w1"), [told], ttl=TTL)
        assert reply.lost == (lease.id,)
        assert (await hand.job(lease.id)).to_dict() == before

    async def test_a_job_that_was_taken_back_is_lost(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put(timeout=5.0))
        hand.clock.advance(20)
        await hand.store.reap(grace=1.0)
        assert (await hand.beat("w1", started=[lease])).lost == (lease.id,)

    async def test_an_unknown_job_is_lost(self, hand: Hand) -> None:
        told = HeldJob(id="nobody", epoch=1, nonce="0" * 32)
        reply = await hand.store.beat(session_spec("w1"), [told], ttl=TTL)
        assert (reply.alive, reply.lost) == (True, ("nobody",))

    async def test_a_held_job_that_is_called_off_is_told_until_it_ends(self, hand: Hand) -> None:
        lease, free = [await hand.take(await hand.put()) for _ in range(2)]
        await hand.store.cancel(JobQuery(ids=(lease.id,)))
        for _ in range(2):
            assert (await hand.beat("w1", held=[lease, free])).cancel == (lease.id,)
        await hand.settle(lease, Outcome.CANCELLED)
        assert (await hand.beat("w1", held=[free])).cancel == ()


class Undelivered(StoreSuite):
    """Leases whose answer never arrived."""

    async def test_a_beat_from_before_the_lease_that_arrives_late_takes_nothing_back(
        self, hand: Hand
    ) -> None:
        """A beat under way while the store stands still, behind the exchange that leased.

        Its worker has the jobs, and has run them: they must not run again.
        """
        await hand.beat("w1")
        hand.clock.advance(1)
        lease = await hand.take(await hand.put())
        hand.clock.advance(TTL)
        await hand.beat("w1")
        assert await hand.state(lease.id) is State.ASSIGNED
        await hand.settle(lease, Outcome.COMPLETED)
        assert await hand.state(lease.id) is State.COMPLETED

    async def test_a_lease_that_is_not_named_is_given_back_uncounted(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        await time_to_confirm(hand)
        await hand.beat("w1")
        job = await hand.job(lease.id)
        assert (job.state, job.attempt, job.failed, job.lost) == (State.QUEUED, 0, 0, 0)
        assert [attempt.outcome for attempt in job.attempts] == ["released"]

    async def test_a_young_lease_that_is_not_named_is_left_alone(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        for _ in range(2):
            hand.clock.advance(TTL / 4 - 1)
            await hand.beat("w1")
        assert await hand.state(lease.id) is State.ASSIGNED

    async def test_a_lease_that_is_named_stays(self, hand: Hand) -> None:
        named, unnamed = [await hand.take(await hand.put()) for _ in range(2)]
        await time_to_confirm(hand)
        await hand.beat("w1", held=[named])
        assert await hand.states([named.id, unnamed.id]) == [State.ASSIGNED, State.QUEUED]

    async def test_a_beat_leaves_the_leases_of_other_sessions_alone(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put(), session="w2")
        await time_to_confirm(hand)
        await hand.beat("w1")
        assert await hand.state(lease.id) is State.ASSIGNED

    async def test_an_undelivered_lease_that_was_called_off_is_cancelled(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        await hand.store.cancel(JobQuery(ids=(lease.id,)))
        await time_to_confirm(hand)
        await hand.beat("w1")
        assert await hand.state(lease.id) is State.CANCELLED


async def time_to_confirm(hand: Hand) -> None:
    """Let as much time pass as a lease has to be named, with a beat in between as workers have."""
    hand.clock.advance(TTL / 3)
    for session in ("w1", "w2"):
        await hand.beat(session)
    hand.clock.advance(TTL / 3)


class Commands(StoreSuite):
    """What operators ask of sessions."""

    async def test_a_command_reaches_the_session_by_its_next_beats(self, hand: Hand) -> None:
        await hand.beat("w1")
        await hand.beat("w2")
        assert await hand.store.set_session(["w1"], Command.DRAIN, actor="cli:eve") == ["w1"]
        for _ in range(2):
            assert (await hand.beat("w1")).command is Command.DRAIN
        assert (await hand.beat("w2")).command is None
        commands = {session.id: session.command for session in await hand.store.sessions()}
        assert commands == {"w1": Command.DRAIN, "w2": None}
        [event] = await hand.events(Kind.WORKER_COMMANDED)
        assert (event.actor, event.worker) == ("cli:eve", "W1")

    async def test_a_later_command_replaces_the_one_before(self, hand: Hand) -> None:
        await hand.beat("w1")
        await hand.store.set_session(["w1"], Command.DRAIN)
        await hand.store.set_session(["w1"], Command.STOP)
        assert (await hand.beat("w1")).command is Command.STOP

    async def test_only_living_sessions_are_told(self, hand: Hand) -> None:
        for name in ("w1", "w2", "w3"):
            await hand.beat(name)
        await hand.beat("w2", state=SessionState.LEFT)
        await hand.store.reap(sessions=["w3"])
        told = await hand.store.set_session(["w3", "w1", "nobody", "w2"], Command.STOP)
        assert told == ["w1"]
