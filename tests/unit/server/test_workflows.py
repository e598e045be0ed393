from typing import Any

import pytest

from stoker.core.job import Outcome
from stoker.core.lifecycle import State
from stoker.testing.conformance.hand import BOOM, Hand
from tests.unit.server.asking import Asking

ONE = {"name": "one", "task": "add", "payload": {"a": 1}, "queue": "default"}
TWO = {"name": "two", "task": "add", "payload": {"a": 2}, "queue": "default"}
SUM = {
    "name": "sum",
    "task": "total",
    "payload": {"numbers": [{"$output": "one"}, {"$output": "two"}]},
}
LAST = {"name": "last", "task": "shout", "payload": {"text": "x"}, "after": ["sum"]}
FLOW: dict[str, Any] = {"name": "flow", "jobs": [LAST, SUM, ONE, TWO]}


async def test_a_workflow_is_submitted_in_one_go_and_answered_with_jobs_and_edges(
    ask: Asking, hand: Hand
) -> None:
    answer = await ask.post("/workflows", FLOW)
    flow = answer.ok(201)
    ids = {job["node"]: job["id"] for job in flow["jobs"]}
    assert [job["node"] for job in flow["jobs"]] == ["one", "two", "sum", "last"]
    edges = {(edge["from"], edge["to"]) for edge in flow["edges"]}
    assert edges == {
        (ids["one"], ids["sum"]),
        (ids["two"], ids["sum"]),
        (ids["sum"], ids["last"]),
    }
    assert (flow["name"], flow["state"], flow["total"]) == ("flow", "running", 4)
    assert flow["is_complete"] is True
    assert answer.headers["location"] == f"/api/v1/workflows/{flow['id']}"
    total = (await hand.job(ids["sum"])).to_dict()
    outputs = [{"$output": ids["one"]}, {"$output": ids["two"]}]
    assert total["payload"] == {"numbers": outputs}
    assert total["state"] == "blocked"


async def test_a_workflow_is_found_by_id_and_in_the_list_page_by_page(ask: Asking) -> None:
    made = [(await ask.post("/workflows", FLOW)).ok(201) for _ in range(3)]
    assert (await ask.get(f"/workflows/{made[0]['id']}")).ok() == made[0]
    first = (await ask.get("/workflows", limit=2)).ok()
    second = (await ask.get("/workflows", limit=2, cursor=first["next_cursor"])).ok()
    listed = [flow["id"] for flow in first["workflows"] + second["workflows"]]
    assert listed == [flow["id"] for flow in made[::-1]]
    assert second["next_cursor"] is None
    (await ask.get("/workflows/none")).refused(404, "workflow_not_found")


async def test_of_a_big_workflow_as_many_jobs_are_shown_as_were_asked_for(ask: Asking) -> None:
    nodes = [{"name": f"n{number}", "task": "add", "payload": {"a": 1}} for number in range(30)]
    flow = (await ask.post("/workflows", {"name": "big", "jobs": nodes})).ok(201)
    part = (await ask.get(f"/workflows/{flow['id']}", limit=10)).ok()
    assert (len(part["jobs"]), part["total"], part["is_complete"]) == (10, 30, False)


async def test_the_graph_has_what_one_draws_and_nothing_that_jobs_carry(
    ask: Asking, hand: Hand
) -> None:
    flow = (await ask.post("/workflows", FLOW)).ok(201)
    whole = {job["node"]: job for job in flow["jobs"]}
    await hand.finish(whole["one"]["id"])
    await hand.finish(whole["two"]["id"], Outcome.FAILED, retry_in=60.0, error=BOOM)
    graph = (await ask.get(f"/workflows/{flow['id']}/graph")).ok()
    nodes = {node["node"]: node for node in graph["nodes"]}
    assert [node["node"] for node in graph["nodes"]] == ["one", "two", "sum", "last"]
    assert {name: node["state"] for name, node in nodes.items()} == {
        "one": "completed",
        "two": "retry_queued",
        "sum": "blocked",
        "last": "blocked",
    }
    assert [nodes[name]["cause"] for name in ("one", "two")] == [None, "ValueError"]
    assert [nodes[name]["waiting_for"] for name in ("sum", "last")] == [1, 1]
    assert sorted(graph["edges"], key=str) == sorted(flow["edges"], key=str)
    assert graph["next_cursor"] is None
    assert not {"payload", "result", "attempts", "logs"} & set(nodes["one"])
    head = {key: value for key, value in graph.items() if key not in {"nodes", "edges"}}
    again = (await ask.get(f"/workflows/{flow['id']}")).ok()
    assert head == {key: again[key] for key in head if key != "next_cursor"} | {"next_cursor": None}
    (await ask.get("/workflows/none/graph")).refused(404, "workflow_not_found")


async def test_the_pages_of_a_graph_together_are_the_whole(ask: Asking) -> None:
    nodes = [
        {"name": f"n{number}", "task": "add", "payload": {"a": 1}, "after": after}
        for number, after in enumerate([[], *([f"n{number}"] for number in range(29))])
    ]
    flow = (await ask.post("/workflows", {"name": "chain", "jobs": nodes})).ok(201)
    shown: list[Any] = []
    edges: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await ask.get(f"/workflows/{flow['id']}/graph", limit=7, **cursor)).ok()
        assert (len(page["nodes"]) <= 7, page["total"]) == (True, 30)
        shown, edges = page["nodes"] + shown, page["edges"] + edges
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert [node["id"] for node in shown] == [job["id"] for job in flow["jobs"]]
    assert sorted(edges, key=str) == sorted(flow["edges"], key=str)
    refused = await ask.get(f"/workflows/{flow['id']}/graph", cursor="nonsense")
    refused.refused(422, "invalid_query")
    (await ask.get(f"/workflows/{flow['id']}/graph", limit=1_001)).refused(422, "invalid_query")


def with_nodes(*nodes: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"name": "flow", "jobs": list(nodes)} | changes


@pytest.mark.parametrize(
    ("body", "refusal", "said"),
    [
        (with_nodes(), (422, "invalid_workflow"), "no job"),
        (with_nodes(ONE, ONE), (422, "invalid_workflow"), "named 'one'"),
        (with_nodes(LAST), (422, "invalid_workflow"), "'sum'"),
        (with_nodes(SUM, ONE), (422, "invalid_workflow"), "'two'"),
        (
            with_nodes({**ONE, "after": ["two"]}, {**TWO, "after": ["one"]}),
            (422, "invalid_workflow"),
            "cycle: one -> two -> one",
        ),
        (with_nodes(ONE, on_parent_failure="panic"), (422, "invalid_workflow"), "panic"),
        (with_nodes({**ONE, "on_parent_failure": "x"}), (422, "invalid_workflow"), "'x'"),
        (with_nodes(ONE, {**TWO, "task": "ad"}), (400, "unknown_task"), "node 'two'"),
        (with_nodes({**ONE, "payload": {"a": "x"}}), (422, "invalid_arguments"), "node 'one'"),
        (with_nodes({**ONE, "priority": "big"}), (422, "invalid_option"), "node 'one'"),
        (with_nodes({**ONE, "name": ""}), (422, "invalid_option"), "node name"),
        (with_nodes({"task": "add"}), (422, "invalid_option"), "`name`"),
        (with_nodes(ONE, name="a b"), (422, "invalid_option"), "workflow name"),
        (with_nodes({**ONE, "id": "x"}), (422, "invalid_option"), "`id`"),
        (
            with_nodes({**ONE, "unique_key": "k"}, {**TWO, "unique_key": "k"}),
            (409, "duplicate_job"),
            "unique key 'k'",
        ),
    ],
)
async def test_a_workflow_with_one_wrong_job_submits_nothing(
    ask: Asking, hand: Hand, body: dict[str, Any], refusal: tuple[int, str], said: str
) -> None:
    error = (await ask.post("/workflows", body)).refused(*refusal)
    assert said in error["message"]
    assert await hand.all_jobs() == []


async def test_a_unique_key_that_a_live_job_holds_refuses_the_workflow(
    ask: Asking, hand: Hand
) -> None:
    keyed = {"task": "add", "payload": {"a": 1}, "unique_key": "k"}
    held = (await ask.post("/jobs", keyed)).ok(201)
    error = (await ask.post("/workflows", with_nodes({"name": "one"} | keyed))).refused(
        409, "duplicate_job"
    )
    assert held["id"] in error["message"]
    assert len(await hand.all_jobs()) == 1


async def test_cancelling_a_workflow_calls_off_what_has_not_ended(ask: Asking, hand: Hand) -> None:
    flow = (await ask.post("/workflows", FLOW)).ok(201)
    ids = {job["node"]: job["id"] for job in flow["jobs"]}
    await hand.finish(ids["one"])
    answer = (await ask.post(f"/workflows/{flow['id']}/cancel", {"reason": "enough"})).ok()
    assert answer["id"] == flow["id"]
    assert {line["answer"] for line in answer["answers"]} == {"cancelled"}
    after = (await ask.get(f"/workflows/{flow['id']}")).ok()
    assert (after["state"], after["counts"]["cancelled"]) == ("cancelled", 3)
    (await ask.post("/workflows/none/cancel")).refused(404, "workflow_not_found")


async def test_retrying_a_workflow_runs_what_did_not_complete(ask: Asking, hand: Hand) -> None:
    flow = (await ask.post("/workflows", FLOW)).ok(201)
    ids = {job["node"]: job["id"] for job in flow["jobs"]}
    await hand.finish(ids["one"])
    await hand.finish(ids["two"], Outcome.FAILED, retry_in=None)
    assert (await ask.get(f"/workflows/{flow['id']}")).ok()["state"] == "failed"
    (await ask.post(f"/workflows/{flow['id']}/retry")).ok()
    names = ("one", "two", "sum", "last")
    expected = [State.COMPLETED, State.QUEUED, State.BLOCKED, State.BLOCKED]
    assert await hand.states([ids[name] for name in names]) == expected


async def test_retrying_from_a_node_runs_it_and_what_is_downstream(ask: Asking, hand: Hand) -> None:
    flow = (await ask.post("/workflows", FLOW)).ok(201)
    ids = {job["node"]: job["id"] for job in flow["jobs"]}
    for name in ("one", "two", "sum", "last"):
        await hand.finish(ids[name], result=b"1")
    path = f"/workflows/{flow['id']}/retry"
    (await ask.post(path, {"from": "sum"})).ok()
    names = ("one", "two", "sum", "last")
    expected = [State.COMPLETED, State.COMPLETED, State.QUEUED, State.BLOCKED]
    assert await hand.states([ids[name] for name in names]) == expected
    (await ask.post(path, {"from": "nobody"})).refused(404, "workflow_not_found")
    (await ask.post("/workflows/none/retry")).refused(404, "workflow_not_found")
