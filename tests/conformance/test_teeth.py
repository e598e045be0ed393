"""The suite has teeth: one line broken in the reference store, and the named test notices.

A suite that passes on a right store proves little until it fails on wrong ones. Each bug here is
one that a store could have; the test that kills it is named, so that a bug nobody notices is seen.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from stoker.core import rules
from stoker.core.lifecycle import Event, State
from stoker.core.job import Outcome
from stoker.stores.memory import MemoryStore, caring, planning, running
from stoker.stores.memory import world as data
from stoker.stores.memory.world import Job, Line, Session, Try, World
from stoker.testing import FakeClock
from stoker.testing.conformance import StoreConformance, moments
from stoker.testing.conformance.hand import Hand
from stoker.testing.conformance.hygiene import check_hygiene


@dataclass(frozen=True)
class Bug:
    """A replacement of one name, and the test that must fail by it."""

    what: str
    where: Any
    name: str
    instead: Any
    killer: str
    given: dict[str, Any] = field(default_factory=dict)


def patched(make: Callable[[Any], Any], where: Any, name: str) -> Any:
    """Return what `make` makes of the present value."""
    return make(getattr(where, name))


def forgetful(lease: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(world: World, session: Session, **how: Any) -> Any:
        session.nonce = None
        return lease(world, session, **how)

    return wrong


def eager(fire: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(world: World, firing: Any, actor: str) -> Any:
        return fire(world, msgspec.structs.replace(firing, manual=True), actor)

    return wrong


def wordy(self: World, job: Job, progress: Any, note: Any, logs: Any) -> None:
    job.progress, job.note = progress, note
    job.logs.extend(logs)


def usurped(world: World, name: str, holder: str, ttl: float) -> Any:
    world.terms.pop(name, None)
    return planning.lead.__wrapped__(world, name, holder, ttl)  # type: ignore[attr-defined]
