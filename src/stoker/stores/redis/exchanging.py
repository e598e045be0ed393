"""What workers say to the arguments of ``exchange`` and ``beat``, and the answers back."""

import contextlib
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import msgspec

from stoker.core.errors import LeaseLost
from stoker.core.job import (
    BeatReply,
    Command,
    Exchanged,
    HeldJob,
    Leased,
    LogLine,
    SessionSpec,
    Settled,
    Settlement,
)
from stoker.stores.redis.records import INLINE, blob, pack, read_spec, unpack, write_json

_ANSWERS = {ord("0"): Settled.OK, ord("1"): Settled.REPEATED, ord("2"): Settled.LEASE_LOST}
_NUMBERS = 5
"""How many numbers a lease has in the reply."""
_ANSWERED = 4
LONGEST = 100 * 365 * 86_400.0
"""Seconds that stand for ever."""


def exchange_arguments(
    session_id: str,
    settlements: Sequence[Settlement],
    *,
    queues: Mapping[str, int],
    want: int,
    nonce: str,
    aged: int,
    ids: Sequence[str],
) -> bytes:
    """Return what the function takes."""
    told = [_settlement(settlement) for settlement in settlements]
    return pack((session_id, told, list(queues.items()), want, nonce, max(0, aged), ids))


def exchanged(reply: Sequence[Any], session_id: str, nonce: str) -> Exchanged:
    """Return what an exchange gave.

    Raises:
        LeaseLost: The session may not work.
    """
    if len(reply) < _ANSWERED:
        raise LeaseLost(
            f"session {session_id} is {reply[0].decode()}; drop its jobs and beat with a new id",
            session=session_id,
        )
    settled, numbers, specs, parents = reply
    leased: list[Leased] = []
    if specs:
        found = dict(zip(parents[::2], parents[1::2], strict=True))
        values = unpack(numbers)
        for place, kept in enumerate(specs):
            own = values[place * _NUMBERS : place * _NUMBERS + _NUMBERS]
            leased.append(_leased(kept, nonce, own, found.get(place)))
    return Exchanged([_ANSWERS[answer] for answer in settled], leased)


def beat_arguments(session: SessionSpec, held: Sequence[HeldJob], ttl: float) -> bytes:
    """Return what the function takes."""
    joining = {"session": session.id, "host": session.host, "pid": session.pid}
    told = [
        (job.id, job.epoch, job.nonce, _time(job.ran_for), job.progress, job.note, _lines(job.logs))
        for job in held
    ]
    spec = write_json(session)
    parts = (session.id, session.name, session.state.value, spec, ttl, told, write_json(joining))
    return pack(parts)


def beat_reply(reply: bytes) -> BeatReply:
    """Return what the store tells a session."""
    alive, cancel, lost, command = unpack(reply)
    return BeatReply(
        alive=alive,
        cancel=tuple(cancel),
        lost=tuple(lost),
        command=Command(command) if command else None,
    )


def _settlement(told: Settlement) -> tuple[Any, ...]:
    inline, large = _result(told.result)
    first = (
        told.id,
        told.epoch,
        told.nonce,
        told.outcome.value,
        _time(told.ran_for),
        inline,
        large,
    )
    error = told.error
    if error is None and told.retry_in is None and told.progress is None and told.note is None:
        return (*first, None, None, None, None, None, _lines(told.logs)) if told.logs else first
    return (
        *first,
        None if error is None else write_json(error),
        None if error is None else error.code,
        _time(told.retry_in),
        told.progress,
        told.note,
        _lines(told.logs),
    )


def _time(seconds: float | None) -> float | None:
    """Return a time that the server can count with, whatever a worker reckoned."""
    if seconds is None or isfinite(seconds):
        return seconds
    return LONGEST if seconds > 0 else 0.0


def _result(result: bytes | None) -> tuple[str | None, msgspec.Raw | None]:
    if result is None:
        return None, None
    if len(result) <= INLINE:
        with contextlib.suppress(UnicodeError):
            return result.decode(), None
    return None, blob(result)


def _lines(lines: Sequence[LogLine]) -> list[str] | None:
    return [write_json(line) for line in lines] or None


def _leased(
    kept: bytes, nonce: str, numbers: Sequence[int], parents: Sequence[Any] | None
) -> Leased:
    spec, payload = read_spec(kept)
    attempt, epoch, failed, lost, cancel_requested = numbers
    results, names = (None, None) if parents is None else _parents(parents)
    return Leased(
        id=spec.id,
        task=spec.task,
        payload=payload,
        queue=spec.queue,
        attempt=attempt,
        epoch=epoch,
        nonce=nonce,
        timeout=spec.timeout,
        soft_timeout=spec.soft_timeout,
        failed=failed,
        lost=lost,
        retry=spec.retry,
        parents=results,
        parent_names=names if spec.workflow_id is not None else None,
        tenant=spec.tenant,
        workflow_id=spec.workflow_id,
        headers=spec.headers,
        cancel_requested=bool(cancel_requested),
    )


def _parents(told: Sequence[Any]) -> tuple[dict[str, bytes], dict[str, str]]:
    rows = list(zip(told[::3], told[1::3], told[2::3], strict=True))
    results = {job_id.decode(): result for job_id, _, result in rows if result is not None}
    names = {job_id.decode(): node.decode() for job_id, node, _ in rows if node is not None}
    return results, names


_read_session = msgspec.json.Decoder(SessionSpec).decode


def session_of(text: str) -> SessionSpec:
    """Return a session as it told itself."""
    return _read_session(text)
