"""Schedules to the arguments of ``put_schedules`` and ``fire``, and back."""

from collections.abc import Sequence
from typing import Any

import msgspec

from stoker.core.duration import when
from stoker.core.errors import InvalidOption
from stoker.core.job import Submitted
from stoker.core.records import Firing, ScheduleInfo, ScheduleSpec
from stoker.core.retry import RetryPolicy
from stoker.stores.redis.records import pack, unpack
from stoker.stores.redis.submitting import answer, packed_job


def _plain(value: Any) -> Any:
    if isinstance(value, RetryPolicy):
        return msgspec.Raw(value.to_json())
    raise NotImplementedError(f"a {type(value).__name__} has no JSON form")


def _whole(wanted: type, value: Any) -> Any:
    if wanted is RetryPolicy:
        return RetryPolicy.from_json(msgspec.json.encode(value))
    raise NotImplementedError(f"cannot make a {wanted.__name__} of JSON")


_write_core = msgspec.json.Encoder(enc_hook=_plain).encode
_read_core = msgspec.json.Decoder(ScheduleSpec, dec_hook=_whole).decode


def put_arguments(schedules: Sequence[ScheduleSpec], remove: Sequence[str], actor: str) -> bytes:
    """Return what the function takes.

    Raises:
        InvalidOption: A text that UTF-8 cannot say.
    """
    rows = [(spec.name, _core(spec), spec.paused, spec.next_at) for spec in schedules]
    return pack((actor, rows, list(remove)))


def schedule_of(packed: bytes) -> ScheduleInfo:
    """Return a schedule as the store keeps it."""
    text, paused, next_at, last_at, last_job_id, fired, created, updated = unpack(packed)
    spec = msgspec.structs.replace(_read_core(text), paused=paused, next_at=_number(next_at))
    return ScheduleInfo(
        spec=spec,
        last_at=_number(last_at),
        last_job_id=last_job_id or None,
        fired=fired,
        created_at=when(created),
        updated_at=when(updated),
    )


def fire_arguments(firings: Sequence[Firing], actor: str) -> bytes:
    """Return what the function takes."""
    rows = [
        (
            firing.name,
            firing.at,
            firing.expect,
            firing.next_at,
            firing.manual,
            None if firing.job is None else packed_job(firing.job),
        )
        for firing in firings
    ]
    return pack((actor, rows))


def fire_answers(firings: Sequence[Firing], reply: bytes) -> list[Submitted | None]:
    """Return what became of each firing."""
    return [_fired(firing, told) for firing, told in zip(firings, unpack(reply), strict=True)]


def _fired(firing: Firing, told: Any) -> Submitted | None:
    if told is False:
        return None
    if firing.job is None:
        return Submitted(id="", created=False)
    return answer(firing.job, told)


def _core(spec: ScheduleSpec) -> str:
    """Return as text what neither a pause nor a firing changes."""
    try:
        return _write_core(msgspec.structs.replace(spec, paused=False, next_at=None)).decode()
    except UnicodeError as error:
        raise InvalidOption(
            f"schedule {spec.name!r} holds text that UTF-8 cannot say: {error}"
        ) from None


def _number(value: Any) -> float | None:
    return None if value is False else float(value)
