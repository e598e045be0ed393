"""Tenants never see one another: every route, and random walks over all of them (S8)."""

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.app.stoker import Stoker
from stoker.core.job import ErrorInfo, Outcome
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.core.store import Store
from stoker.server.access import Declared, Need, check_declared
from stoker.server.http import make_server_app
from stoker.settings import ServerSettings, Settings
from stoker.testing import FakeClock
from stoker.testing.conformance.hand import Hand
from tests.unit.server.asking import Answer, Asking
from tests.unit.server.keyed import asking_with, new_key

MARKS = {"acme": "of-acme-alone", "rival": "of-rival-alone"}
SCOPES = ("read", "submit", "operate")
NOT_FOR_TENANTS = {
    "/api/v1/stats",
    "/api/v1/overview",
    "/api/v1/live",
    "/api/v1/activity",
    "/api/v1/queues",
    "/api/v1/workers",
    "/api/v1/fleets",
    "/metrics",
}
"""What is about the whole store. Everything else answers, for the tenant's own part."""


class Side:
    """One tenant: what is his, and how he asks."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.mark = MARKS[tenant]
        self.jobs: dict[str, str] = {}
        self.workflow = ""
        self.schedule = f"{tenant}:nightly"

    @property
    def ids(self) -> list[str]:
        return [*self.jobs.values(), self.workflow]


class Town:
    """A server with two tenants, and somebody who belongs to none."""

    def __init__(self, app: Stoker, clock: FakeClock) -> None:
        self.app = app
        self.clock = clock
        self.api = make_server_app(app)
        self.routes = check_declared(self.api)
        self.sides = [Side("acme"), Side("rival")]
        self.asking: dict[str, Asking] = {}

    async def settle(self) -> None:
        for side in self.sides:
            key = await new_key(self.app, side.tenant, *SCOPES, tenant=side.tenant)
            asking = Asking(self.api)
            asking.http.headers["authorization"] = f"Bearer {key.key}"
            self.asking[side.tenant] = asking
            await self._fill(side)

    async def _fill(self, side: Side) -> None:
        hand = Hand(await self.app.arun(_same), self.clock)
        payload = json.dumps({"text": side.mark}).encode()
        common: dict[str, Any] = {"task": "shout", "tenant": side.tenant, "payload": payload}
        await hand.beat(f"w-{side.tenant}", concurrency=10)
        for state in ("queued", "dead", "done", "held"):
            side.jobs[state] = await hand.put(**common)
        error = ErrorInfo(code="task_error", type="OSError", message=side.mark)
        await hand.finish(side.jobs["dead"], Outcome.FAILED, retry_in=None, error=error)
        await hand.finish(side.jobs["done"])
        await hand.take(side.jobs["held"])
        asking = self.asking[side.tenant]
        nodes = [
            {"name": "a", "task": "shout", "payload": {"text": side.mark}},
            {"name": "b", "task": "shout", "payload": {"text": side.mark}, "after": ["a"]},
        ]
        flow = (await asking.post("/workflows", {"name": side.tenant, "jobs": nodes})).ok(201)
        side.workflow = flow["id"]
        for job in flow["jobs"]:
            side.jobs[job["node"]] = job["id"]
        body = {
            "name": side.schedule,
            "task": "shout",
            "payload": {"text": side.mark},
            "cron_expression": "0 3 * * *",
        }
        (await asking.post("/scheduled-jobs", body)).ok(201)

    async def snapshot(self, side: Side) -> bytes:
        """Return all that is a tenant's, as the store has it."""

        async def look(store: Store) -> Any:
            page = await store.find(JobQuery(tenant=side.tenant), limit=1000)
            jobs = await store.get(sorted(job.id for job in page.jobs))
            found = await store.schedules()
            schedules = [i for i in found if i.spec.job.tenant == side.tenant]
            flows, _ = await store.workflows([side.workflow])
            return jobs, [repr(info) for info in schedules], flows

        return msgspec.json.encode(await self.app.arun(look))

    def others(self, side: Side) -> Side:
        return next(other for other in self.sides if other is not side)


async def _same(store: Store) -> Store:
    return store


@pytest.fixture
async def town(fake_clock: FakeClock) -> AsyncIterator[Town]:
    server = ServerSettings(key_rate=0)
    async with _app(server, fake_clock) as app:
        made = Town(app, fake_clock)
        await made.settle()
        yield made


def _app(server: ServerSettings, clock: FakeClock) -> Stoker:
    app = Stoker(settings=Settings(store="memory://", server=server), clock=clock)

    @app.task
    def shout(text: str) -> str:
        return text.upper()

    return app


def paths(route: Declared, of: Side) -> list[str]:
    """Return a route's path for each thing of a tenant that it may name."""
    named = {
        "{job_id}": list(of.jobs.values()),
        "{workflow_id}": [of.workflow],
        "{name}": [of.schedule, "default"],
        "{worker}": ["w-" + of.tenant],
        "{fleet}": ["f-" + of.tenant],
        "{key}": [of.tenant],
        "{path}": ["find"],
    }
    for parameter, values in named.items():
        if parameter in route.path:
            return [route.path.replace(parameter, value) for value in values]
    assert "{" not in route.path, f"say in this test what {route.path} may name"
    return [route.path]


def bodies(route: Declared, of: Side) -> list[Any]:
    """Return what may be sent there to reach the things of a tenant."""
    job = {"task": "shout", "payload": {"text": "x"}}
    node = {"name": "n", "tenant": of.tenant, **job}
    rule = {"cron_expression": "* * * * *"}
    told: dict[str, list[Any]] = {
        "/api/v1/jobs": [{**job, "tenant": of.tenant}, {**job, "id": of.jobs["queued"]}],
        "/api/v1/jobs/batch": [
            {"jobs": [{**job, "tenant": of.tenant}, {**job, "id": of.jobs["done"]}]}
        ],
        "/api/v1/jobs/bulk": [
            {"action": action, "reason": "x", "ids": [*of.jobs.values()]}
            for action in ("cancel", "retry", "delete")
        ]
        + [{"action": "delete", "reason": "x", "q": f"tenant:{of.tenant}"}],
        "/api/v1/dead-letters/replay": [{"ids": [of.jobs["dead"]]}, {"tenant": of.tenant}],
        "/api/v1/dead-letters/drop": [{"ids": [of.jobs["dead"]]}, {"tenant": of.tenant}],
        "/api/v1/workflows": [{"name": "n", "jobs": [node]}],
        "/api/v1/scheduled-jobs": [
            {"name": of.schedule, **job, **rule},
            {"name": f"{of.tenant}:new", "tenant": of.tenant, **job, **rule},
        ],
        "/api/v1/scheduled-jobs/{name}": [rule],
        "/api/v1/queues/{name}/limit": [{"limit": 1}],
    }
    return [None] if route.method == "GET" else told.get(route.path, [{}])


def reachable(town: Town) -> list[Declared]:
    """Return the routes that a tenant's key may ask, but for the streams that do not end."""
    needs = {Need.READ, Need.SUBMIT, Need.OPERATE, Need.KNOWN}
    return [
        route
        for route in town.routes
        if route.need in needs and route.path not in {"/api/v1/live", "/logout"}
    ]


async def ask(town: Town, who: Side, route: Declared, path: str, body: Any) -> Answer:
    asking = town.asking[who.tenant]
    if route.path.endswith("/{job_id}/events") and path.split("/")[4] in who.ids:
        # His own stream would go on until the job has ended.
        return await asking.get(f"/jobs/{path.split('/')[4]}")
    return await asking.send(route.method, path, body)


def tells_nothing_of(answer: Answer, other: Side, asked: str) -> None:
    assert answer.status < 500, answer.text
    assert other.mark not in answer.text, answer.text
    assert other.mark.upper() not in answer.text, answer.text
    found = [i for i in other.ids if i in answer.text and i not in asked]
    assert found == [], answer.text


async def test_no_route_tells_or_changes_anything_of_another_tenant(town: Town) -> None:
    driven = 0
    for who in town.sides:
        other = town.others(who)
        before = await town.snapshot(other)
        for route in reachable(town):
            for path in paths(route, other):
                for body in bodies(route, other):
                    answer = await ask(town, who, route, path, body)
                    tells_nothing_of(answer, other, path + json.dumps(body))
                    driven += 1
        assert await town.snapshot(other) == before
    assert driven > 150


async def test_what_is_anothers_is_not_there(town: Town) -> None:
    who, other = town.sides
    for route in reachable(town):
        if not any(part in route.path for part in ("{job_id}", "{workflow_id}")):
            continue
        for path in paths(route, other):
            status = (await ask(town, who, route, path, bodies(route, other)[0])).status
            assert status in {404, 403}, (route, status)
            # Only what no tenant is told at all is refused by name.
            assert status == 404 or route.path.endswith("/explain")


async def test_what_another_tenant_does_changes_no_answer(town: Town) -> None:
    """Not even a number: whatever a tenant reads is the same before and after."""
    who, other = town.sides

    async def read_all() -> dict[str, str]:
        found: dict[str, str] = {}
        for route in reachable(town):
            for path in paths(route, who) if route.method == "GET" else ():
                found[path] = (await ask(town, who, route, path, None)).text
        return found

    before = await read_all()
    busy = town.asking[other.tenant]
    job = {"task": "shout", "payload": {"text": "x"}, "queue": "another"}
    for _ in range(3):
        (await busy.post("/jobs", job)).ok(201)
    (await busy.post(f"/workflows/{other.workflow}/cancel")).ok()
    (await busy.post("/dead-letters/replay", {"all": True})).ok()
    (await busy.post(f"/scheduled-jobs/{other.schedule}/run")).ok(201)
    (await busy.delete(f"/scheduled-jobs/{other.schedule}")).ok()
    assert len(before) > 20
    after = await read_all()
    assert [path for path in before if before[path] != after[path]] == []


async def test_a_tenant_sees_and_changes_all_that_is_his(town: Town) -> None:
    who = town.sides[0]
    asking = town.asking[who.tenant]
    listed = (await asking.get("/jobs")).ok()["jobs"]
    assert {job["id"] for job in listed} == set(who.jobs.values())
    assert (await asking.get("/jobs/count")).ok() == {"count": len(listed), "is_exact": True}
    assert [f["id"] for f in (await asking.get("/workflows")).ok()["workflows"]] == [who.workflow]
    assert len((await asking.get(f"/workflows/{who.workflow}")).ok()["jobs"]) == 2
    [schedule] = (await asking.get("/scheduled-jobs")).ok()["schedules"]
    assert (schedule["name"], schedule["tenant"]) == (who.schedule, who.tenant)
    [dead] = (await asking.get("/dead-letters")).ok()["jobs"]
    assert dead["id"] == who.jobs["dead"]
    events = (await asking.get("/events", after=0)).ok()["events"]
    assert {event["job_id"] for event in events} <= set(who.jobs.values())
    assert events
    replayed = (await asking.post("/dead-letters/replay", {"all": True})).ok()
    assert [answer["id"] for answer in replayed["answers"]] == [who.jobs["dead"]]
    made = (await asking.post("/jobs", {"task": "shout", "payload": {"text": "x"}})).ok(201)
    assert made["tenant"] == who.tenant
    fired = (await asking.post(f"/scheduled-jobs/{who.schedule}/run")).ok(201)
    assert fired["tenant"] == who.tenant
    cancelled = (await asking.post(f"/workflows/{who.workflow}/cancel")).ok()
    assert {a["answer"] for a in cancelled["answers"]} == {"cancelled"}
    (await asking.delete(f"/jobs/{who.jobs['done']}")).ok()
    (await asking.delete(f"/scheduled-jobs/{who.schedule}")).ok()


async def test_what_is_about_all_tenants_is_refused_in_so_many_words(town: Town) -> None:
    asking = town.asking["acme"]
    for path in sorted(NOT_FOR_TENANTS):
        error = (await asking.get(path)).refused(403, "forbidden")
        assert "'acme'" in error["message"]
        # What to do instead works.
        assert "/api/v1/jobs/count?state=queued" in error["message"]
    (await asking.get("/jobs/count", state="queued")).ok()
    job = town.sides[0].jobs["queued"]
    (await asking.get(f"/jobs/{job}/explain")).refused(403, "forbidden")
    (await asking.post("/queues/default/pause")).refused(403, "forbidden")


async def test_a_tenant_names_its_schedules_after_itself(town: Town) -> None:
    body = {"task": "shout", "payload": {"text": "x"}, "interval": "1h"}
    asking = town.asking["acme"]
    error = (await asking.post("/scheduled-jobs", {"name": "n", **body})).refused(403, "forbidden")
    assert "call it 'acme:n'" in error["message"]


async def test_jobs_of_nobody_are_nobodys(town: Town) -> None:
    hand = Hand(await town.app.arun(_same), town.clock)
    nobodys = await hand.put(task="shout")
    for asking in town.asking.values():
        (await asking.get(f"/jobs/{nobodys}")).refused(404, "job_not_found")


async def test_a_key_bound_to_queues_sees_and_uses_those_only(
    town: Town, fake_clock: FakeClock
) -> None:
    hand = Hand(await town.app.arun(_same), fake_clock)
    mine, theirs = await hand.put(queue="mine"), await hand.put(queue="theirs")
    key = await new_key(town.app, "lane", *SCOPES, queues=("mine",))
    async with asking_with(town.asking["acme"], key) as lane:
        assert [job["id"] for job in (await lane.get("/jobs")).ok()["jobs"]] == [mine]
        (await lane.get(f"/jobs/{theirs}")).refused(404, "job_not_found")
        assert [q["name"] for q in (await lane.get("/queues")).ok()["queues"]] == ["mine"]
        assert (await lane.get("/stats")).ok()["jobs"] == 1
        (await lane.post("/queues/mine/pause")).ok()
        (await lane.post("/queues/theirs/pause")).refused(404, "queue_not_found")
        (await lane.delete("/queues/theirs/jobs")).refused(404, "queue_not_found")
        job = {"task": "shout", "payload": {"text": "x"}}
        (await lane.post("/jobs", {**job, "queue": "theirs"})).refused(403, "forbidden")
        (await lane.post("/jobs", {**job, "queue": "mine"})).ok(201)
        batch = (await lane.post("/jobs/batch", {"jobs": [{**job, "queue": "theirs"}, job]})).ok(
            201
        )
        assert [item["error"]["code"] for item in batch["jobs"]] == ["forbidden"] * 2
        (await lane.post(f"/jobs/{theirs}/cancel")).refused(404, "job_not_found")
    [record] = await town.app.arun(lambda store: store.get([theirs]))
    assert record is not None
    assert record.state is State.QUEUED


STEPS = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.integers(0), st.integers(0)), max_size=40
)


@settings(max_examples=15, deadline=None)
@given(STEPS)
def test_random_walks_never_cross_from_one_tenant_to_the_other(
    steps: list[tuple[bool, bool, int, int]],
) -> None:
    import asyncio

    asyncio.run(_walk(steps))


async def _walk(steps: list[tuple[bool, bool, int, int]]) -> None:
    clock = FakeClock()
    async with _app(ServerSettings(key_rate=0), clock) as app:
        town = Town(app, clock)
        await town.settle()
        routes = reachable(town)
        for first, own, which, choice in steps:
            who = town.sides[first]
            other = town.others(who)
            route = routes[which % len(routes)]
            about = who if own else other
            places = [(p, b) for p in paths(route, about) for b in bodies(route, about)]
            path, body = places[choice % len(places)]
            before = await town.snapshot(other)
            answer = await ask(town, who, route, path, body)
            tells_nothing_of(answer, other, path + json.dumps(body))
            assert await town.snapshot(other) == before, (route, body)
            clock.advance(1)
