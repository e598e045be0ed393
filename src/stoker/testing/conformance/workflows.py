"""Jobs that wait for jobs: a parent's outcome and its children's readiness are one (I6)."""

from typing import Any

import pytest

from stoker.core.events import Kind
from stoker.core.job import Outcome, Settled, WorkflowSpec
from stoker.core.lifecycle import TERMINAL, State
from stoker.core.records import JobQuery
from stoker.testing.conformance.hand import BOOM, Hand, settlement
from stoker.testing.conformance.suite import StoreSuite

Edges = dict[str, tuple[str, ...]]
DIAMOND: Edges = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}
CHAIN: Edges = {"a": (), "b": ("a",), "c": ("b",)}


class Flow:
    """A submitted graph, by the names of its nodes."""

    def __init__(self, hand: Hand, flow_id: str, ids: dict[str, str]) -> None:
        """Take what was submitted; use `submit`."""
        self.hand = hand
        self.id = flow_id
        self.ids = ids

    @classmethod
    async def submit(cls, hand: Hand, edges: Edges, **changes: Any) -> "Flow":
        """Submit a graph in one call; ``changes`` hold for all of its jobs."""
        flow_id = hand.clock.new_id()
        ids = {node: hand.clock.new_id() for node in edges}
        specs = [
            hand.spec(
                id=ids[node],
                node=node,
                workflow_id=flow_id,
                parents=tuple(ids[parent] for parent in parents),
                **changes,
            )
            for node, parents in edges.items()
        ]
        answers = await hand.store.submit(specs, workflow=WorkflowSpec(id=flow_id, name="flow"))
        assert all(answer.created for answer in answers), answers
        return cls(hand, flow_id, ids)

    async def end(self, node: str, outcome: Outcome = Outcome.COMPLETED, **changes: Any) -> None:
        """Lease a node and end it."""
        await self.hand.finish(self.ids[node], outcome, **changes)

    async def shown(self) -> dict[str, str]:
        """Return the state of each node."""
        return {node: str(await self.hand.state(job_id)) for node, job_id in self.ids.items()}

    async def requeue(self, *nodes: str, **how: Any) -> None:
        """Requeue nodes by name; each must be taken."""
        query = JobQuery(ids=tuple(self.ids[node] for node in nodes))
        answers = await self.hand.store.requeue(query, **how)
        assert {answer.answer for answer in answers} == {"requeued"}, answers


class Readiness(StoreSuite):
    """When children may start."""

    async def test_a_child_becomes_ready_in_the_commit_that_ends_its_last_parent(
        self, hand: Hand
    ) -> None:
        flow = await Flow.submit(hand, DIAMOND)
        assert await flow.shown() == {"a": "queued", "b": "blocked", "c": "blocked", "d": "blocked"}
        lease = await hand.take(flow.ids["a"])
        answer = await hand.exchange(settlement(lease, Outcome.COMPLETED), want=5)
        assert answer.settled == [Settled.OK]
        assert {x.id for x in answer.leased} == {flow.ids["b"], flow.ids["c"]}
        await hand.settle(answer.leased[0])
        assert await hand.state(flow.ids["d"]) is State.BLOCKED
        await hand.settle(answer.leased[1])
        assert await hand.state(flow.ids["d"]) is State.QUEUED

    async def test_waiting_for_counts_the_parents_that_have_not_ended(self, hand: Hand) -> None:
        flow = await Flow.submit(hand, DIAMOND)
        await flow.end("a")
        assert (await hand.job(flow.ids["d"])).waiting_for == 2
        await flow.end("b")
        assert (await hand.job(flow.ids["d"])).waiting_for == 1

    async def test_a_child_gets_the_results_of_its_parents(self, hand: Hand) -> None:
        flow = await Flow.submit(hand, {"a": (), "b": (), "c": ("a", "b")})
        await flow.end("a", result=b'{"n": 1}')
        await flow.end("b", result=b"[2]")
        lease = await hand.take(flow.ids["c"])
        assert dict(lease.parents or {}) == {flow.ids["a"]: b'{"n": 1}', flow.ids["b"]: b"[2]"}
        assert dict(lease.parent_names or {}) == {flow.ids["a"]: "a", flow.ids["b"]: "b"}
        assert lease.workflow_id == flow.id

    async def test_a_parent_without_a_result_gives_null(self, hand: Hand) -> None:
        parent = await hand.put()
        child = await hand.put(parents=(parent,))
        await hand.finish(parent, result=None)
        assert dict((await hand.take(child)).parents or {}) == {parent: b"null"}

    async def test_a_parent_that_did_not_complete_gives_no_result(self, hand: Hand) -> None:
        flow = await Flow.submit(hand, {"a": (), "b": (), "c": ("a", "b")}, on_parent_failure="run")
        await flow.end("a", Outcome.FAILED)
        await flow.end("b", result=b"2")
        lease = await hand.take(flow.ids["c"])
        assert dict(lease.parents or {}) == {flow.ids["b"]: b"2"}

    async def test_parents_outside_workflows_block_and_release_likewise(self, hand: Hand) -> None:
        parent = await hand.put()
        child = await hand.put(parents=(parent,))
        await hand.finish(parent, result=b"1")
        lease = await hand.take(child)
        assert (dict(lease.parents or {}), lease.workflow_id) == ({parent: b"1"}, None)

    async def test_a_child_that_is_due_later_is_scheduled_when_released(self, hand: Hand) -> None:
        parent = await hand.put()
        child = await hand.put(parents=(parent,), delay=60)
        hand.clock.advance(10)
        await hand.finish(parent)
        job = await hand.job(child)
        assert job.state is State.SCHEDULED
        assert job.run_at.timestamp() == pytest.approx(hand.clock.now() + 50, abs=0.001)

    async def test_a_child_is_as_old_as_the_moment_it_was_released(self, hand: Hand) -> None:
        parent = await hand.put(queue="parents")
        child = await hand.put(parents=(parent,))
        hand.clock.advance(10)
        plain = await hand.put()
        hand.clock.advance(10)
        await hand.finish(parent)
        order = [(await hand.lease(1))[0].id for _ in range(2)]
        assert order == [plain, child]

    async def test_a_failed_attempt_that_is_repeated_releases_nobody(self, hand: Hand) -> None:
        flow = await Flow.submit(hand, CHAIN)
        await flow.end("a", Outcome.FAILED, retry_in=1.0)
        assert await flow.shown() == {"a": "retry_queued", "b": "blocked", "c": "blocked"}
        hand.clock.advance(2)
        await hand.exchange()
        await flow.end("a")
        assert (await flow.shown())["b"] == "queued"

    async def test_settling_a_parent_twice_counts_it_once(self, hand: Hand) -> None:
        flow = await Flow.submit(hand, {"a": (), "b": (), "c": ("a", "b")})
        told = settlement(await hand.take(flow.ids["a"]), Outcome.COMPLETED)
        for _ in range(3):
            await hand.exchange(told)
        job = await hand.job(flow.ids["c"])
        assert (job.state, job.waiting_for) == (State.BLOCKED, 1)

    async def test_the_last_parents_settled_in_one_call_release_the_child_once(
        self, hand: Hand
    ) -> None:
        flow = await Flow.submit(hand, {"a": (), "b": (), "c": ("a", "b")})
        leases = await hand.lease(2)
        answer = await hand.exchange(*(settlement(x, Outcome.COMPLETED) for x in leases), want=5)
        assert [x.id for x in answer.leased] == [flow.ids["c"]]

    async def test_a_fan_in_of_many_parents_is_released_once(self, hand: Hand) -> None:
        edges: Edges = {f"p{n}": () for n in range(300)}
        flow = await Flow.submit(hand, {**edges, "end": tuple(edges)})
        while (await hand.state(flow.ids["end"])) is State.BLOCKED:
            leases = await hand.lease(70)
            assert leases, "the child waits, and no parent is left"
            await hand.exchange(*(settlement(x, Outcome.COMPLETED, result=b"1") for x in leases))
        [lease] = await hand.lease(10)
        assert (lease.id, len(lease.parents or {})) == (flow.ids["end"], 300)


class ParentFailures(StoreSuite):
    """What happens to those who depend on a job that did not complete."""

    async def test_descendants_of_a_failed_job_are_cancelled(self, hand: Hand) -> None:
        flow = await Flow.submit(hand, {**CHAIN, "free": ()})
        await flow.end("a", Outcome.FAILED, error=BOOM)
        assert await flow.shown() == {
            "a": "dead_letter",
            "b": "cancelled",
            "c": "cancelled",
            "free": "queued",
        }
        for node in "bc":
            job = await hand.job(flow.ids[node])
            assert job.error is not None
            assert (job.error.code, job.finished_at is not None) == ("parent_failed", True)

    async def test_descendants_of_a_cancelled_job_are_cancelled(self, hand: Hand) -> None:
        flow = await Flow.submit(hand, CHAIN)
        await hand.store.cancel(JobQuery(ids=(flow.ids["a"],)))
        assert set((await flow.shown()).values()) == {"cancelled"}

    async def test_descendants_of_a_job_that_obeyed_a_cancel_are_cancelled(
        self, hand: Hand
    ) -> None:
        flow = await Flow.submit(hand, CHAIN)
        lease = await hand.take(flow.ids["a"])
        await hand.store.cancel(JobQuery(ids=(flow.ids["a"],)))
        assert (await flow.shown())["b"] == "blocked"
        await hand.settle(lease, Outcome.CANCELLED)
        assert set((await flow.shown()).values()) == {"cancelled"}

    async def test_descendants_of_an_expired_job_are_cancelled(self, hand: Hand) -> None:
        parent = await hand.put(expires=5)
        child = await hand.put(parents=(parent,))
        hand.clock.advance(6)
        assert (await hand.store.reap()).buried == (parent,)
        assert await hand.state(child) is State.CANCELLED

    async def test_descendants_of_a_lost_job_are_cancelled(self, hand: Hand) -> None:
        flow = await Flow.submit(hand, CHAIN, max_lost=1)
        await hand.take(flow.ids["a"])
        await hand.store.reap(sessions=["w1"])
        assert await flow.shown() == {"a": "dead_letter", "b": "cancelled", "c": "cancelled"}

    async def test_a_child_that_wants_to_runs_after_a_failed_parent(self, hand: Hand) -> None:
        flow = await Flow.submit(hand, DIAMOND, on_parent_failure="run")
        await flow.end("a", Outcome.FAILED)
        assert await flow.shown() == {
            "a": "dead_letter",
            "b": "queued",
            "c": "queued",
            "d": "blocked",
        }

    async def test_a_child_with_one_failed_parent_does_not_wait_for_the_others(
        self, hand: Hand
    ) -> None:
        flow = await Flow.submit(hand, {"a": (), "b": (), "c": ("a", "b")})
        await flow.end("a", Outcome.FAILED)
        assert await flow.shown() == {"a": "dead_letter", "b": "queued", "c": "cancelled"}
        await flow.end("b")
        assert (await flow.shown())["c"] == "cancelled"

    async def test_a_whole_workflow_is_called_off(self, hand: Hand) -> None:
        flow = await Flow.submit(hand, DIAMOND)
        lease = await hand.take(flow.ids["a"])
        answers = await hand.store.cancel(JobQuery(workflow_id=flow.id))
        told = {answer.id: answer.answer for answer in answers}
        assert told == {
            flow.ids["a"]: "requested",
            flow.ids["b"]: "cancelled",
            flow.ids["c"]: "cancelled",
            flow.ids["d"]: "cancelled",
        }
        await hand.settle(lease, Outcome.RELEASED)
        assert set((await flow.shown()).values()) == {"cancelled"}


class Reviving(StoreSuite):
    """Requeueing inside a workflow."""

    async def test_descendants_that_fell_with_a_job_come_back_with_it(self, hand: Hand) -> None:
        flow = await Flow.submit(hand, {**CHAIN, "free": ()})
        await flow.end("free")
        await flow.end("a", Outcome.FAILED)
        await flow.requeue("a")
        assert await flow.shown() == {
            "a": "queued",
            "b": "blocked",
            "c": "blocked",
            "free": "completed",
        }
        for node in "abc":
            await flow.end(node)
        assert set((await flow.shown()).values()) == {"completed"}

    async def test_a_descendant_that_was_called_off_itself_stays_cancelled(
        self, hand: Hand
    ) -> None:
        flow = await Flow.submit(hand, {"a": (), "b": ("a",), "c": ("a",)})
        await hand.store.cancel(JobQuery(ids=(flow.ids["b"],)))
        await flow.end("a", Outcome.FAILED)
        await flow.requeue("a")
        assert await flow.shown() == {"a": "queued", "b": "cancelled", "c": "blocked"}

    async def test_completed_descendants_stay_without_downstream(self, hand: Hand) -> None:
        flow = await Flow.submit(hand, CHAIN)
        for node in "abc":
            await flow.end(node)
        await flow.requeue("a")
        assert await flow.shown() == {"a": "queued", "b": "completed", "c": "completed"}
        await flow.end("a")
        assert set((await flow.shown()).values()) == {"completed"}

    async def test_all_ended_descendants_come_back_with_downstream(self, hand: Hand) -> None:
        flow = await Flow.submit(hand, DIAMOND)
        for node in "abc":
            await flow.end(node, result=b'"old"')
        await flow.end("d", Outcome.FAILED)
        await flow.requeue("b", downstream=True)
        assert await flow.shown() == {
            "a": "completed",
            "b": "queued",
            "c": "completed",
            "d": "blocked",
        }
        assert (await hand.job(flow.ids["d"])).waiting_for == 1
        await flow.end("b", result=b'"new"')
        lease = await hand.take(flow.ids["d"])
        assert dict(lease.parents or {}) == {flow.ids["b"]: b'"new"', flow.ids["c"]: b'"old"'}

    async def test_a_whole_workflow_runs_again_in_order(self, hand: Hand) -> None:
        flow = await Flow.submit(hand, DIAMOND)
        for node in "abcd":
            await flow.end(node)
        answers = await hand.store.requeue(JobQuery(workflow_id=flow.id))
        assert sorted(answer.id for answer in answers) == sorted(flow.ids.values())
        assert await flow.shown() == {"a": "queued", "b": "blocked", "c": "blocked", "d": "blocked"}
        for node in "abcd":
            await flow.end(node)
        assert set((await flow.shown()).values()) == {"completed"}

    async def test_a_job_asked_for_by_name_lives_though_its_parent_failed(self, hand: Hand) -> None:
        flow = await Flow.submit(hand, CHAIN)
        await flow.end("a", Outcome.FAILED)
        await flow.requeue("b")
        assert await flow.shown() == {"a": "dead_letter", "b": "queued", "c": "blocked"}

    async def test_a_child_that_still_waits_waits_for_a_revived_parent_again(
        self, hand: Hand
    ) -> None:
        flow = await Flow.submit(hand, {"a": (), "b": (), "c": ("a", "b")}, on_parent_failure="run")
        await flow.end("a", Outcome.FAILED)
        assert (await hand.job(flow.ids["c"])).waiting_for == 1
        await flow.requeue("a")
        assert (await hand.job(flow.ids["c"])).waiting_for == 2
        await flow.end("a")
        assert (await flow.shown())["c"] == "blocked"
        await flow.end("b")
        assert (await flow.shown())["c"] == "queued"

    async def test_a_revived_child_falls_again_with_a_parent_that_stayed_dead(
        self, hand: Hand
    ) -> None:
        flow = await Flow.submit(hand, {"a": (), "b": (), "c": ("a", "b")})
        await flow.end("a", Outcome.FAILED)
        await flow.end("b", Outcome.FAILED)
        await flow.requeue("a")
        assert await flow.shown() == {"a": "queued", "b": "dead_letter", "c": "blocked"}
        await flow.end("a")
        assert (await flow.shown())["c"] == "cancelled"

    async def test_a_revived_job_may_fail_and_fell_its_children_again(self, hand: Hand) -> None:
        flow = await Flow.submit(hand, CHAIN)
        for _ in range(2):
            await flow.end("a", Outcome.FAILED)
            assert await flow.shown() == {"a": "dead_letter", "b": "cancelled", "c": "cancelled"}
            await flow.requeue("a")
        assert await flow.shown() == {"a": "queued", "b": "blocked", "c": "blocked"}


class Overview(StoreSuite):
    """Workflows as a whole."""

    async def test_a_workflow_shows_the_states_of_its_jobs(self, hand: Hand) -> None:
        flow = await Flow.submit(hand, CHAIN)
        hand.clock.advance(1)
        await flow.end("a")
        [info] = (await hand.store.workflows([flow.id]))[0]
        assert (info.id, info.name, info.state, info.total) == (flow.id, "flow", "running", 3)
        assert {k: v for k, v in info.counts.items() if v} == {
            State.COMPLETED: 1,
            State.QUEUED: 1,
            State.BLOCKED: 1,
        }
        assert info.finished_at is None

    @pytest.mark.parametrize(
        ("outcome", "state"),
        [
            (Outcome.COMPLETED, "completed"),
            (Outcome.FAILED, "failed"),
            (Outcome.CANCELLED, "cancelled"),
        ],
    )
    async def test_a_workflow_ends_as_the_worst_of_its_jobs(
        self, hand: Hand, outcome: Outcome, state: str
    ) -> None:
        flow = await Flow.submit(hand, {"a": (), "b": ()})
        await flow.end("a")
        hand.clock.advance(5)
        await flow.end("b", outcome)
        [info] = (await hand.store.workflows([flow.id]))[0]
        assert info.state == state
        assert info.finished_at == (await hand.job(flow.ids["b"])).finished_at

    async def test_workflows_are_paged_newest_first(self, hand: Hand) -> None:
        flows = []
        for _ in range(5):
            flows.append((await Flow.submit(hand, CHAIN)).id)
            hand.clock.advance(1)
        first, cursor = await hand.store.workflows(limit=3)
        last, end = await hand.store.workflows(cursor=cursor, limit=3)
        assert [info.id for info in (*first, *last)] == flows[::-1]
        assert (cursor is not None, end) == (True, None)

    async def test_unknown_workflows_are_left_out(self, hand: Hand) -> None:
        flow = await Flow.submit(hand, CHAIN)
        infos, cursor = await hand.store.workflows(["nobody", flow.id])
        assert ([info.id for info in infos], cursor) == ([flow.id], None)

    async def test_the_jobs_of_a_workflow_are_found_by_its_id(self, hand: Hand) -> None:
        flow = await Flow.submit(hand, DIAMOND)
        await hand.put()
        jobs = await hand.all_jobs(workflow_id=flow.id)
        assert {job.node: job.id for job in jobs} == flow.ids

    async def test_a_submitted_workflow_is_written_down(self, hand: Hand) -> None:
        spec = WorkflowSpec(id="f1", name="press")
        await hand.store.submit([hand.spec(workflow_id="f1")], workflow=spec, actor="cli:eve")
        [event] = await hand.events(Kind.WORKFLOW_SUBMITTED)
        assert event.actor == "cli:eve"

    async def test_a_job_goes_only_when_its_whole_workflow_has_ended(self, hand: Hand) -> None:
        flow = await Flow.submit(hand, CHAIN)
        await flow.end("a")
        hand.clock.advance(100)
        assert await hand.store.purge(JobQuery(workflow_id=flow.id)) == 0
        assert await hand.store.purge(JobQuery(states=(State.BLOCKED, State.QUEUED))) == 0
        await flow.end("b")
        await flow.end("c")
        hand.clock.advance(100)
        assert await hand.store.purge(JobQuery(states=tuple(TERMINAL))) == 3
        assert (await hand.store.workflows())[0] == []
