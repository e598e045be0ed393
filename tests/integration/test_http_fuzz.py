"""Generated requests, right and wrong ones, against everything that the API says of itself."""

from collections.abc import Iterator
from itertools import cycle
from typing import Any

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
from stoker.core.job import JobSpec, SessionSpec, WorkflowSpec
from stoker.core.records import ScheduleSpec
from stoker.server.http import make_server_app
from stoker.settings import ServerSettings, Settings

EXAMPLES = 20

UNLIMITED = ServerSettings(key_rate=0, address_rate=0)
APP = Stoker(settings=Settings(store="memory://", server=UNLIMITED))
API = make_server_app(APP, hosts=None)
# A stream of the first screen goes on for an hour; here it ends with its first frame.
API.state.streams.longest = 0.0
# Read before there is a key: afterwards that takes one.
SCHEMA: Any = schemathesis.openapi.from_asgi("/openapi.json", API)


@APP.task
def shout(text: str) -> str:
    return text.upper()


def make_key(name: str, *scopes: str, tenant: str | None = None) -> str:
    made = APP.run(
        APP.arun(
            lambda store: create_key(
                store, APP.clock, actor="fuzz", name=name, scopes=scopes, tenant=tenant
            )
        )
    )
    return made.key


KEYS = {
    "read": make_key("fuzz-read", "read"),
    "submit": make_key("fuzz-submit", "submit"),
    "operate": make_key("fuzz-operate", "operate"),
    "admin": make_key("fuzz-admin", "admin"),
    "worker": make_key("fuzz-worker", "worker"),
    "tenant": make_key("fuzz-tenant", "operate", "submit", tenant="acme"),
}
TURNS = cycle([*KEYS, "admin", "admin", "admin"])
"""Whose key the next request shows; that of the admin reaches every route."""


def shown(whose: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[whose]}"}


def make_other_key() -> str:
    name = f"k{APP.clock.new_nonce()}"
    make_key(name, "read")
    return name


@pytest.fixture(scope="module", autouse=True)
def closed() -> Iterator[None]:
    yield
    APP.close()


def make_job() -> str:
    return APP.submit("shout", {"text": "x"}).id


def make_schedule() -> str:
    job = JobSpec(id="", task="shout", payload=b'{"text":"x"}')
    spec = ScheduleSpec(name="tick", job=job, every=60.0, next_at=APP.clock.now() + 60)
    APP.run(APP.arun(lambda store: store.put_schedules([spec])))
    return spec.name


def make_worker() -> str:
    session = SessionSpec(id=APP.clock.new_id(), name="mill", tasks=("shout",))
    APP.run(APP.arun(lambda store: store.beat(session, [], ttl=60)))
    return session.id


def make_workflow() -> str:
    flow = WorkflowSpec(id=APP.clock.new_id(), name="flow")
    spec = JobSpec(id=APP.clock.new_id(), task="shout", workflow_id=flow.id, node="one")
    APP.run(APP.arun(lambda store: store.submit([spec], workflow=flow)))
    return flow.id


def make_queue() -> str:
    make_job()
    return "default"


MAKERS = {
    "/api/v1/api-keys": make_other_key,
    "/api/v1/jobs": make_job,
    "/api/v1/queues": make_queue,
    "/api/v1/workers": make_worker,
    "/api/v1/scheduled-jobs": make_schedule,
    "/api/v1/workflows": make_workflow,
}


def excluded(case: Any) -> list[Any]:
    """Leave out checks that ask for what the API does not promise.

    What fits the schema may still mean nothing (an unknown task, a cursor that nobody gave). A
    batch accepts and refuses each job by itself. A name may hold slashes, so that what looks like
    a verb after it may be a part of it. Where one logs in, a browser is given the page, which the
    API's description leaves out. Wrong keys are another test's, and slow their address down.
    """
    checks: list[Any] = [positive_data_acceptance, ignored_auth]
    if case.path.endswith("/batch"):
        checks.append(negative_data_rejection)
    if "{name}" in case.path or case.path == "/login":
        checks.append(unsupported_method)
    return checks


@pytest.mark.slow
@SCHEMA.parametrize()  # type: ignore[untyped-decorator]
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_no_request_meets_a_500_or_an_answer_that_is_not_described(case: Any) -> None:
    case.call_and_validate(headers=shown(next(TURNS)), excluded_checks=excluded(case))


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
    case.path_parameters[parameter] = maker()
    checks = [*excluded(case), negative_data_rejection, unsupported_method]
    case.call_and_validate(headers=shown("admin"), excluded_checks=checks)
