"""The supervisor: keeps worker processes alive, reports the dead, drains on stop.

It is the hands of `stoker.fleet.roster`, which decides, and the eyes of
`stoker.fleet.reporter`, which tells the store. When a child dies, three things happen at once and
none waits for the other: what is left of its process group is killed, its sessions are reported
dead, so that other workers run its jobs, and its replacement is due. When the supervisor itself
dies, the kernel tells its children to drain.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from stoker.core.clock import Clock
from stoker.core.duration import when
from stoker.core.errors import InvalidOption
from stoker.core.events import Event, Kind
from stoker.core.fleets import DEFAULT_KIND, MOST_WORKERS, FleetWorkerState
from stoker.core.store import Store
from stoker.fleet.process import Process, Sink, describe_exit
from stoker.fleet.reporter import HOST, Reporter
from stoker.fleet.roster import Phase, Roster, Slot
from stoker.fleet.tether import NOT_STARTED
from stoker.settings import FleetSettings

logger = logging.getLogger(__name__)

NAME = "{name}"
"""Stands for the worker's name in a command line."""
_AFTER_DRAIN = 10.0
"""Seconds that a worker has after its own limit to hand back what it interrupted."""
_LAST_REPORT = 5.0
_FIRST_BEAT = 30.0
"""Seconds that a replacement has for its first beat before the next worker retires all the same."""
_LOOK_AGAIN = 0.1


class WorkerProcess(msgspec.Struct, frozen=True, kw_only=True):
    """One worker of a fleet, as its supervisor sees it."""

    name: str
    phase: str
    """A value of `stoker.fleet.roster.Phase`."""
    state: FleetWorkerState = FleetWorkerState.STARTING
    kind: str = DEFAULT_KIND
    pid: int | None
    started_at: datetime | None
    """When its process was started; None while there is none."""
    restarts: int
    quick_deaths: int
    """Deaths in a row, each soon after the start. Several of them: it cannot run at all."""
    last_exit: str | None
    """How the process before it ended."""


class Supervisor:
    """Keeps a number of worker processes alive. Run one per machine and prefix."""

    def __init__(
        self,
        store: Store,
        *,
        command: Sequence[str],
        settings: FleetSettings,
        clock: Clock,
        workers: int | None = None,
        drain: float = 30.0,
        fleet: str | None = None,
        kind: str | None = None,
        env: Mapping[str, str] | None = None,
        sink: Sink | None = None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        """Prepare a fleet; nothing is started before `run`.

        Args:
            store: Open, and open for as long as the fleet runs.
            command: What starts a worker; every ``{name}`` in it becomes the worker's name. Put no
                secrets here: everybody on the machine can read it.
            settings: Prefix of the names, back-off, and the number of workers.
            clock: Time and chance.
            workers: How many to begin with; ``settings.min`` if not given.
            fleet: Name of the fleet, if its workers' prefix says more than that.
            kind: Of the workers, if the fleet has several.
            drain: Seconds that a worker gives its jobs when it is stopped. A worker that is not
                gone ten seconds later is killed.
            env: The whole environment of the workers; None: this process's own.
            sink: Takes the workers' output line by line; None: they write where this process does.
            on_change: Called after each change of `workers`.
        """
        self._store = store
        self._command = list(command)
        self._fleet = fleet or settings.name
        self._kind = kind
        self._clock = clock
        self._env = env
        self._sink = sink
        self._on_change = on_change or _nothing
        self._actor = f"fleet:{self._fleet}"
        self._roster = Roster(
            settings.name,
            backoff=float(settings.backoff),
            cap=float(settings.backoff_cap),
            limit=drain + _AFTER_DRAIN,
        )
        self._children: dict[str, Process] = {}
        self._started: dict[str, datetime] = {}
        self._wake = asyncio.Event()
        self._reporter = Reporter(
            store, actor=self._actor, clock=clock, is_alive=self._is_living_pid
        )
        count = settings.min if workers is None else workers
        self._roster.scale(_checked(count), clock.monotonic())

    @property
    def workers(self) -> list[WorkerProcess]:
        """The workers as they are now, by number."""
        return [self._describe(slot) for slot in self._roster.slots]

    @property
    def size(self) -> int:
        """How many workers are wanted."""
        return self._roster.size

    def scale(self, count: int, *, actor: str | None = None, reason: str = "") -> None:
        """Want another number of workers; surplus ones drain.

        Args:
            count: How many.
            actor: Who wants it, for the audit trail.
            reason: Why, for the audit trail.

        Raises:
            InvalidOption: Not a number from 0 to 1000.
        """
        before = self._roster.size
        self._roster.scale(_checked(count), self._clock.monotonic())
        self._resized(before, actor, reason)

    def spare(
        self,
        count: int,
        names: Collection[str],
        *,
        then: Collection[str] = (),
        actor: str | None = None,
        reason: str = "",
    ) -> None:
        """Want fewer workers; those given up are among the named ones, and retire.

        A worker that retires ends when what it holds has ended, however long that takes.

        Args:
            count: How many are wanted.
            names: Who may go.
            then: Who may go after them, if they are not enough.
            actor: Who wants it, for the audit trail.
            reason: Why, for the audit trail.
        """
        before = self._roster.size
        for group in (names, then):
            self._roster.spare(_checked(count), group)
        self._resized(before, actor, reason)

    def found_ready(self, pids: Collection[int]) -> None:
        """Note which processes have beaten."""
        fresh = [s for s in self._roster.slots if s.pid in pids and not s.is_ready]
        for slot in fresh:
            slot.is_ready = True
        if fresh:
            self._on_change()

    def give_up(self, name: str, *, reason: str) -> None:
        """Kill a worker that never became ready; it is replaced as one that died quickly."""
        for slot in self._roster.slots:
            if slot.name == name and slot.phase is Phase.RUNNING and slot.name in self._children:
                slot.is_given_up = True
                logger.warning("%s is killed and replaced: %s", name, reason)
                self._report(Kind.FLEET_GAVE_UP_WORKER, worker=name, pid=slot.pid, reason=reason)
                self._children[slot.name].kill()

    def replace(self, name: str, *, reason: str) -> None:
        """Let a worker retire, and a fresh one take its place."""
        if self._roster.renew(name):
            self._report(Kind.FLEET_RENEWED_WORKER, worker=name, reason=reason)
            self._wake.set()

    def note(self, kind: Kind, *, actor: str | None = None, **details: object) -> None:
        """Have a line about these workers added to the audit trail."""
        self._tell(kind, actor, None, details)

    async def renew(self) -> None:
        """Replace the workers that run now by fresh ones, one after the other.

        Each retires, so no job is interrupted; the next one follows when the replacement has
        beaten, or the store does not say so for a while.
        """
        for name in [slot.name for slot in self._roster.slots if slot.is_wanted]:
            old = self._children.get(name)
            if old is None:
                continue
            self.replace(name, reason="a rolling restart")
            await old.wait()
            await self._until_beating(name, old.pid)

    async def _until_beating(self, name: str, before: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_BEAT):
                while not self._roster.is_closed:
                    child = self._children.get(name)
                    is_new = child is not None and child.pid != before
                    if child is not None and is_new and await self._reporter.is_beating(child.pid):
                        return
                    await asyncio.sleep(_LOOK_AGAIN)

    def _resized(self, before: int, actor: str | None, reason: str) -> None:
        if self._roster.size != before:
            details = {"reason": reason} if reason else {}
            logger.info("%d workers instead of %d: %s", self._roster.size, before, reason or actor)
            self._report(
                Kind.FLEET_SCALED, actor=actor, before=before, workers=self._roster.size, **details
            )
        self._wake.set()

    def stop(self) -> None:
        """Drain the workers and make `run` return. A second call kills them."""
        self._roster.close(self._clock.monotonic())
        self._wake.set()

    def interrupt(self) -> None:
        """Let the workers give back what runs and end; who does not in time is killed."""
        # A worker that is asked twice, whichever way, stops at once; `stop` asks by SIGTERM.
        for child in self._children.values():
            child.interrupt()
        if not self._roster.is_closed:
            self.stop()

    async def run(self) -> None:
        """Keep the workers alive until `stop`.

        When it is cancelled the workers are killed, and the store is told.
        """
        self._report(Kind.FLEET_STARTED, workers=self._roster.size, host=HOST, pid=os.getpid())
        async with asyncio.TaskGroup() as tasks:
            reporting = tasks.create_task(self._reporter.run())
            try:
                await self._supervise()
            finally:
                await self._say_goodbye(reporting)

    async def _supervise(self) -> None:
        try:
            async with asyncio.TaskGroup() as watchers:
                while not self._roster.is_over:
                    self._wake.clear()
                    await self._act(watchers)
                    await self._until_something_happens()
        finally:
            # Empty but when this was cancelled: nobody is left behind.
            orphans = list(self._children.values())
            self._children.clear()
            for child in orphans:
                child.kill()
            for child in orphans:
                await child.wait()
                self._reporter.report_death(child.pid)

    async def _act(self, watchers: asyncio.TaskGroup) -> None:
        now = self._clock.monotonic()
        for slot in self._roster.to_drain(now):
            self._children[slot.name].drain()
        for slot in self._roster.to_retire():
            self._children[slot.name].retire()
        for slot in self._roster.to_kill(now):
            logger.warning("%s did not stop in time and is killed", slot.name)
            self._children[slot.name].kill()
        for slot in self._roster.to_spawn(now):
            if slot.is_wanted:
                await self._spawn(slot, watchers)
        self._on_change()

    async def _spawn(self, slot: Slot, watchers: asyncio.TaskGroup) -> None:
        command = [part.replace(NAME, slot.name) for part in self._command]
        try:
            child = await Process.spawn(
                slot.name, command, env=self._env, capture=self._sink is not None
            )
        except OSError as error:
            logger.error("%s could not be started: %s", slot.name, error)  # noqa: TRY400
            self._roster.exited(slot, NOT_STARTED, self._clock.monotonic())
            return
        self._children[slot.name] = child
        self._started[slot.name] = when(self._clock.now())
        self._roster.spawned(slot, child.pid, self._clock.monotonic())
        watchers.create_task(self._watch(slot, child))
        if self._sink is not None:
            watchers.create_task(child.forward(self._sink))

    async def _watch(self, slot: Slot, child: Process) -> None:
        code = await child.wait()
        if code == 0 and slot.is_wanted and await self._reporter.was_dismissed(child.pid):
            self._dismiss(slot)
        del self._children[slot.name]
        lived = self._clock.monotonic() - slot.since
        wait = self._roster.exited(slot, code, self._clock.monotonic())
        self._reporter.report_death(child.pid)
        if wait is not None:
            logger.warning(
                "%s %s after %.1f s; replaced in %.1f s",
                slot.name,
                describe_exit(code),
                lived,
                wait,
            )
            self._report(
                Kind.FLEET_RESTARTED_WORKER,
                worker=slot.name,
                pid=child.pid,
                exit=describe_exit(code),
                lived=round(lived, 3),
                wait=wait,
            )
        self._wake.set()

    def _dismiss(self, slot: Slot) -> None:
        before = self._roster.size
        self._roster.dismiss(slot)
        logger.info("%s was sent away and is not replaced", slot.name)
        self._report(
            Kind.FLEET_SCALED,
            worker=slot.name,
            before=before,
            workers=self._roster.size,
            reason="an operator sent the worker away",
        )

    async def _until_something_happens(self) -> None:
        if self._roster.is_over:
            return
        at = self._roster.next_at()
        delay = None if at is None else max(0.0, at - self._clock.monotonic())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._wake.wait()

    async def _say_goodbye(self, reporting: asyncio.Task[None]) -> None:
        self._on_change()
        self._report(Kind.FLEET_STOPPED, host=HOST, pid=os.getpid())
        self._reporter.close()
        await asyncio.wait({reporting}, timeout=_LAST_REPORT)
        reporting.cancel()

    def _report(
        self, kind: Kind, *, actor: str | None = None, worker: str | None = None, **details: object
    ) -> None:
        self._tell(kind, actor, worker, details)

    def _tell(
        self, kind: Kind, actor: str | None, worker: str | None, details: dict[str, object]
    ) -> None:
        # A fleet speaks for itself: behind a gateway it may not write in another's name.
        if actor is not None:
            details["by"] = actor
        details["fleet"] = self._fleet
        if self._kind is not None:
            details["kind"] = self._kind
        self._reporter.report(Event(kind=kind, actor=self._actor, worker=worker, details=details))

    def _describe(self, slot: Slot) -> WorkerProcess:
        return WorkerProcess(
            name=slot.name,
            phase=str(slot.phase),
            state=_state(slot),
            kind=self._kind or DEFAULT_KIND,
            pid=slot.pid,
            started_at=self._started.get(slot.name) if slot.pid is not None else None,
            restarts=slot.restarts,
            quick_deaths=slot.quick_deaths,
            last_exit=None if slot.last_exit is None else describe_exit(slot.last_exit),
        )

    def _is_living_pid(self, pid: int) -> bool:
        return any(child.pid == pid for child in self._children.values())


def _state(slot: Slot) -> FleetWorkerState:
    if slot.phase is Phase.RESTING:
        return FleetWorkerState.BACKING_OFF if slot.quick_deaths else FleetWorkerState.STARTING
    if slot.phase is not Phase.RUNNING:
        return FleetWorkerState.DRAINING
    return FleetWorkerState.READY if slot.is_ready else FleetWorkerState.STARTING


def _nothing() -> None:
    """Do nothing: nobody watches."""


def _checked(count: object) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MOST_WORKERS:
        raise InvalidOption(
            f"the number of workers is {count!r}; expected a whole number from 0 to {MOST_WORKERS}"
        )
    return count
