"""How long each page of the API takes when the store holds a million jobs.

``python -m benchmarks.million [--jobs N] [--postgresql | STORE]``. Fills an empty store (one that
holds jobs already is measured as it is), then asks every route that reads, and the searches and
changes that people make, without a network. What is shown is the median and the longest of some
rounds, slowest first. A few jobs are rare, and the oldest of all: what looks for them meets the
worst case.
"""

import argparse
import asyncio
import contextlib
import re
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from benchmarks import report
from benchmarks.asking import ask
from stoker.app.stoker import Stoker
from stoker.core.job import (
    ErrorInfo,
    JobSpec,
    Leased,
    Outcome,
    SessionSpec,
    Settlement,
    WorkflowSpec,
)
from stoker.core.records import MAX_PAGE, JobQuery
from stoker.core.store import Store
from stoker.server.access import Need, check_declared
from stoker.server.http import make_server_app
from stoker.settings import ServerSettings, Settings
from tests.servers.postgres import Postgres

JOBS = 1_000_000
RARE = 20
"""Jobs with a task, a tenant, a queue and an error of their own."""
NODES = 2_000
"""Jobs of one big workflow."""
ROUNDS = 5
REAPS = 10
"""Times that the house is kept after filling, as a keeper does it once a second."""
TASKS, QUEUES, TENANTS = 12, 6, 40
_SEARCHES = (
    "state:queued",
    "state:dead_letter",
    "state:completed task:task-3",
    "task:task-3",
    "queue:queue-2",
    "tenant:tenant-7",
    "task:rare",
    "tenant:rare",
    "queue:rare",
    "task:rare state:queued",
    "queue:rare state:queued",
    "tenant:rare state:dead_letter",
    "error:refused",
    "error:unheard-of",
    "error:unheard-of state:dead_letter",
    "task:nobody",
    "schedule:nobody",
    "until:1d",
    "payload.number:17",
    "priority:high",
)
_NAMED = re.compile(r"\{(\w+)\}")
_UNENDING = frozenset({"/api/v1/live", "/api/v1/jobs/{job_id}/events"})


class Filler:
    """Puts jobs into a store, and lets most of them end."""

    def __init__(self, store: Store, app: Stoker, jobs: int) -> None:
        """Fill this store with so many jobs."""
        self.store = store
        self.clock = app.clock
        self.jobs = jobs
        self.session = SessionSpec(id=self.clock.new_id(), name="mill", tasks=("task-0",))

    async def fill(self) -> None:
        """Submit all: seven of ten end, one of them as a dead letter."""
        flow = WorkflowSpec(id=self.clock.new_id(), name="big")
        parents: tuple[str, ...] = ()
        nodes = []
        for number in range(min(NODES, self.jobs)):
            spec = self._spec(number, task="node", workflow_id=flow.id, node=f"n{number}")
            nodes.append(msgspec.structs.replace(spec, parents=parents))
            parents = (spec.id,)
        await self.store.submit(nodes, workflow=flow)
        await self.store.submit([self._rare(number) for number in range(RARE)])
        await self.store.beat(self.session, [], ttl=86_400)
        for start in range(0, self.jobs, MAX_PAGE):
            numbers = range(start, min(start + MAX_PAGE, self.jobs))
            await self.store.submit([self._spec(number) for number in numbers])
        await self._run()

    def _spec(self, number: int, **more: Any) -> JobSpec:
        given = {
            "task": f"task-{number % TASKS}",
            "queue": f"queue-{number % QUEUES}",
            "tenant": f"tenant-{number % TENANTS}" if number % 2 else None,
            "payload": b'{"number":%d,"name":"somebody"}' % number,
        } | more
        return JobSpec(id=self.clock.new_id(), **given)

    def _rare(self, number: int) -> JobSpec:
        # Every other one waits for good: its queue is nobody's.
        queue = "rare" if number % 2 else "rare-dead"
        return self._spec(number, task="rare", tenant="rare", queue=queue)

    async def _run(self) -> None:
        left = self.jobs * 7 // 10
        done: Sequence[Settlement] = ()
        lanes = {"rare-dead": MAX_PAGE} | {f"queue-{n}": MAX_PAGE for n in range(QUEUES)}
        while left > 0 or done:
            given = await self.store.exchange(
                self.session.id,
                done,
                queues=lanes,
                want=min(MAX_PAGE, left),
                nonce=self.clock.new_nonce(),
            )
            left -= len(given.leased) or left
            done = [self._ended(lease, place) for place, lease in enumerate(given.leased)]
        # As a keeper would, who writes together what was counted.
        for _ in range(REAPS):
            await self.store.reap()

    def _ended(self, lease: Leased, place: int) -> Settlement:
        is_rare = lease.task == "rare"
        message = "unheard-of" if is_rare else f"refused by host {place}"
        is_dead = is_rare or place % 7 == 0
        return Settlement(
            id=lease.id,
            epoch=lease.epoch,
            nonce=lease.nonce,
            outcome=Outcome.FAILED if is_dead else Outcome.COMPLETED,
            result=None if is_dead else b'{"ok":true}',
            error=ErrorInfo(code="task_error", type="OSError", message=message)
            if is_dead
            else None,
            ran_for=0.01,
        )


class Measured(msgspec.Struct, frozen=True):
    """A request, and how long it took each time, in seconds."""

    name: str
    seconds: list[float]


async def measure(store: str, *, jobs: int, rounds: int = ROUNDS) -> tuple[int, list[Measured]]:
    """Fill a store, if it is empty, and ask for everything; return how many jobs it holds."""
    server = ServerSettings(require_key="never", address_rate=0)
    async with Stoker(settings=Settings(store=store, server=server)) as app:
        total = await app.arun(_total)
        if not total:
            await app.arun(partial(_fill, app=app, jobs=jobs))
            total = await app.arun(_total)
        api = make_server_app(app, hosts=None)
        sample = await app.arun(_sample)
        found = []
        for name, method, path, body in _requests(api, sample):
            seconds = []
            for _ in range(rounds):
                await _look_anew(api)
                began = app.clock.monotonic()
                await ask(api, method, path, body=body)
                seconds.append(app.clock.monotonic() - began)
            found.append(Measured(name, seconds))
    return total, found


async def _fill(store: Store, *, app: Stoker, jobs: int) -> None:
    await Filler(store, app, jobs).fill()


async def _look_anew(api: Any) -> None:
    """Let the shared look of the overview be old, so that each round pays for it."""
    api.state.watch._taken = float("-inf")  # noqa: SLF001 - a benchmark may look inside


async def _total(store: Store) -> int:
    return sum(tally.count for tally in (await store.counts()).tallies)


async def _sample(store: Store) -> dict[str, str]:
    page = await store.find(JobQuery(), limit=1)
    flows, _ = await store.workflows(limit=1)
    return {
        "job_id": page.jobs[0].id,
        "workflow_id": flows[0].id,
        "name": "queue-1",
        "worker": "mill",
    }


def _requests(
    api: Any, sample: Mapping[str, str]
) -> Iterator[tuple[str, str, str, Mapping[str, Any] | None]]:
    for route in check_declared(api):
        reads = route.method == "GET" and route.need in {Need.READ, Need.KNOWN}
        unknown = set(_NAMED.findall(route.path)) - sample.keys()
        if not reads or unknown or route.path in _UNENDING or "/scheduled-jobs/{" in route.path:
            continue
        path = route.path.format(**sample)
        if route.path.endswith("/export"):
            path += "?limit=1000"
        yield f"GET {route.path}", "GET", path, None
    for text in _SEARCHES:
        for place in ("/api/v1/jobs", "/api/v1/jobs/count"):
            yield f"GET {place} {text}", "GET", f"{place}?q={quote(text)}", None
    yield "GET /api/v1/dead-letters by error", "GET", "/api/v1/dead-letters?group_by=error", None
    for text in ("ten", "tenant:", "error:", "payload."):
        path = f"/api/v1/jobs/suggestions?text={quote(text)}"
        yield f"GET /api/v1/jobs/suggestions {text}", "GET", path, None
    for text in ("task:rare", "tenant:rare", "task:nobody", "queue:rare"):
        body = {"action": "cancel", "q": text, "reason": "measured", "limit": 100}
        yield f"POST /api/v1/jobs/bulk cancel {text}", "POST", "/api/v1/jobs/bulk", body


def table(found: Sequence[Measured]) -> str:
    """Return what was measured, slowest first."""
    rows = sorted(found, key=lambda one: -statistics.median(one.seconds))
    return report.markdown(
        ("request", "median (ms)", "longest (ms)"),
        [
            (
                one.name,
                [f"{statistics.median(one.seconds) * 1e3:.1f}", f"{max(one.seconds) * 1e3:.1f}"],
            )
            for one in rows
        ],
    )


def _store(stack: contextlib.ExitStack, *, postgresql: bool) -> str:
    """Make an empty store for this run; return its URL."""
    if postgresql:
        server = stack.enter_context(contextlib.closing(Postgres(durable=False)))
        server.start()
        return server.url()
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="stoker-bench-"))
    return f"sqlite:///{Path(folder) / 'million.db'}?durability=fast"


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.million", description=__doc__)
    parser.add_argument("store", nargs="?", help="URL of a store; an SQLite of its own by default")
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--postgresql", action="store_true", help="on a PostgreSQL of its own")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        store = given.store or _store(stack, postgresql=given.postgresql)
        total, found = asyncio.run(measure(store, jobs=given.jobs))
    for fact, value in report.facts(jobs=f"{total:,}", rounds=ROUNDS).items():
        print(f"{fact}: {value}")
    print(f"\n{table(found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
