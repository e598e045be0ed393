"""What a client may ask. Whatever is not named here is refused.

A client of scope ``full`` may call every verb. One of scope ``worker`` runs jobs of its queues
and looks after its own sessions; the rest of the store is none of its business. Its wish to lead
is answered as if somebody else led: the keeper stands beside the store.

A fleet is such a client too. So it may count the jobs of its queues, which says how many workers
they need, and follow the audit trail for commands to its own sessions, and for them alone.

Sessions belong to whoever opened them, whatever his scope.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from stoker.core.errors import Forbidden
from stoker.core.events import EventRecord, Kind
from stoker.core.fleets import session_in
from stoker.core.job import SessionInfo
from stoker.core.records import Counts, QueueInfo
from stoker.core.wire.records import CENTURY, WireEventQuery
from stoker.core.wire.verbs import (
    BeatParams,
    EventsParams,
    ExchangeParams,
    ReapParams,
    RecordParams,
    WaitParams,
)
from stoker.server.gateway.authority import SessionBook
from stoker.server.identity import Identity

DECLINED = msgspec.UNSET
"""Instead of parameters: the store is not asked, the answer is None."""

_FLEET = frozenset(
    {
        Kind.FLEET_STARTED,
        Kind.FLEET_STOPPED,
        Kind.FLEET_RESTARTED_WORKER,
        Kind.FLEET_RENEWED_WORKER,
        Kind.FLEET_GAVE_UP_WORKER,
        Kind.FLEET_SCALED,
        Kind.FLEET_BOUNDED,
    }
)


def permit(verb: str, params: Any, identity: Identity, book: SessionBook) -> Any:
    """Return the parameters with which a client may call a verb, perhaps narrower than his.

    Raises:
        Forbidden: He may not call it, or not with these.
        LeaseLost: The session is somebody else's.
    """
    if isinstance(params, ExchangeParams):
        book.check(params.session_id, identity)
    elif isinstance(params, BeatParams):
        book.check(params.session.id, identity)
    if identity.gateway_scope == "full":
        return params
    rule = RULES.get(verb)
    if rule is None:
        raise Forbidden(
            f"{identity.name!r} may run jobs and may not call {verb!r}; that takes a client of "
            "scope full"
        )
    return rule(params, identity, book)


def visible(verb: str, answer: Any, identity: Identity, book: SessionBook) -> Any:
    """Return the part of an answer that a client may see."""
    if identity.gateway_scope == "full":
        return answer
    if verb == "queues":
        queues: list[QueueInfo] = answer
        return [q for q in queues if not identity.queues or q.name in identity.queues]
    if verb == "sessions":
        sessions: list[SessionInfo] = answer
        return [session for session in sessions if book.owns(session.id, identity)]
    if verb == "events":
        return [_told(event, identity, book) for event in answer]
    if verb == "counts":
        return _counted(answer, identity)
    return answer


def _told(event: EventRecord, identity: Identity, book: SessionBook) -> EventRecord:
    """Show a command to its own fleet; of every other line only that it is there."""
    session = session_in(event.details) if event.kind is Kind.FLEET_COMMANDED else ""
    # The book is young after a restart, and a command that is passed over is never read again.
    if session and not book.is_foreign(session, identity):
        return event
    return EventRecord(seq=event.seq, at=event.at, kind=Kind.FLEET_COMMANDED, actor="")


def _counted(counts: Counts, identity: Identity) -> Counts:
    if not identity.queues:
        return counts
    queues = identity.queues
    return Counts(
        now=counts.now,
        tallies=[tally for tally in counts.tallies if tally.queue in queues],
        oldest={name: at for name, at in counts.oldest.items() if name in queues},
        activity=[line for line in counts.activity if line.queue in queues],
    )


def _as_it_is(params: Any, _: Identity, __: SessionBook) -> Any:
    return params


def _exchange(params: ExchangeParams, identity: Identity, _: SessionBook) -> ExchangeParams:
    _check_queues(params.queues, identity)
    return params


def _wait(params: WaitParams, identity: Identity, _: SessionBook) -> WaitParams:
    _check_queues(params.queues, identity)
    return params


def _reap(params: ReapParams, identity: Identity, book: SessionBook) -> ReapParams:
    """A fleet says which of its own workers died. What else is lost, the keeper finds."""
    foreign = [session for session in params.sessions if not book.owns(session, identity)]
    if foreign or not params.sessions:
        raise Forbidden(f"{identity.name!r} may reap its own sessions only")
    return msgspec.structs.replace(params, grace=CENTURY)


def _record(params: RecordParams, identity: Identity, _: SessionBook) -> RecordParams:
    kinds = {event.kind for event in params.events}
    if not kinds <= _FLEET or any(not e.actor.startswith("fleet:") for e in params.events):
        raise Forbidden(f"{identity.name!r} may write down what its own fleet did, nothing else")
    return params


def _events(params: EventsParams, identity: Identity, _: SessionBook) -> EventsParams:
    query = params.query
    follows = query.after is not None and query.kinds == (Kind.FLEET_COMMANDED,)
    asks_for_the_end = params.limit == 1 and query == WireEventQuery()
    if not (follows or asks_for_the_end):
        raise Forbidden(
            f"{identity.name!r} may follow the commands to its fleets and may not read the audit "
            "trail; that takes a client of scope full"
        )
    return params


def _decline(params: Any, identity: Identity, _: SessionBook) -> Any:
    del params, identity
    return DECLINED


def _check_queues(queues: Iterable[str], identity: Identity) -> None:
    if not identity.queues:
        return
    foreign = sorted(set(queues) - identity.queues)
    if foreign:
        raise Forbidden(
            f"{identity.name!r} may not work for the queue {foreign[0]!r}; its queues are "
            f"{', '.join(sorted(identity.queues))}",
            queues=foreign,
        )


RULES: Mapping[str, Callable[[Any, Identity, SessionBook], Any]] = {
    "exchange": _exchange,
    "beat": _as_it_is,
    "wait": _wait,
    "queues": _as_it_is,
    "sessions": _as_it_is,
    "reap": _reap,
    "record": _record,
    "counts": _as_it_is,
    "events": _events,
    "lead": _decline,
}
"""What a client of scope ``worker`` may call."""
