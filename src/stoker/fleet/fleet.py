"""A fleet: kinds of workers, each under a supervisor of its own, and what is asked of all of them.

`stoker.fleet.running` lets it run. What an operator asks comes in by `Fleet.obey`, whichever way it
came.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence

from stoker.core.clock import Clock
from stoker.core.errors import InvalidConfig
from stoker.core.events import Kind
from stoker.core.fleets import (
    DEFAULT_KIND,
    MOST_WORKERS,
    FleetCommand,
    FleetKind,
    FleetReport,
    FleetWorker,
)
from stoker.core.job import SessionInfo
from stoker.core.records import Counts
from stoker.core.store import Store
from stoker.fleet import kinds
from stoker.fleet.process import Sink
from stoker.fleet.readiness import Readiness
from stoker.fleet.scaling import Scaling, own_sessions
from stoker.fleet.supervisor import Supervisor, WorkerProcess
from stoker.fleet.upkeep import Upkeep

logger = logging.getLogger(__name__)


class Unit:
    """The workers of one kind, and whoever looks after them."""

    def __init__(
        self,
        store: Store,
        kind: kinds.Kind,
        *,
        clock: Clock,
        drain: float,
        env: Mapping[str, str] | None,
        sink: Sink | None,
        on_change: Callable[[], None],
    ) -> None:
        """Prepare; see `Fleet`."""
        settings = kind.settings
        self.kind = kind
        self.supervisor = Supervisor(
            store,
            command=kind.command,
            settings=settings,
            clock=clock,
            drain=drain,
            fleet=kind.fleet,
            kind=kind.name if kind.is_named else None,
            env=env,
            sink=sink,
            on_change=on_change,
        )
        self.scaling = Scaling(
            store,
            self.supervisor,
            settings=settings,
            slots=kind.slots,
            queues=kind.queues,
            clock=clock,
        )
        self.readiness = Readiness(self.supervisor, within=kind.ready_within, clock=clock)
        self.upkeep = Upkeep(self.supervisor, settings=settings, clock=clock)
        self._idle: list[str] = []

    def look(self, sessions: Sequence[SessionInfo], counts: Counts | None) -> None:
        """Take what the store says, and decide."""
        self.readiness.look(sessions)
        mine = own_sessions(sessions, self.supervisor.workers)
        self._idle = [info.name for info in mine.values() if not info.busy]
        if counts is not None and self.scaling.is_on:
            self.scaling.look(counts, sessions)

    def bound(self, least: int, most: int, *, actor: str, reason: str) -> None:
        """Change how few and how many workers there may be."""
        self.scaling.bound(least, most, self._idle, actor=actor, reason=reason)

    def report(self) -> FleetKind:
        """Say how it is."""
        bounds = self.scaling.bounds
        return FleetKind(
            name=self.kind.name,
            program=self.kind.program,
            queues=self.kind.queues,
            concurrency=self.kind.slots,
            min=bounds.least,
            max=bounds.most,
            is_changed=self.scaling.is_changed,
            start_within=bounds.start_within,
            wanted=self.supervisor.size,
            ready=sum(worker.state == "ready" for worker in self.supervisor.workers),
            is_failing=self.scaling.is_failing,
            reason=self.scaling.reason,
        )


class Fleet:
    """The workers of one machine.

    Attributes:
        name: Of the fleet.
        units: Its kinds by name.
        is_stopping: Whether it was asked to end.
        record: Takes lines for the audit trail.
    """

    def __init__(
        self,
        store: Store,
        given: Sequence[kinds.Kind],
        *,
        clock: Clock,
        drain: float = 30.0,
        env: Mapping[str, str] | None = None,
        sink: Sink | None = None,
    ) -> None:
        """Prepare a fleet; nothing is started before `stoker.fleet.running.run_fleet`.

        Args:
            store: Open, and open for as long as the fleet runs.
            given: At least one kind, all of the same fleet.
            clock: Time and chance.
            drain: Seconds that a worker gives its jobs when it is stopped. A worker that is not
                gone ten seconds later is killed.
            env: The environment of the workers, to which a kind may add; None: this process's own.
            sink: Takes the workers' output line by line; None: they write where this process does.

        Raises:
            InvalidConfig: There is no kind.
        """
        if not given:
            raise InvalidConfig("a fleet has no kinds of workers; expected at least one")
        self.name = given[0].fleet
        self.is_stopping = False
        self.on_change: list[Callable[[], None]] = []
        self._reloads: list[Callable[[], None]] = []
        self.units = {
            kind.name: Unit(
                store,
                kind,
                clock=clock,
                drain=drain,
                env=_environment(kind, env),
                sink=sink,
                on_change=self._changed,
            )
            for kind in given
        }

    @property
    def workers(self) -> list[WorkerProcess]:
        """The workers of all kinds as they are now."""
        return [worker for unit in self.units.values() for worker in unit.supervisor.workers]

    @property
    def supervisor(self) -> Supervisor:
        """That of the first kind, which is the only one unless kinds are named."""
        return next(iter(self.units.values())).supervisor

    def look(self, sessions: Sequence[SessionInfo], counts: Counts | None) -> None:
        """Take what the store says, and decide."""
        for unit in self.units.values():
            unit.look(sessions, counts)

    def blind(self) -> None:
        """Note that the store did not answer."""
        for unit in self.units.values():
            unit.readiness.blind()

    def stop(self) -> None:
        """Drain all workers and make the fleet end. A second call kills them."""
        self.is_stopping = True
        for unit in self.units.values():
            unit.supervisor.stop()
        self._changed()

    def interrupt(self) -> None:
        """Let all workers give back what runs, and make the fleet end."""
        self.is_stopping = True
        for unit in self.units.values():
            unit.supervisor.interrupt()
        self._changed()

    def on_reload(self, call: Callable[[], None]) -> None:
        """Have something called when a rolling restart is asked for."""
        self._reloads.append(call)

    def reload(self) -> None:
        """Ask for a rolling restart."""
        for call in self._reloads:
            call()

    async def renew(self) -> None:
        """Go back to the bounds of the configuration, and replace the workers one by one."""
        for unit in self.units.values():
            unit.scaling.reset()
        for unit in self.units.values():
            await unit.supervisor.renew()

    def obey(self, command: FleetCommand, *, actor: str) -> None:
        """Do what an operator asks; what makes no sense is written into the log and left."""
        logger.info("%s asks: %s (%s)", actor, command.action, command.reason or "no reason given")
        if command.action == "scale":
            self._scale(command, actor)
        elif command.action == "drain" and not self.is_stopping:
            self.stop()
        elif command.action == "stop":
            self.interrupt()
        elif command.action == "reload":
            self.reload()

    def report(self) -> FleetReport:
        """Say how the fleet is."""
        return FleetReport(
            kinds=tuple(unit.report() for unit in self.units.values()),
            workers=tuple(_shown(worker) for worker in self.workers),
        )

    def _scale(self, command: FleetCommand, actor: str) -> None:
        unit = self.units.get(command.kind or DEFAULT_KIND)
        if unit is None or self.is_stopping:
            logger.warning("there is no kind %r to scale; nothing is done", command.kind)
            return
        before = unit.scaling.bounds
        least = before.least if command.min is None else command.min
        most = before.most if command.max is None else command.max
        if not 0 <= least <= most <= MOST_WORKERS:
            logger.warning("%d to %d workers are no bounds; nothing is done", least, most)
            return
        unit.bound(least, most, actor=actor, reason=command.reason)
        unit.supervisor.note(
            Kind.FLEET_BOUNDED,
            actor=actor,
            min=least,
            max=most,
            before=[before.least, before.most],
            reason=command.reason,
        )
        self._changed()

    def _changed(self) -> None:
        for call in self.on_change:
            call()


def _environment(kind: kinds.Kind, env: Mapping[str, str] | None) -> Mapping[str, str] | None:
    if not kind.env:
        return env
    given = os.environ if env is None else env  # noqa: TID251 - handed on, nothing is read from it
    return {**given, **kind.env}


def _shown(worker: WorkerProcess) -> FleetWorker:
    return FleetWorker(
        name=worker.name,
        kind=worker.kind,
        state=worker.state,
        pid=worker.pid,
        started_at=worker.started_at,
        restarts=worker.restarts,
        quick_deaths=worker.quick_deaths,
        last_exit=worker.last_exit,
    )
