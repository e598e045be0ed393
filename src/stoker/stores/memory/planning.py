"""Schedules and leaders: each change a compare-and-set, so that any number of keepers agree."""

from collections.abc import Sequence

import msgspec

from stoker.core.duration import when
from stoker.core.events import Kind
from stoker.core.job import Submitted
from stoker.core.records import Firing, ScheduleInfo, ScheduleSpec, Term
from stoker.stores.memory.accepting import accept
from stoker.stores.memory.world import World

_TICK = 1e-6
"""Seconds between two terms of one name, should the clock stand still: a term is its moment."""


def put_schedules(
    world: World, specs: Sequence[ScheduleSpec], remove: Sequence[str], actor: str
) -> list[str]:
    """See `Store.put_schedules`."""
    new = [spec.name for spec in specs if spec.name not in world.schedules]
    for spec in specs:
        _put(world, spec, actor)
    missing = [name for name in remove if name not in world.schedules]
    for name in remove:
        if world.schedules.pop(name, None) is not None:
            world.log(Kind.SCHEDULE_REMOVED, actor, name=name)
    return new + missing


def schedules(world: World, names: Sequence[str]) -> list[ScheduleInfo]:
    """See `Store.schedules`."""
    return [world.schedules[n] for n in sorted(world.schedules) if not names or n in names]


def fire(world: World, firing: Firing, actor: str) -> Submitted | None:
    """Obey one firing, if the schedule still stands where the caller saw it."""
    known = world.schedules.get(firing.name)
    if known is None:
        return None
    spec = known.spec
    if not firing.manual:
        if spec.paused or spec.next_at != firing.expect:
            return None
        spec = msgspec.structs.replace(spec, next_at=firing.next_at)
    known = msgspec.structs.replace(known, spec=spec)
    world.schedules[firing.name] = known
    if firing.job is None:
        return Submitted(id="", created=False)
    made = accept(world, firing.job)
    world.schedules[firing.name] = msgspec.structs.replace(
        known, last_at=firing.at, last_job_id=made.id, fired=known.fired + 1
    )
    job = world.jobs.get(made.id)
    world.log(Kind.SCHEDULE_FIRED, actor, job=job, name=firing.name, at=firing.at)
    return made


def lead(world: World, name: str, holder: str, ttl: float) -> Term | None:
    """See `Store.lead`."""
    present = world.terms.get(name)
    until = world.now + ttl
    if present is not None and present.expires_at > world.now:
        if present.holder != holder:
            return None
        world.terms[name] = msgspec.structs.replace(present, expires_at=until)
        return world.terms[name]
    elected = max(world.now, world.elected.get(name, 0.0) + _TICK)
    world.elected[name] = elected
    world.terms[name] = Term(name, holder, elected, until)
    world.log(Kind.KEEPER_ELECTED, f"keeper:{holder}", name=name, holder=holder)
    return world.terms[name]


def resign(world: World, term: Term) -> bool:
    """See `Store.resign`."""
    present = world.terms.get(term.name)
    if present is None or (present.holder, present.elected_at) != (term.holder, term.elected_at):
        return False
    del world.terms[term.name]
    world.log(Kind.KEEPER_RESIGNED, f"keeper:{term.holder}", name=term.name, holder=term.holder)
    return True


def _put(world: World, spec: ScheduleSpec, actor: str) -> None:
    now = when(world.now)
    known = world.schedules.get(spec.name)
    if known is None:
        world.schedules[spec.name] = ScheduleInfo(spec=spec, created_at=now, updated_at=now)
        world.log(Kind.SCHEDULE_PUT, actor, name=spec.name)
        return
    world.schedules[spec.name] = msgspec.structs.replace(known, spec=spec, updated_at=now)
    if msgspec.structs.replace(known.spec, paused=spec.paused) != spec:
        world.log(Kind.SCHEDULE_PUT, actor, name=spec.name)
    if known.spec.paused != spec.paused:
        kind = Kind.SCHEDULE_PAUSED if spec.paused else Kind.SCHEDULE_RESUMED
        world.log(kind, actor, name=spec.name)
