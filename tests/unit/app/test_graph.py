import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stoker.app.bodies import read_body
from stoker.app.graph import GraphBody, build_graph, edges_of, submit_graph
from stoker.app.stoker import Stoker
from stoker.core.errors import InvalidOption, InvalidWorkflow, UnknownTask
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.settings import Settings
from stoker.testing import FakeClock


@pytest.fixture
async def app(fake_clock: FakeClock) -> AsyncIterator[Stoker]:
    made = Stoker(settings=Settings(store="memory://"), clock=fake_clock)

    @made.task("add")
    def add(a: int, b: int = 0) -> int:
        return a + b

    async with made:
        yield made


def graph(*nodes: dict[str, Any], **changes: Any) -> GraphBody:
    return read_body({"name": "flow", "jobs": list(nodes)} | changes, GraphBody)


def node(name: str, *after: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "task": "add", "payload": {"a": 1}, "after": list(after)} | changes


async def test_parents_come_before_children_whatever_the_order_of_the_file(app: Stoker) -> None:
    made = await build_graph(app, graph(node("c", "b"), node("a"), node("b", "a")))
    assert [job.node for job in made.jobs] == ["a", "b", "c"]
    ids = {job.node: job.id for job in made.jobs}
    assert {job.node: job.parents for job in made.jobs} == {
        "a": (),
        "b": (ids["a"],),
        "c": (ids["b"],),
    }
    assert {job.workflow_id for job in made.jobs} == {made.workflow.id}


async def test_an_output_makes_a_parent_and_is_translated_to_its_job(app: Stoker) -> None:
    sum_ = node("sum", "a", payload={"a": {"$output": "a"}, "b": {"$output": "b"}})
    made = await build_graph(app, graph(node("a"), node("b"), sum_))
    ids = {job.node: job.id for job in made.jobs}
    assert made.jobs[-1].parents == (ids["a"], ids["b"])
    payload = json.loads(made.jobs[-1].payload)
    assert payload == {"a": {"$output": ids["a"]}, "b": {"$output": ids["b"]}}


async def test_the_policy_of_the_workflow_holds_unless_a_node_says_otherwise(app: Stoker) -> None:
    body = graph(node("a"), node("b", on_parent_failure="cancel"), on_parent_failure="run")
    made = await build_graph(app, body)
    assert [job.on_parent_failure for job in made.jobs] == ["run", "cancel"]


async def test_options_of_a_node_reach_its_job(app: Stoker) -> None:
    body = graph(node("a", priority="high", queue="q", max_retries=9, delay="1m", timeout=5))
    [job] = (await build_graph(app, body)).jobs
    assert (job.priority, job.queue, job.retry.max_retries) == ("high", "q", 9)
    assert (job.delay, job.timeout) == (60.0, 5.0)


@pytest.mark.parametrize(
    ("nodes", "error", "said"),
    [
        ([], InvalidWorkflow, "no job"),
        ([node("a"), node("a")], InvalidWorkflow, "two nodes"),
        ([node("a", "b")], InvalidWorkflow, "'b'"),
        ([node("a", "b"), node("b", "a")], InvalidWorkflow, "cycle"),
        ([node("a", "a")], InvalidWorkflow, "cycle: a -> a"),
        ([node("a"), node("b", task="ad")], UnknownTask, "node 'b': no task is named 'ad'"),
    ],
)
async def test_a_wrong_graph_is_refused_before_anything_is_submitted(
    app: Stoker, nodes: list[dict[str, Any]], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        await submit_graph(app, graph(*nodes))
    assert await app.afind(JobQuery()) == []


async def test_a_workflow_beyond_the_limit_is_refused(
    app: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.app.graph.MAX_NODES", 2)
    with pytest.raises(InvalidWorkflow, match="3 jobs; the limit is 2"):
        await build_graph(app, graph(node("a"), node("b"), node("c")))


async def test_a_key_that_is_no_key_of_a_node_is_refused() -> None:
    with pytest.raises(InvalidOption, match="afer"):
        graph(node("a", afer=["b"]))
    with pytest.raises(InvalidOption, match="did you mean 'jobs'"):
        read_body({"name": "flow", "job": []}, GraphBody)


async def test_a_submitted_graph_stands_in_the_store_with_its_edges(app: Stoker) -> None:
    made = await submit_graph(app, graph(node("a"), node("b", "a"), node("c", "a")), actor="me")
    jobs = await app.afind(JobQuery(workflow_id=made.workflow.id))
    names = {job.id: job.node for job in jobs}
    edges = {(names[parent], names[child]) for parent, child in edges_of(jobs)}
    assert edges == {("a", "b"), ("a", "c")}
    assert {job.node: job.state for job in jobs} == {
        "a": State.QUEUED,
        "b": State.BLOCKED,
        "c": State.BLOCKED,
    }


async def test_a_fan_in_of_ten_thousand_is_built_and_submitted(app: Stoker) -> None:
    names = [f"n{number}" for number in range(10_000)]
    body = graph(*(node(name) for name in names), node("last", *names))
    made = await submit_graph(app, body)
    assert len(made.jobs) == 10_001
    assert len(made.jobs[-1].parents) == 10_000
