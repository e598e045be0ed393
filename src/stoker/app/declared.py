"""Declared schedules against those in the store: which to put, and what of the old ones stays."""

from collections.abc import Mapping
from typing import Any

import msgspec

from stoker.core.records import ScheduleSpec


def changes(
    declared: Mapping[str, ScheduleSpec], stored: Mapping[str, ScheduleSpec]
) -> list[ScheduleSpec]:
    """Return the schedules to put: those that are new, and those whose declaration changed.

    Args:
        declared: By name, from the code.
        stored: By name, from the store.
    """
    return [
        _continuing(spec, stored.get(name))
        for name, spec in declared.items()
        if name not in stored or _rule(stored[name]) != _rule(spec)
    ]


def _rule(spec: ScheduleSpec) -> ScheduleSpec:
    return msgspec.structs.replace(spec, paused=False, next_at=None)


def _continuing(spec: ScheduleSpec, stored: ScheduleSpec | None) -> ScheduleSpec:
    """Keep the pause, and the planned moment as long as the rule is the same.

    A changed payload must not make missed firings vanish or an interval lose its phase.
    """
    if stored is None:
        return spec
    kept: dict[str, Any] = {"paused": stored.paused}
    if (spec.cron, spec.every, spec.timezone) == (stored.cron, stored.every, stored.timezone):
        kept["next_at"] = stored.next_at
    return msgspec.structs.replace(spec, **kept)
