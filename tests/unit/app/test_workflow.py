from collections.abc import AsyncIterator
from typing import Any

import pytest

from stoker.app.stoker import Stoker
from stoker.core.clock import SystemClock
from stoker.core.errors import DuplicateJob, InvalidOption, InvalidWorkflow, WorkflowNotFound
from stoker.core.job import Leased, Outcome, SessionSpec, Settlement
from stoker.core.lifecycle import State
from stoker.core.store import Store
from stoker.settings import Settings


@pytest.fixture
async def app() -> AsyncIterator[Stoker]:
    async with Stoker(settings=Settings(store="memory://")) as made:
        yield made


def add(a: int, b: int = 0) -> int:
    return a + b


def total(numbers: list[int]) -> int:
    return sum(numbers)


async def lease_all(store: Store) -> list[Leased]:
    await store.beat(SessionSpec(id="s", name="w"), [], ttl=30)
    nonce = SystemClock().new_nonce()
    return (await store.exchange("s", [], queues={"default": 99}, want=99, nonce=nonce)).leased


async def end(store: Store, leased: Leased, outcome: Outcome, result: bytes | None) -> None:
    ended = Settlement(
        id=leased.id, epoch=leased.epoch, nonce=leased.nonce, outcome=outcome, result=result
    )
    await store.exchange("s", [ended], queues={}, want=0, nonce=f"end-{leased.id}")


async def test_an_output_makes_the_child_wait_and_brings_the_parents_result(app: Stoker) -> None:
    adding, adding_up = app.task(add), app.task(total)
    flow = app.workflow("sum")
    one, two = flow.add(adding.call(1)), flow.add(adding.call(2, b=3))
    last = flow.add(adding_up.call([one.output, two.output]))
    run = await flow.asubmit()

    async def play(store: Store) -> None:
        leased = await lease_all(store)
        assert {job.id for job in leased} == {one.id, two.id}
        for number, job in enumerate(leased):
            await end(store, job, Outcome.COMPLETED, b"%d" % (number + 10))
        [child] = await lease_all(store)
        assert child.id == last.id
        parents = dict(child.parents or {})
        args, kwargs = adding_up.task.arguments(child.payload, lambda i: int(parents[i]))
        assert (args, kwargs) == ((), {"numbers": [10, 11]})
        await end(store, child, Outcome.COMPLETED, b"21")

    await app.arun(play)
    info = await run.await_end(timeout=5)
    assert (info.state, info.total) == ("completed", 3)
    assert await run.jobs["total"].aresult(timeout=5) == 21


async def test_what_depends_on_a_failed_job_is_cancelled_unless_it_goes_on(app: Stoker) -> None:
    adding = app.task(add)
    flow = app.workflow("risky")
    first = flow.add(adding.call(1), name="first")
    flow.add(adding.call(2), after=[first], name="strict")
    flow.add(adding.call(3), after=[first], name="lenient", on_parent_failure="run")
    run = await flow.asubmit()

    async def play(store: Store) -> None:
        [leased] = await lease_all(store)
        await end(store, leased, Outcome.FAILED, None)

    await app.arun(play)
    assert (await run.jobs["strict"].arecord()).state is State.CANCELLED
    assert (await run.jobs["lenient"].arecord()).state is State.QUEUED


async def test_a_workflow_can_be_retried_from_one_node(app: Stoker) -> None:
    adding = app.task(add)
    flow = app.workflow("again")
    nodes = flow.chain(adding.call(1), adding.call(2), adding.call(3))
    run = await flow.asubmit()

    async def play(store: Store) -> None:
        for _ in nodes:
            [leased] = await lease_all(store)
            await end(store, leased, Outcome.COMPLETED, b"1")

    await app.arun(play)
    answers = await run.aretry(nodes[1].name)
    assert [(a.id, a.answer) for a in answers] == [(nodes[1].id, "requeued")]
    states = [(await run.jobs[node.name].arecord()).state for node in nodes]
    assert states == [State.COMPLETED, State.QUEUED, State.BLOCKED]


async def test_cancelling_a_workflow_ends_every_waiting_job(app: Stoker) -> None:
    flow = app.workflow("never")
    flow.chain(app.task(add).call(1), app.task(add).call(2))
    run = await flow.asubmit()
    await run.acancel("changed our mind")
    assert (await run.ainfo()).state == "cancelled"


async def test_wrong_graphs_are_refused(app: Stoker) -> None:
    adding = app.task(add)
    flow, other = app.workflow("a"), app.workflow("b")
    foreign = other.add(adding.call(1))
    with pytest.raises(InvalidWorkflow, match="no node of this workflow"):
        flow.add(adding.call(2), after=[foreign])
    with pytest.raises(InvalidWorkflow, match="no node of this workflow"):
        flow.add(adding.call(foreign.output))
    with pytest.raises(InvalidWorkflow, match="has no job"):
        await flow.asubmit()
    flow.add(adding.call(1), name="x")
    with pytest.raises(InvalidWorkflow, match="named 'x' already"):
        flow.add(adding.call(1), name="x")
    wrong: Any = "ignore"
    with pytest.raises(InvalidWorkflow, match="expected 'cancel' or 'run'"):
        app.workflow("c", on_parent_failure=wrong)
    with pytest.raises(InvalidOption):
        app.workflow("with space")


async def test_an_unknown_workflow_is_not_found(app: Stoker) -> None:
    with pytest.raises(WorkflowNotFound):
        await app.get_workflow("nobody").ainfo()


async def test_a_workflow_refused_for_one_job_says_why(app: Stoker) -> None:
    adding = app.task(add)
    await adding.options(unique_key="k").asubmit(1)
    flow = app.workflow("twice")
    flow.add(adding.call(1))
    flow.add(adding.options(unique_key="k").call(2))
    with pytest.raises(DuplicateJob, match="unique key 'k'"):
        await flow.asubmit()
    assert len(await app.afind()) == 1
