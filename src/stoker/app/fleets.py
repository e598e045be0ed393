"""What people ask of fleets, from the shell and over HTTP alike: find one, check, write it down."""

from collections.abc import Sequence

import msgspec

from stoker.core.errors import FleetNotFound, InvalidOption, Refused
from stoker.core.fleets import (
    MOST_WORKERS,
    Action,
    FleetCommand,
    FleetInfo,
    FleetKind,
    fleets_among,
)
from stoker.core.job import SessionState
from stoker.core.store import Store

ENDED = frozenset({SessionState.LEFT, SessionState.DEAD})
NEWS = {"scale": "scaling", "drain": "draining", "stop": "stopping", "reload": "reloading"}
"""What a fleet does once it heard of an action."""


class FleetOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants of a fleet that he has not named yet."""

    action: Action
    kind: str | None = None
    """Of which kind to have more or fewer workers; None: of the only one."""
    min: int | None = None
    max: int | None = None
    reason: str = ""


async def afleets(store: Store, *, ended: bool = False) -> list[FleetInfo]:
    """Return the living fleets, by name and host; with ``ended`` also those of the last day."""
    return fleets_among(await store.sessions(ended=ended))


async def afind_fleet(store: Store, name: str) -> FleetInfo:
    """Return a fleet by its id, its name, or ``NAME@HOST``.

    Raises:
        FleetNotFound: There is none.
        Refused: Several are named so.
    """
    found = [fleet for fleet in await afleets(store, ended=True) if name in _names(fleet)]
    living = [fleet for fleet in found if fleet.state not in ENDED]
    if len(living) > 1:
        places = " or ".join(f"{fleet.id} (on {fleet.host})" for fleet in living)
        raise Refused(f"{len(living)} fleets are named {name[:100]!r}; write {places}")
    if living or found:
        return (living or sorted(found, key=lambda fleet: fleet.seen_at, reverse=True))[0]
    raise FleetNotFound(
        f"no fleet has the id or name {name[:100]!r}; `stoker workers ls` shows the fleets that "
        "live",
        fleet=name[:100],
    )


async def acommand_fleet(
    store: Store, name: str, order: FleetOrder, *, actor: str
) -> tuple[FleetInfo, FleetCommand]:
    """Write down what a fleet is to do; it reads it within a second or two.

    Args:
        store: Open.
        name: Id, name, or ``NAME@HOST``.
        order: What it is to do.
        actor: Who wants it, for the audit trail.

    Raises:
        FleetNotFound, InvalidOption: There is no such fleet or kind, or the bounds make no sense.
        Refused: The fleet is gone, or several are named so.
    """
    fleet = await afind_fleet(store, name)
    if fleet.state in ENDED:
        raise Refused(f"fleet {fleet.name!r} is gone already: it is {fleet.state}", id=fleet.id)
    if fleet.state is SessionState.DRAINING and order.action in {"scale", "reload"}:
        raise Refused(f"fleet {fleet.name!r} is about to end: it is draining", id=fleet.id)
    kind = _kind(fleet, order).name if order.action == "scale" else None
    command = FleetCommand(
        session=fleet.id,
        action=order.action,
        kind=kind,
        min=order.min,
        max=order.max,
        reason=order.reason,
    )
    await store.record([command.as_event(fleet.name, actor=actor)])
    return fleet, command


def _names(fleet: FleetInfo) -> set[str]:
    return {fleet.id, fleet.name, f"{fleet.name}@{fleet.host}"}


def _kind(fleet: FleetInfo, order: FleetOrder) -> FleetKind:
    """Return the kind that is meant, having looked whether the bounds make sense for it."""
    kind = _named(fleet, order.kind)
    if order.min is None and order.max is None:
        raise InvalidOption("to scale a fleet, say min, max or both")
    least = kind.min if order.min is None else order.min
    most = kind.max if order.max is None else order.max
    if not 0 <= least <= most <= MOST_WORKERS:
        raise InvalidOption(
            f"the kind {kind.name!r} would have {least} to {most} workers; expected "
            f"0 <= min <= max <= {MOST_WORKERS} (it has {kind.min} to {kind.max} now)"
        )
    return kind


def _named(fleet: FleetInfo, name: str | None) -> FleetKind:
    kinds: Sequence[FleetKind] = fleet.kinds
    found = [kind for kind in kinds if name is None or kind.name == name]
    if len(found) == 1:
        return found[0]
    known = ", ".join(kind.name for kind in kinds) or "none"
    if name is None:
        raise InvalidOption(f"fleet {fleet.name!r} has several kinds; say which of {known}")
    raise InvalidOption(f"fleet {fleet.name!r} has no kind {name[:100]!r}; its kinds are {known}")
