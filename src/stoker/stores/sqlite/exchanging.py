"""The hot path: one transaction that promotes, settles and leases."""

from collections.abc import Mapping, Sequence

import msgspec

from stoker.core.errors import LeaseLost
from stoker.core.job import Exchanged, Settled
from stoker.stores.sqlite.leasing import Leases, Restriction, held, lease, promote
from stoker.stores.sqlite.phrases import phrase
from stoker.stores.sqlite.settling import Told, settle
from stoker.stores.sqlite.transaction import Transaction

PROMOTE_AT_ONCE = 1_000
"""Due jobs that one exchange makes leasable; the rest waits for the next one."""

_PRELUDE = phrase("""
    SELECT json_array(
        json((SELECT json_array(seq, name, state, nonce) FROM sessions WHERE id = ?)),
        (SELECT min(due_at) FROM jobs WHERE {due}),
        json((SELECT json_group_array(json_array(name, paused, lease_limit)) FROM queues
              WHERE paused OR lease_limit IS NOT NULL)))""")
_IDLE_SESSIONS = 10_000
_KEEP_NONCE = "UPDATE sessions SET nonce = ? WHERE seq = ?"
_LIVING = frozenset({"alive", "draining"})


class _Session(msgspec.Struct, array_like=True, gc=False):
    seq: int
    name: str
    state: str
    nonce: str | None


class _Prelude(msgspec.Struct, array_like=True, gc=False):
    session: _Session | None
    next_due_at: float | None
    restrictions: list[Restriction]


_read_prelude = msgspec.json.Decoder(_Prelude).decode


class Done(msgspec.Struct, gc=False):
    """What an exchange did, before it takes the shape that callers see."""

    settled: list[Settled]
    leases: Leases | None

    def shown(self) -> Exchanged:
        """Return what the session gets."""
        return Exchanged(self.settled, [] if self.leases is None else self.leases.shown())


def exchange(
    tx: Transaction,
    session_id: str,
    told: Told,
    *,
    queues: Mapping[str, int],
    want: int,
    nonce: str,
    aged: int,
    ids: Sequence[str],
    idle: dict[str, str],
) -> Done:
    """See `Store.exchange`.

    ``idle`` is the nonce of each session's last exchange that found nothing to lease, kept by the
    handle alone: an idle worker that looks must not cost a write to the disk.
    """
    prelude = _read_prelude(tx.value(_PRELUDE, session_id))
    session = prelude.session
    if session is None or session.state not in _LIVING:
        found = "unknown" if session is None else session.state
        raise LeaseLost(
            f"session {session_id} is {found}; drop its jobs and beat with a new id",
            session=session_id,
        )
    if prelude.next_due_at is not None and prelude.next_due_at <= tx.now:
        promote(tx, PROMOTE_AT_ONCE)
    settled = settle(tx, told, f"worker:{session.name}")
    if nonce in {session.nonce, idle.get(session_id)}:
        return Done(settled, held(tx, session.seq, nonce))
    if want <= 0:
        return Done(settled, None)
    leases = lease(
        tx,
        session.seq,
        queues=queues,
        restrictions=prelude.restrictions,
        want=want,
        nonce=nonce,
        aged=aged,
        ids=ids,
    )
    if leases.n:
        tx.run(_KEEP_NONCE, nonce, session.seq)
    else:
        _note_idle(idle, session_id, nonce)
    return Done(settled, leases)


def _note_idle(idle: dict[str, str], session_id: str, nonce: str) -> None:
    if len(idle) >= _IDLE_SESSIONS:
        idle.clear()
    idle[session_id] = nonce
