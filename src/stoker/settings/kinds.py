"""``[fleet.kinds.NAME]``: read one by one, so that an error names the kind and its key."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from stoker.core.errors import InvalidConfig, InvalidOption
from stoker.core.task import check_name
from stoker.settings.sections import FleetKindSettings

Special = Callable[[type, Any], Any]
MOST_WORKERS = 1_000


def read_kinds(
    raw: object, origins: Mapping[str, str], special: Special
) -> dict[str, FleetKindSettings]:
    """Return the kinds of workers that a configuration names.

    Args:
        raw: What stands at ``fleet.kinds``.
        origins: Where each key came from.
        special: Converts what msgspec does not know.

    Raises:
        InvalidConfig: It makes no sense.
    """
    origin = origins.get("fleet.kinds", "configuration")
    if not isinstance(raw, dict):
        raise InvalidConfig(
            f"fleet.kinds ({origin}) is {raw!r}; expected a table a kind: [fleet.kinds.NAME]"
        )
    both = [key for key in ("fleet.min", "fleet.max") if key in origins]
    if raw and both:
        raise InvalidConfig(
            f"{both[0]} ({origins[both[0]]}) is set beside fleet.kinds ({origin}), where each kind "
            f"has bounds of its own; delete {both[0]}",
            key=both[0],
        )
    return {name: _read_kind(name, table, origin, special) for name, table in raw.items()}


def _read_kind(name: Any, table: Any, origin: str, special: Special) -> FleetKindSettings:
    key = f"fleet.kinds.{name}"
    if not isinstance(table, dict):
        raise InvalidConfig(f"{key} ({origin}) is {table!r}; expected a table: [{key}]")
    try:
        check_name(name, what="kind")
        _check_keys(key, table, origin)
        kind = msgspec.convert(_plain(table), FleetKindSettings, strict=False, dec_hook=special)
        for queue in kind.queues:
            check_name(queue, what="queue")
    except InvalidOption as error:
        raise InvalidConfig(f"{key} ({origin}): {error.message}") from None
    except msgspec.ValidationError as error:
        inner = str(error).rpartition("`$.")[2].rstrip("`") if "`$." in str(error) else ""
        said = str(error).partition(" - at `")[0]
        raise InvalidConfig(f"{key}{'.' if inner else ''}{inner} ({origin}): {said}") from None
    _check_ranges(key, kind)
    return kind


def _check_keys(key: str, table: Mapping[str, Any], origin: str) -> None:
    known = FleetKindSettings.__struct_fields__
    for inner in table:
        if inner not in known:
            near = difflib.get_close_matches(str(inner), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise InvalidConfig(f"unknown key {key}.{inner} ({origin}); {hint}", key=key)


def _plain(table: Mapping[str, Any]) -> dict[str, Any]:
    """Take a list of queues for queues without a number."""
    queues = table.get("queues")
    if isinstance(queues, list):
        return {**table, "queues": dict.fromkeys(queues, 0)}
    return dict(table)


def _check_ranges(key: str, kind: FleetKindSettings) -> None:
    most = kind.min if kind.max is None else kind.max
    if not 0 <= kind.min <= MOST_WORKERS:
        raise InvalidConfig(f"{key}.min is {kind.min}; expected 0 to {MOST_WORKERS}")
    if not max(1, kind.min) <= most <= MOST_WORKERS:
        raise InvalidConfig(
            f"{key}.max is {most}; expected {max(1, kind.min)} (its min, and at least 1) to "
            f"{MOST_WORKERS}"
        )
    if kind.concurrency is not None and kind.concurrency < 1:
        raise InvalidConfig(f"{key}.concurrency is {kind.concurrency}; expected at least 1")
