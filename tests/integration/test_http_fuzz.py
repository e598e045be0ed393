"""Generated requests, right and wrong ones, against everything that the API says of itself.

The callers take turns: keys of each scope, keys bound to a tenant, to a queue and to both, and
nobody. Each request is sent with the key that opens everything as well. Whoever asks, the answer is
one that the API describes, it is no 5xx, and it refuses whom the route is not for.
"""

from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    ignored_auth,
    negative_data_rejection,
    positive_data_acceptance,
    unsupported_method,
)

from stoker.app.keys import create_key
from stoker.app.stoker import Stoker
from stoker.core.fleets import FleetKind, FleetReport
from stoker.core.job import JobSpec, SessionSpec, WorkflowSpec
from stoker.core.keys import Scope, included
from stoker.core.records import ScheduleSpec
from stoker.server.access import Need, check_declared
from stoker.server.http import make_server_app
from stoker.server.limits import Buckets
from stoker.settings import ServerSettings, Settings

EXAMPLES = 14
"""Requests made up for each operation, besides those that its description suggests."""
OTHERS = 2
"""Callers whose turn it is with each request, besides the one who may do everything."""

UNLIMITED = ServerSettings(key_rate=0, address_rate=0)
APP = Stoker(settings=Settings(store="memory://", server=UNLIMITED))
# Opened here, and not by the server: its lifespan ends with each test, and would take the keys, and
# every answer but a 401, along.
APP.run(APP.aknown_tasks())
API = make_server_app(APP, hosts=None)
# A stream of the first screen goes on for an hour; here it ends with its first frame.
API.state.streams.longest = 0.0
# Wrong keys are made up, too, and would slow down every caller, who are all at one address.
API.state.gateway._failures = Buckets(rate=0, burst=0, clock=APP.clock)
# Read before there is a key: afterwards that takes one.
SCHEMA: Any = schemathesis.openapi.from_asgi("/openapi.json", API)
NEEDS = {(one.method, one.path): one.need for one in check_declared(API)}


@APP.task
def shout(text: str) -> str:
    return text.upper()


class Who(msgspec.Struct, frozen=True):
    """A caller: his key, and what it is bound to."""

    key: str = ""
    scopes: frozenset[Scope] = frozenset()
    tenant: str | None = None
    queue: str = "default"
    is_bound: bool = False

    @property
    def shown(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


def make_who(name: str, *scopes: str, tenant: str | None = None, queue: str = "") -> Who:
    made = APP.run(
        APP.arun(
            lambda store: create_key(
                store,
                APP.clock,
                actor="fuzz",
                name=name,
                scopes=scopes,
                tenant=tenant,
                queues=(queue,) if queue else (),
            )
        )
    )
    return Who(
        key=made.key,
        scopes=included([Scope(scope) for scope in scopes]),
        tenant=tenant,
        queue=queue or "default",
        is_bound=tenant is not None or bool(queue),
    )


MUCH = ("read", "submit", "operate")
CALLERS: dict[str, Who] = {
    "nobody": Who(),
    **{scope: make_who(f"fuzz-{scope}", scope) for scope in Scope},
    "tenant": make_who("fuzz-tenant", *MUCH, tenant="acme"),
    "queue": make_who("fuzz-queue", *MUCH, queue="lane"),
    "both": make_who("fuzz-both", *MUCH, tenant="acme", queue="lane"),
}
TURNS = cycle(name for name in CALLERS if name != Scope.ADMIN)


def callers() -> list[str]:
    """Return who sends the next request."""
    return [Scope.ADMIN, *islice(TURNS, OTHERS)]


@pytest.fixture(scope="session", autouse=True)
def closed() -> Iterator[None]:
    yield
    APP.close()


def make_other_key(_: Who) -> str:
    name = f"k{APP.clock.new_nonce()}"
    make_who(name, "read")
    return name


def spec_for(who: Who, **more: Any) -> JobSpec:
    return JobSpec(
        id=APP.clock.new_id(),
        task="shout",
        payload=b'{"text":"x"}',
        tenant=who.tenant,
        queue=who.queue,
        **more,
    )


def make_job(who: Who) -> str:
    spec = spec_for(who)
    APP.run(APP.arun(lambda store: store.submit([spec])))
    return spec.id


def make_schedule(who: Who) -> str:
    name = f"{who.tenant}:tick" if who.tenant else f"tick-{who.queue}"
    job = msgspec.structs.replace(spec_for(who), id="")
    spec = ScheduleSpec(name=name, job=job, every=60.0, next_at=APP.clock.now() + 60)
    APP.run(APP.arun(lambda store: store.put_schedules([spec])))
    return spec.name


def make_worker(who: Who) -> str:
    session = SessionSpec(id=APP.clock.new_id(), name="mill", tasks=("shout",), queues=(who.queue,))
    APP.run(APP.arun(lambda store: store.beat(session, [], ttl=60)))
    return session.id


def make_fleet(who: Who) -> str:
    kind = FleetKind(
        name="all",
        program="python",
        queues=(who.queue,),
        concurrency=1,
        min=1,
        max=2,
        start_within=5.0,
        wanted=1,
        ready=1,
    )
    told = msgspec.to_builtins(FleetReport(kinds=(kind,), workers=()))
    session = SessionSpec(id=APP.clock.new_id(), name="fleet:mill", kind="fleet", details=told)
    APP.run(APP.arun(lambda store: store.beat(session, [], ttl=60)))
    return session.id


def make_workflow(who: Who) -> str:
    flow = WorkflowSpec(id=APP.clock.new_id(), name="flow")
    spec = spec_for(who, workflow_id=flow.id, node="one")
    APP.run(APP.arun(lambda store: store.submit([spec], workflow=flow)))
    return flow.id


def make_queue(who: Who) -> str:
    make_job(who)
    return who.queue


MAKERS = {
    "/api/v1/api-keys": make_other_key,
    "/api/v1/jobs": make_job,
    "/api/v1/queues": make_queue,
    "/api/v1/workers": make_worker,
    "/api/v1/scheduled-jobs": make_schedule,
    "/api/v1/workflows": make_workflow,
    "/api/v1/fleets": make_fleet,
}
LISTS = ("queue", "task", "state", "priority")
"""Parameters of queries that may be repeated."""


def excluded(case: Any) -> list[Any]:
    """Leave out checks that ask for what the API does not promise.

    What fits the schema may still mean nothing (an unknown task, a cursor that nobody gave). A
    batch accepts and refuses each job by itself. In a query, a text looks like a list of one, and
    an empty list in place of a text is not there at all. A
    name, or a fleet's, may hold slashes, so that what looks like a verb after it may be a part of
    it. Where one logs in, a browser is given the page, which the API's description leaves out.
    Wrong keys are another test's, and slow their address down.
    """
    checks: list[Any] = [positive_data_acceptance, ignored_auth]
    query = case.query or {}
    looks_right = any(isinstance(query.get(name), str) for name in LISTS) or [] in query.values()
    if case.path.endswith("/batch") or looks_right:
        checks.append(negative_data_rejection)
    if "{name}" in case.path or "{fleet}" in case.path or case.path == "/login":
        checks.append(unsupported_method)
    return checks


def send(case: Any, name: str, *more: Any) -> None:
    """Send a request as a caller; the answer is described, and refuses whom it must."""
    who = CALLERS[name]
    response = case.call(headers=who.shown)
    case.validate_response(response, excluded_checks=[*excluded(case), *more])
    need = NEEDS.get((case.method.upper(), case.path))
    if need is None or response.status_code in {404, 405, 408, 413, 415}:
        return
    place = (name, case.method, case.path, response.status_code)
    if need in {Need.OPEN, Need.KNOWN}:
        assert response.status_code != 403, place
    elif not who.key:
        assert response.status_code == 401, place
    elif Scope(need) not in who.scopes:
        assert response.status_code == 403, place
    elif not who.is_bound:
        assert response.status_code not in {401, 403}, place


@pytest.mark.slow
@SCHEMA.parametrize()  # type: ignore[untyped-decorator]
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_no_request_meets_a_500_or_an_answer_that_is_not_described(case: Any) -> None:
    for name in callers():
        send(case, name)


@pytest.mark.slow
@SCHEMA.exclude(operation_id="follow_job").include(path_regex=r"\{").parametrize()  # type: ignore[untyped-decorator]
@settings(
    max_examples=EXAMPLES // 3,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_the_same_holds_for_things_that_are_there(case: Any) -> None:
    [parameter] = case.path_parameters
    [maker] = [make for prefix, make in MAKERS.items() if case.path.startswith(f"{prefix}/")]
    for name in callers():
        case.path_parameters[parameter] = maker(CALLERS[name])
        send(case, name, negative_data_rejection, unsupported_method)
