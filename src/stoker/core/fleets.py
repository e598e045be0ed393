"""Fleets as a store knows them: a session that tells of its workers, and commands in the trail.

A fleet beats like a worker, in a session whose `kind` is `FLEET`: it holds no jobs, takes none, and
is no worker (`workers_among` leaves it out). What it tells of itself is a `FleetReport` in the
session's details.

What an operator asks of a fleet is a line of the audit trail (`FleetCommand.as_event`), which names
the session that is meant. The fleet follows the trail and obeys. So who asked, when and why cannot
be missing, and the way is open wherever a fleet reaches its store.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

import msgspec

from stoker.core.events import Event, EventRecord, Kind
from stoker.core.job import SessionInfo, SessionState

FLEET = "fleet"
"""`SessionSpec.kind` of a fleet."""
DEFAULT_KIND = "default"
"""The kind of a fleet whose configuration names none."""
PREFIX = "fleet:"
"""Before a fleet's name, as the name of its session and as an actor."""
MOST_WORKERS = 1_000

Action = Literal["scale", "drain", "stop", "reload"]


class FleetWorkerState(StrEnum):
    """Where one worker of a fleet is."""

    STARTING = "starting"
    """Its process runs, and has not beaten yet."""
    READY = "ready"
    """It is registered and has beaten."""
    DRAINING = "draining"
    """It was asked to end."""
    BACKING_OFF = "backing_off"
    """It has no process: it died, and waits to be replaced."""


class FleetWorker(msgspec.Struct, frozen=True, kw_only=True):
    """One worker of a fleet, as its supervisor sees it."""

    name: str
    kind: str
    state: FleetWorkerState
    pid: int | None = None
    started_at: datetime | None = None
    """When its process was started; None while there is none."""
    restarts: int = 0
    quick_deaths: int = 0
    """Deaths in a row, each soon after the start. Several of them: it cannot run at all."""
    last_exit: str | None = None
    """How the process before it ended."""


class FleetKind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of workers in a fleet."""

    name: str
    program: str
    """What is started: ``python`` or the name of the program."""
    queues: tuple[str, ...] = ()
    """Those that it serves; empty: all."""
    concurrency: int
    min: int
    max: int
    is_changed: bool = False
    """Whether its bounds were changed since the fleet started or was reloaded."""
    start_within: float
    """Seconds within which jobs should start."""
    wanted: int
    """Workers that it should have now."""
    ready: int
    is_failing: bool = False
    """Whether its workers die, again and again, as soon as they start, and none is ready."""
    reason: str = ""
    """Why it has the size that it has."""


class FleetReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a fleet tells of itself."""

    kinds: tuple[FleetKind, ...] = ()
    workers: tuple[FleetWorker, ...] = ()


class FleetInfo(FleetReport, frozen=True, kw_only=True):
    """A fleet as the store sees it."""

    id: str
    name: str
    host: str
    pid: int
    version: str
    state: SessionState
    started_at: datetime
    seen_at: datetime
    expires_at: datetime


class FleetCommand(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator asks of one fleet."""

    session: str
    """Id of the session that is meant."""
    action: Action
    kind: str | None = None
    """For ``scale``: of which kind."""
    min: int | None = None
    max: int | None = None
    reason: str = ""

    def as_event(self, fleet: str, *, actor: str) -> Event:
        """Return the line of the trail that says it."""
        details = {key: value for key, value in msgspec.to_builtins(self).items() if value != ""}
        details = {key: value for key, value in details.items() if value is not None}
        details["fleet"] = fleet
        return Event(
            kind=Kind.FLEET_COMMANDED, actor=actor, worker=f"{PREFIX}{fleet}", details=details
        )


def command_in(event: EventRecord) -> FleetCommand | None:
    """Return the command that a line of the trail says; None if it says none of sense."""
    try:
        return msgspec.convert(dict(event.details), FleetCommand)
    except msgspec.ValidationError:
        return None


def session_in(details: Mapping[str, Any]) -> str:
    """Return the id of the session that a command is for."""
    found = details.get("session")
    return found if isinstance(found, str) else ""


def workers_among(sessions: Iterable[SessionInfo]) -> list[SessionInfo]:
    """Return the sessions of workers."""
    return [session for session in sessions if session.kind != FLEET]


def fleets_among(sessions: Iterable[SessionInfo]) -> list[FleetInfo]:
    """Return the fleets, by name, host and process; one that tells no sense has no kinds."""
    found = [_fleet(session) for session in sessions if session.kind == FLEET]
    return sorted(found, key=lambda fleet: (fleet.name, fleet.host, fleet.pid))


def _fleet(session: SessionInfo) -> FleetInfo:
    try:
        report = msgspec.convert(dict(session.details), FleetReport)
    except msgspec.ValidationError:
        report = FleetReport()
    return FleetInfo(
        id=session.id,
        name=session.name.removeprefix(PREFIX),
        host=session.host,
        pid=session.pid,
        version=session.version,
        state=session.state,
        started_at=session.started_at,
        seen_at=session.seen_at,
        expires_at=session.expires_at,
        kinds=report.kinds,
        workers=report.workers,
    )
