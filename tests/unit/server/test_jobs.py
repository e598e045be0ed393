from typing import Any

import pytest

from stoker.app.stoker import Stoker
from stoker.core.errors import OutcomeUnknown, Unavailable
from stoker.core.events import Kind
from stoker.core.job import LogLine, Outcome
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.core.store import Store
from stoker.server.http import make_server_app
from stoker.settings import Bytes, LimitSettings, Settings
from stoker.testing import FakeClock
from stoker.testing.conformance.hand import Hand
from tests.unit.server.asking import Asking

JOB: dict[str, Any] = {"task": "shout", "payload": {"text": "hi"}}
OWN_ID = "01930000-0000-7000-8000-000000000001"
INTERFACE_BODY: dict[str, Any] = {
    "job_type": "send_email",
    "priority": "high",
    "payload": {
        "to": "user@example.com",
        "subject": "Hello",
        "body": "Test",
        "failure_rate": 0.8,
    },
    "max_retries": 3,
}


async def test_a_submitted_job_is_answered_whole_and_stands_in_the_store(
    ask: Asking, hand: Hand
) -> None:
    answer = await ask.post("/jobs", JOB)
    job = answer.ok(201)
    assert job == (await hand.job(job["id"])).to_dict()
    assert (job["task"], job["state"], job["payload"]) == ("shout", "queued", {"text": "hi"})
    assert answer.headers["location"] == f"/api/v1/jobs/{job['id']}"


async def test_the_body_of_the_issue_works_as_it_stands(ask: Asking) -> None:
    job = (await ask.post("/jobs", INTERFACE_BODY)).ok(201)
    assert job["task"] == "send_email"
    assert (job["priority"], job["max_retries"]) == ("high", 3)
    assert job["payload"] == INTERFACE_BODY["payload"]


async def test_every_option_of_a_body_reaches_the_job(ask: Asking, fake_clock: FakeClock) -> None:
    options = {
        "queue": "loud",
        "priority": "low",
        "retry": {"max_retries": 7, "backoff": "linear", "base": "1s", "cap": 9, "jitter": False},
        "timeout": "15m",
        "soft_timeout": 600,
        "delay": "1h30m",
        "expires": "2d",
        "unique_key": "k",
        "tenant": "acme",
        "headers": {"traceparent": "00-1"},
        "id": OWN_ID,
    }
    job = (await ask.post("/jobs", JOB | options)).ok(201)
    assert job["id"] == OWN_ID
    assert (job["queue"], job["priority"], job["state"]) == ("loud", "low", "scheduled")
    assert (job["timeout"], job["soft_timeout"], job["max_retries"]) == (900.0, 600.0, 7)
    assert (job["unique_key"], job["tenant"]) == ("k", "acme")
    expected = {"max_retries": 7, "backoff": "linear", "base": 1.0, "cap": 9.0, "jitter": False}
    assert job["retry"] == expected
    assert job["run_at"] == "2030-01-01T01:30:00Z"
    assert job["expires_at"] == "2030-01-03T00:00:00Z"


async def test_a_moment_and_the_tasks_own_options_hold_when_a_body_says_nothing(
    ask: Asking,
) -> None:
    body = {"task": "add", "payload": {"a": 1}, "run_at": "2030-01-31T09:00:00+02:00"}
    job = (await ask.post("/jobs", body)).ok(201)
    assert (job["queue"], job["max_retries"]) == ("sums", 1)
    assert job["run_at"] == "2030-01-31T07:00:00Z"


async def test_a_repeated_id_gives_the_same_job_and_status_200(ask: Asking) -> None:
    first = (await ask.post("/jobs", JOB | {"id": OWN_ID})).ok(201)
    again = (await ask.post("/jobs", {**JOB, "id": OWN_ID, "payload": {"text": "b"}})).ok(200)
    assert again == first


async def test_a_unique_key_that_is_held_gives_the_job_that_holds_it(ask: Asking) -> None:
    first = (await ask.post("/jobs", JOB | {"unique_key": "k"})).ok(201)
    again = (await ask.post("/jobs", JOB | {"unique_key": "k"})).ok(200)
    assert again["id"] == first["id"]


@pytest.mark.parametrize(
    ("change", "refusal", "said"),
    [
        ({"task": "shuot"}, (400, "unknown_task"), "did you mean 'shout'"),
        ({"task": None}, (422, "invalid_option"), "names no task"),
        ({"job_type": "add"}, (422, "invalid_option"), "give one of them"),
        ({"payload": {"txt": "hi"}}, (422, "invalid_arguments"), "txt"),
        ({"payload": []}, (422, "invalid_option"), "$.payload"),
        ({"prioritty": "high"}, (422, "invalid_option"), "did you mean 'priority'"),
        ({"priority": "urgent"}, (422, "invalid_option"), "high, medium or low"),
        ({"max_retries": -1}, (422, "invalid_option"), "0 to 10000"),
        ({"max_retries": True}, (422, "invalid_option"), "max_retries"),
        ({"delay": "soon"}, (422, "invalid_option"), "'10m'"),
        ({"delay": -1}, (422, "invalid_option"), "delay"),
        ({"timeout": 0}, (422, "invalid_option"), "more than 0"),
        ({"run_at": "2030-01-31T09:00:00"}, (422, "invalid_option"), "no time zone"),
        ({"queue": "a b"}, (422, "invalid_option"), "queue"),
        ({"unique_key": ""}, (422, "invalid_option"), "unique_key"),
        ({"tenant": "a\0b"}, (422, "invalid_option"), "tenant"),
        ({"id": "mine"}, (422, "invalid_option"), "UUID"),
        ({"retry": {"backof": "fixed"}}, (422, "invalid_option"), "retry"),
        ({"retry": {"backoff": "random"}}, (422, "invalid_option"), "fixed, linear"),
    ],
)
async def test_a_job_that_means_nothing_is_refused_with_what_was_expected(
    ask: Asking, hand: Hand, change: dict[str, Any], refusal: tuple[int, str], said: str
) -> None:
    error = (await ask.post("/jobs", JOB | change)).refused(*refusal)
    assert said in error["message"]
    assert await hand.all_jobs() == []


async def test_a_task_that_only_a_worker_announced_is_accepted(
    ask: Asking, hand: Hand, fake_clock: FakeClock
) -> None:
    (await ask.post("/jobs", {"task": "far.away"})).refused(400, "unknown_task")
    await hand.beat(tasks=("far.away",))
    fake_clock.advance(2)
    job = (await ask.post("/jobs", {"task": "far.away", "payload": {"any": 1}})).ok(201)
    assert job["payload"] == {"any": 1}


async def test_a_payload_over_the_limit_is_refused_with_413(fake_clock: FakeClock) -> None:
    limits = LimitSettings(payload=Bytes(100))
    settings = Settings(store="memory://", limits=limits)
    async with Stoker(settings=settings, clock=fake_clock) as app:
        app.task("shout")(lambda text: text)
        ask = Asking(make_server_app(app))
        answer = await ask.post("/jobs", {"task": "shout", "payload": {"text": "x" * 200}})
        error = answer.refused(413, "payload_too_large")
        assert error["details"]["limit"] == 100


async def test_one_bad_job_of_a_batch_harms_no_neighbour(ask: Asking, hand: Hand) -> None:
    bodies = [
        JOB,
        {"task": "nobody"},
        17,
        JOB | {"unique_key": "k"},
        JOB | {"unique_key": "k"},
        JOB | {"payload": {"text": 1}},
    ]
    items = (await ask.post("/jobs/batch", {"jobs": bodies})).ok(201)["jobs"]
    assert [item["created"] for item in items] == [True, False, False, True, False, False]
    codes = [item.get("error", {}).get("code") for item in items]
    assert codes == [None, "unknown_task", "invalid_option", None, None, "invalid_arguments"]
    assert items[4]["job"]["id"] == items[3]["job"]["id"]
    assert "place 2" in items[2]["error"]["message"]
    assert {job.id for job in await hand.all_jobs()} == {
        items[0]["job"]["id"],
        items[3]["job"]["id"],
    }


async def test_a_batch_of_nothing_or_of_too_much_is_refused(fake_clock: FakeClock) -> None:
    settings = Settings(store="memory://", limits=LimitSettings(batch=2))
    async with Stoker(settings=settings, clock=fake_clock) as app:
        app.task("shout")(lambda text: text)
        ask = Asking(make_server_app(app))
        (await ask.post("/jobs/batch", {"jobs": []})).refused(422, "invalid_option")
        error = (await ask.post("/jobs/batch", {"jobs": [JOB] * 3})).refused(422, "invalid_option")
        assert "the limit is 2" in error["message"]
        assert (await ask.get("/jobs")).ok()["jobs"] == []


async def test_a_big_batch_is_answered_in_the_order_of_the_request(ask: Asking) -> None:
    bodies = [{"task": "add", "payload": {"a": number}} for number in range(1_200)]
    items = (await ask.post("/jobs/batch", {"jobs": bodies})).ok(201)["jobs"]
    assert [item["job"]["payload"]["a"] for item in items] == list(range(1_200))


async def test_jobs_are_listed_by_filters_page_by_page(
    ask: Asking, hand: Hand, fake_clock: FakeClock
) -> None:
    ids = []
    for number in range(5):
        fake_clock.advance(60)
        queue = "odd" if number % 2 else "even"
        ids.append(await hand.put(queue=queue, tenant="acme" if number == 4 else None))
    await hand.finish(ids[0], Outcome.FAILED, retry_in=None)

    async def found(**query: Any) -> list[str]:
        return [job["id"] for job in (await ask.get("/jobs", **query)).ok()["jobs"]]

    assert await found() == ids[::-1]
    assert await found(queue="odd") == [ids[3], ids[1]]
    assert await found(queue=["odd", "even"], state="queued") == [ids[4], ids[3], ids[2], ids[1]]
    assert await found(state=["dead_letter", "running"]) == [ids[0]]
    assert await found(tenant="acme") == [ids[4]]
    assert await found(error="BOOM") == [ids[0]]
    assert await found(task="nothing") == []
    assert await found(since="61s") == [ids[4], ids[3]]
    assert await found(until="2030-01-01T00:02:00+00:00") == [ids[0]]
    assert await found(since="2030-01-01T00:05:00 00:00") == [ids[4]]
    first = (await ask.get("/jobs", limit=2)).ok()
    second = (await ask.get("/jobs", limit=2, cursor=first["next_cursor"])).ok()
    assert [job["id"] for job in second["jobs"]] == [ids[2], ids[1]]


@pytest.mark.parametrize(
    "query",
    [
        {"state": "sleeping"},
        {"limit": 0},
        {"limit": 1_001},
        {"limit": "many"},
        {"cursor": "made up"},
        {"since": "yesterday"},
        {"since": "2030-01-31T09:00:00"},
        {"stat": "queued"},
    ],
)
async def test_a_filter_that_means_nothing_is_refused(ask: Asking, query: dict[str, Any]) -> None:
    (await ask.get("/jobs", **query)).refused(422, "invalid_query")


async def test_a_job_is_shown_with_attempts_and_log_lines(ask: Asking, hand: Hand) -> None:
    job_id = await hand.put()
    lease = await hand.take(job_id)
    line = LogLine(at=(await hand.job(job_id)).submitted_at, message="working", attempt=1)
    await hand.settle(lease, Outcome.COMPLETED, result=b'{"n":1}', logs=(line,))
    job = (await ask.get(f"/jobs/{job_id}")).ok()
    assert (job["state"], job["result"]) == ("completed", {"n": 1})
    assert [log["message"] for log in job["logs"]] == ["working"]
    assert [(a["outcome"], a["worker"]) for a in job["attempts"]] == [("completed", "W1")]


@pytest.mark.parametrize("path", ["", "/explain", "/events"])
async def test_an_unknown_id_is_not_found(ask: Asking, path: str) -> None:
    error = (await ask.get(f"/jobs/nothing{path}")).refused(404, "job_not_found")
    assert error["details"] == {"id": "nothing"}


@pytest.mark.parametrize("verb", ["cancel", "retry"])
async def test_an_unknown_id_can_be_neither_cancelled_nor_retried(ask: Asking, verb: str) -> None:
    (await ask.post(f"/jobs/nothing/{verb}")).refused(404, "job_not_found")
    body = {"payload": {"text": "x"}} if verb == "retry" else {"reason": "x"}
    (await ask.post(f"/jobs/nothing/{verb}", body)).refused(404, "job_not_found")


async def test_ended_and_waiting_jobs_can_be_deleted(ask: Asking, hand: Hand) -> None:
    ended, waiting = await hand.put_many(2)
    await hand.finish(ended)
    assert (await ask.delete(f"/jobs/{ended}")).ok()["state"] == "completed"
    assert (await ask.delete(f"/jobs/{waiting}")).ok()["state"] == "queued"
    (await ask.delete(f"/jobs/{waiting}")).refused(404, "job_not_found")
    assert await hand.all_jobs() == []


async def test_a_running_job_is_not_deleted_but_the_answer_says_how(
    ask: Asking, hand: Hand
) -> None:
    job_id = await hand.put()
    await hand.reach(job_id, State.RUNNING)
    error = (await ask.delete(f"/jobs/{job_id}")).refused(409, "refused")
    assert f"POST /api/v1/jobs/{job_id}/cancel" in error["message"]
    assert await hand.state(job_id) is State.RUNNING


async def test_a_job_of_a_living_workflow_is_not_deleted(ask: Asking) -> None:
    nodes = [{"name": "one", **JOB}, {"name": "two", **JOB, "after": ["one"]}]
    flow = (await ask.post("/workflows", {"name": "flow", "jobs": nodes})).ok(201)
    error = (await ask.delete(f"/jobs/{flow['jobs'][0]['id']}")).refused(409, "refused")
    assert flow["id"] in error["message"]


async def test_a_waiting_job_is_cancelled_at_once_and_the_trail_says_by_whom(
    ask: Asking, hand: Hand
) -> None:
    job_id = await hand.put()
    answer = (await ask.post(f"/jobs/{job_id}/cancel", {"reason": "no need"})).ok()
    assert (answer["id"], answer["answer"]) == (job_id, "cancelled")
    assert answer["job"]["state"] == "cancelled"
    [event] = await hand.events(Kind.JOB_CANCELLED)
    assert event.actor == "api:10.1.2.3"


async def test_cancelling_a_running_job_is_a_request(ask: Asking, hand: Hand) -> None:
    job_id = await hand.put()
    await hand.reach(job_id, State.RUNNING)
    answer = (await ask.post(f"/jobs/{job_id}/cancel")).ok()
    assert answer["answer"] == "requested"
    assert answer["job"]["cancel_requested"] is True


async def test_cancelling_an_ended_job_is_too_late(ask: Asking, hand: Hand) -> None:
    job_id = await hand.put()
    await hand.finish(job_id)
    error = (await ask.post(f"/jobs/{job_id}/cancel", {})).refused(409, "refused")
    assert error["details"] == {"id": job_id, "state": "completed"}


async def test_an_ended_job_is_retried_with_its_old_or_a_new_payload(
    ask: Asking, hand: Hand
) -> None:
    job_id = (await ask.post("/jobs", JOB)).ok(201)["id"]
    await hand.finish(job_id, Outcome.FAILED, retry_in=None)
    answer = (await ask.post(f"/jobs/{job_id}/retry")).ok()
    assert (answer["answer"], answer["job"]["state"]) == ("requeued", "queued")
    assert answer["job"]["payload"] == {"text": "hi"}
    await hand.finish(job_id)
    answer = (await ask.post(f"/jobs/{job_id}/retry", {"payload": {"text": "new"}})).ok()
    assert answer["job"]["payload"] == {"text": "new"}


async def test_a_retry_with_a_payload_that_does_not_fit_changes_nothing(
    ask: Asking, hand: Hand
) -> None:
    job_id = (await ask.post("/jobs", JOB)).ok(201)["id"]
    await hand.finish(job_id)
    answer = await ask.post(f"/jobs/{job_id}/retry", {"payload": {"text": 1}})
    answer.refused(422, "invalid_arguments")
    assert await hand.state(job_id) is State.COMPLETED


async def test_only_an_ended_job_whose_key_is_free_can_be_retried(ask: Asking, hand: Hand) -> None:
    first = (await ask.post("/jobs", JOB | {"unique_key": "k"})).ok(201)["id"]
    error = (await ask.post(f"/jobs/{first}/retry")).refused(409, "refused")
    assert "only a job that has ended" in error["message"]
    await hand.finish(first)
    await ask.post("/jobs", JOB | {"unique_key": "k"})
    error = (await ask.post(f"/jobs/{first}/retry")).refused(409, "refused")
    assert "unique key 'k'" in error["message"]


async def test_a_retry_can_take_what_is_downstream_along(ask: Asking, hand: Hand) -> None:
    nodes = [{"name": "one", **JOB}, {"name": "two", **JOB, "after": ["one"]}]
    flow = (await ask.post("/workflows", {"name": "flow", "jobs": nodes})).ok(201)
    one, two = (job["id"] for job in flow["jobs"])
    await hand.finish(one)
    await hand.finish(two)
    (await ask.post(f"/jobs/{one}/retry", {"downstream": True})).ok()
    assert await hand.states([one, two]) == [State.QUEUED, State.BLOCKED]


class Broken:
    """A store whose submits fail."""

    def __init__(self, inner: Store, error: Exception) -> None:
        self._inner = inner
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def submit(self, *args: Any, **kwargs: Any) -> Any:
        raise self._error


async def test_an_unavailable_store_gives_503_and_asks_to_come_back(
    ask: Asking, app: Stoker, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_store", Broken(hand.store, Unavailable("the disk sleeps")))
    answer = await ask.post("/jobs", JOB)
    answer.refused(503, "unavailable")
    assert answer.headers["retry-after"] == "1"


async def test_an_unknown_outcome_tells_the_id_with_which_to_repeat(
    ask: Asking, app: Stoker, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Broken(hand.store, OutcomeUnknown("the line was cut"))
    with monkeypatch.context() as patch:
        patch.setattr(app, "_store", broken)
        error = (await ask.post("/jobs", JOB)).refused(503, "outcome_unknown")
    job = (await ask.post("/jobs", JOB | {"id": error["details"]["id"]})).ok(201)
    assert job["id"] == error["details"]["id"]
    assert len((await hand.store.find(JobQuery())).jobs) == 1
