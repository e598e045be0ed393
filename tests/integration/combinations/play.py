"""One run of a combination: submit, call off, break things, wait for the end, judge."""

import asyncio
import math
import random  # noqa: TID251 - seeded
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from stoker import Stoker
from stoker.connect import open_store
from stoker.core.errors import OutcomeUnknown, Unavailable
from stoker.core.job import JobRecord, JobSpec, Submitted, WorkflowSpec
from stoker.core.lifecycle import LIVE
from stoker.core.records import MAX_PAGE, Answer, JobQuery
from stoker.core.store import Store
from stoker.testing import wait_until
from tests.integration.combinations.faults import (
    PROGRESS_WITHIN,
    Breaker,
    Fault,
    Incident,
    make_schedule,
)
from tests.integration.combinations.herd import Herd, configuration
from tests.integration.combinations.ledger import Ledger
from tests.integration.combinations.site import Site
from tests.integration.combinations.workload import Workload, make_workload

T = TypeVar("T")
WORKERS = 3
AHEAD = 1_000
"""Jobs that are at hand beyond the next fault."""
KEPT = 750
"""Jobs that are not submitted before the last fault."""
GROUP = 15
"""Jobs that are called off together."""


@dataclass
class Called:
    """An answer to a cancel.

    Attributes:
        answer: What the store said.
        at: When it was known, by the monotonic clock.
        repeated: Whether an earlier try had an unknown outcome.
    """

    answer: Answer
    at: float
    repeated: bool


@dataclass
class Evidence:
    """All that is known after a run."""

    load: Workload
    schedule: list[Fault]
    ledger: Ledger
    incidents: list[Incident] = field(default_factory=list)
    called: dict[str, Called] = field(default_factory=dict)
    records: dict[str, JobRecord | None] = field(default_factory=dict)
    took: float = 0.0
    version: str = ""
    """Of the store's engine."""


async def insist(call: Callable[[], Awaitable[T]], pause: random.Random) -> tuple[T, bool]:
    """Repeat a call until it is answered, as every caller must who got no answer.

    Returns:
        The answer, and whether an earlier try may have been obeyed.
    """
    unknown = False
    while True:
        try:
            return await call(), unknown
        except (Unavailable, OutcomeUnknown) as error:
            unknown = unknown or isinstance(error, OutcomeUnknown)
            await asyncio.sleep(0.05 * pause.random())


class Play:
    """The test's own part in a run."""

    def __init__(self, site: Site, folder: Path, seed: int) -> None:
        """Prepare a run with the jobs and the faults of a seed."""
        self._site = site
        self._chance = random.Random(seed)
        self.herd = Herd(folder, config=configuration(site.entrance, broker=site.broker))
        load = make_workload(seed)
        schedule = make_schedule(seed, site.faults, load.effects)
        self.evidence = Evidence(load, schedule, self.herd.ledger)
        self._seed = seed
        self._accepted: set[str] = set()
        self._all_in = False
        self._asking: dict[str, float] = {}

    async def run(self) -> Evidence:
        """Run it to its end."""
        site, loop = self._site, asyncio.get_running_loop()
        began_at = loop.time()
        try:
            door = Stoker(site.door, broker=site.broker or None)
            async with open_store(site.store) as store, door:
                called_off = self.evidence.load.called_off
                breaker = Breaker(site, self.herd, store, self._seed, called_off=called_off)
                self.evidence.incidents = breaker.incidents
                self.evidence.version = store.info.version
                for _ in range(WORKERS):
                    await self.herd.start()
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._submit(door, breaker))
                    group.create_task(self._call_off(door))
                    group.create_task(breaker.run(self.evidence.schedule))
                await self._end(store)
        finally:
            await self.herd.close()
        self.evidence.took = loop.time() - began_at
        return self.evidence

    async def _submit(self, door: Stoker, breaker: Breaker) -> None:
        """Submit, but never so much that the work could be over before the last fault."""
        for specs, flow in self.evidence.load.batches:
            await self._reach(partial(self._has_room, breaker), "the next fault is near")
            answers, _ = await self._ask("submit", partial(_submit, door, specs, flow))
            refused = [answer for answer in answers if answer.error is not None]
            assert not refused, refused
            self._accepted.update(answer.id for answer in answers)
        self._all_in = True

    async def _call_off(self, door: Stoker) -> None:
        """Call off what waits, and what the ledger shows to run just now."""
        left = list(self.evidence.load.called_off)
        while left:
            ripe = await self._reach(partial(self._ripe, left), "jobs to call off")
            query = JobQuery(ids=tuple(ripe))
            answers, unknown = await self._ask("cancel", partial(_cancel, door, query))
            at = asyncio.get_running_loop().time()
            for answer in answers:
                self.evidence.called[answer.id] = Called(answer, at, unknown)
            left = [job for job in left if job not in self.evidence.called]

    async def _ripe(self, left: list[str]) -> list[str]:
        here = [job for job in left if job in self._accepted]
        running = {job for job, _ in self.herd.ledger.look().open}
        now = [job for job in here if job in running]
        if self._all_in or len(here) >= GROUP:
            return [*now, *(job for job in here if job not in running)][:GROUP]
        return now

    async def _end(self, store: Store) -> None:
        await self._reach(partial(_all_ended, store), "every job ended")
        # One that has only just been started knows no SIGTERM yet.
        await self._reach(partial(self._all_here, store), "every worker has a session")
        codes = await self.herd.drain()
        assert set(codes.values()) == {0}, (codes, self.herd.log_tail())
        ids = self.evidence.load.ids
        for at in range(0, len(ids), MAX_PAGE):
            part = ids[at : at + MAX_PAGE]
            found, _ = await insist(partial(store.get, part), self._chance)
            self.evidence.records.update(zip(part, found, strict=True))
        self.herd.ledger.look()

    async def _reach(self, goal: Callable[[], Awaitable[T]], what: str) -> T:
        async def look() -> T:
            await self.herd.mend()
            return await goal()

        return await wait_until(look, what, timeout=PROGRESS_WITHIN)

    def told(self) -> str:
        """Say how far it came: what was done, which calls have no answer yet, what servers say."""
        now = asyncio.get_running_loop().time()
        open_calls = [f"{what} for {now - since:.1f} s" for what, since in self._asking.items()]
        done = dict(self.herd.ledger.look().counts)
        far = f"{len(self._accepted)} accepted, ledger {done}, unanswered: {open_calls or 'none'}"
        logs = [f"{name}: {one.log_tail(1_000)}" for name, one in self._site.servers.items()]
        return "\n".join([far, *logs])

    async def _ask(self, what: str, call: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        self._asking[what] = asyncio.get_running_loop().time()
        answer = await insist(call, self._chance)
        del self._asking[what]
        return answer

    async def _all_here(self, store: Store) -> bool:
        sessions = {session.name for session in await store.sessions()}
        return sessions >= {worker.name for worker in self.herd.workers}

    async def _has_room(self, breaker: Breaker) -> bool:
        if breaker.seeks_victim and not self.herd.busy() and await breaker.is_idle():
            # A server that takes long to come back let them finish all that was at hand: the next
            # batch, and no more, for what is kept is needed at the last fault.
            return True
        most = breaker.next_after + AHEAD
        if breaker.next_after < math.inf:
            # Something is left to run when the last fault comes, however long the others took.
            most = min(most, len(self.evidence.load.expected) - KEPT)
        return len(self._accepted) <= most


async def _submit(door: Stoker, specs: list[JobSpec], flow: WorkflowSpec | None) -> list[Submitted]:
    return await door.arun(lambda store: store.submit(specs, workflow=flow))


async def _cancel(door: Stoker, query: JobQuery) -> list[Answer]:
    return await door.arun(lambda store: store.cancel(query))


async def _all_ended(store: Store) -> bool:
    try:
        return not (await store.find(JobQuery(states=tuple(LIVE)), limit=1)).jobs
    except (Unavailable, OutcomeUnknown):
        return False
