"""Sessions: their heartbeats, their goodbyes, and what is asked of them."""

from collections.abc import Sequence

import msgspec

from stoker.core import rules
from stoker.core.events import Kind
from stoker.core.job import (
    BeatReply,
    Command,
    HeldJob,
    Outcome,
    SessionSpec,
    SessionState,
)
from stoker.stores.sqlite.ending import End, end_attempts
from stoker.stores.sqlite.leasing import Pick
from stoker.stores.sqlite.phrases import ASSIGNED, LEASED_CODES, phrase
from stoker.stores.sqlite.reporting import keep_reports
from stoker.stores.sqlite.transaction import Card, Transaction, to_json

LOST = "lost"
"""How an attempt ended whose session is gone."""
_WORKER_LOST = to_json(rules.WORKER_LOST)

_FIND = "SELECT json_array(seq, state, command, seen_at) FROM sessions WHERE id = ?"
_JOIN = """
    INSERT INTO sessions (id, name, state, started_at, seen_at, expires_at, spec)
    VALUES (?1, ?2, 'alive', ?3, ?3, ?3, ?4)"""
_RENEW = """
    UPDATE sessions SET name = ?, state = ?, seen_at = ?, expires_at = ?, spec = ? WHERE seq = ?"""
_LEAVE = "UPDATE sessions SET state = 'left', ended_at = ? WHERE seq = ?"
_LOOK = """
    SELECT json_group_array(json_array(
        j.seq, j.state, j.session IS ?1 AND j.epoch IS h.value ->> 1 AND j.nonce IS h.value ->> 2,
        coalesce(j.cancel_requested, 0)) ORDER BY h.key)
    FROM jsonb_each(?2) AS h LEFT JOIN jobs AS j ON j.id = h.value ->> 0"""
_START = phrase("""
    UPDATE jobs SET state = 4, started_at = coalesce(started_at, h.value ->> 1)
    FROM jsonb_each(?) AS h WHERE jobs.seq = h.value ->> 0 AND jobs.{leased}""")
_UNNAMED = phrase("""
    {cards} INDEXED BY jobs_leased WHERE j.session = ? AND j.{leased} AND j.leased_at < ?
        AND j.id NOT IN (SELECT value FROM json_each(?))""")
_HELD_BY = phrase(
    "{cards} INDEXED BY jobs_leased WHERE j.session = ? AND j.{leased} ORDER BY j.seq"
)
_LIVING = """
    SELECT json_group_array(json_array(seq, id, name)) FROM sessions
    WHERE ended_at IS NULL AND id IN (SELECT value FROM json_each(?))"""
_COMMAND = "UPDATE sessions SET command = ? WHERE seq IN (SELECT value FROM json_each(?))"


class _Session(msgspec.Struct, array_like=True, gc=False):
    seq: int
    state: str
    command: Command | None
    seen_at: float


class _Look(msgspec.Struct, array_like=True, gc=False):
    seq: int | None
    state: int | None
    fits: int
    cancel_requested: int


_read_session = msgspec.json.Decoder(_Session).decode
_read_looks = msgspec.json.Decoder(list[_Look]).decode


def beat(
    tx: Transaction,
    spec: SessionSpec,
    told: Sequence[HeldJob],
    ttl: float,
    given: dict[str, Pick],
) -> BeatReply:
    """See `Store.beat`; ``given`` is the handle's own memory of leases."""
    found = tx.value(_FIND, spec.id)
    session = _join(tx, spec) if found is None else _read_session(found)
    if session.state in {SessionState.LEFT, SessionState.DEAD}:
        mine = spec.state is SessionState.LEFT and session.state == SessionState.LEFT
        return BeatReply(alive=mine, lost=tuple(job.id for job in told))
    actor = f"worker:{spec.name}"
    looks = _read_looks(
        tx.value(_LOOK, session.seq, to_json([(job.id, job.epoch, job.nonce) for job in told]))
    )
    mine_now = [
        (job, look)
        for job, look in zip(told, looks, strict=True)
        if look.fits and look.state in LEASED_CODES
    ]
    owned = {job.id for job, _ in mine_now}
    _keep_starts(tx, mine_now, given)
    keep_reports(tx, [(look.seq, job) for job, look in mine_now if _speaks(job) and look.seq])
    _release_unnamed(tx, session, owned, ttl, actor)
    _renew(tx, session, spec, ttl, actor)
    return BeatReply(
        alive=True,
        cancel=tuple(job.id for job, look in mine_now if look.cancel_requested),
        lost=tuple(job.id for job in told if job.id not in owned),
        command=session.command,
    )


def lose(tx: Transaction, cards: Sequence[Card], actor: str) -> None:
    """Take jobs back from sessions that are gone."""
    workers = tx.workers(card.session for card in cards)
    ends = []
    for card in cards:
        card.lost += 1
        event = rules.losing(
            lost=card.lost,
            max_lost=card.max_lost,
            cancel_requested=bool(card.cancel_requested),
        )
        log_lost(tx, card, actor, rules.WORKER_LOST.code, workers.get(card.session or 0))
        ends.append(
            End(
                card,
                event,
                LOST,
                error=_WORKER_LOST,
                job_error=_WORKER_LOST,
                code=rules.WORKER_LOST.code,
            )
        )
    end_attempts(tx, ends, actor)


def log_lost(tx: Transaction, card: Card, actor: str, code: str, worker: str | None) -> None:
    """Note that a lease was taken back."""
    tx.log(Kind.JOB_LOST, actor, job_id=card.id, queue=card.queue, worker=worker, code=code)


def jobs_of(tx: Transaction, session: int) -> list[Card]:
    """Return the jobs that a session holds."""
    return tx.cards(_HELD_BY, session)


def command(tx: Transaction, ids: Sequence[str], asked: Command, actor: str) -> list[str]:
    """See `Store.set_session`."""
    wanted = list(dict.fromkeys(ids))
    rows = msgspec.json.decode(tx.value(_LIVING, to_json(wanted)))
    found = {session_id: (seq, name) for seq, session_id, name in rows}
    if found:
        tx.run(_COMMAND, asked.value, to_json([seq for seq, _ in found.values()]))
    told = [session_id for session_id in wanted if session_id in found]
    for session_id in told:
        worker = found[session_id][1]
        tx.log(Kind.WORKER_COMMANDED, actor, worker=worker, session=session_id, command=asked.value)
    return told


def _join(tx: Transaction, spec: SessionSpec) -> _Session:
    tx.run(_JOIN, spec.id, spec.name, tx.now, to_json(spec))
    tx.log(
        Kind.WORKER_JOINED,
        f"worker:{spec.name}",
        worker=spec.name,
        session=spec.id,
        host=spec.host,
        pid=spec.pid,
    )
    return _Session(tx.db.last_insert_rowid(), SessionState.ALIVE.value, None, tx.now)


def _renew(tx: Transaction, session: _Session, spec: SessionSpec, ttl: float, actor: str) -> None:
    leaves = spec.state is SessionState.LEFT
    # What a session holds is counted as its own until the end: `lose` reads it by this row.
    state = session.state if leaves else spec.state.value
    tx.run(_RENEW, spec.name, state, tx.now, tx.now + ttl, to_json(spec), session.seq)
    if spec.state is SessionState.DRAINING and session.state != SessionState.DRAINING:
        tx.log(Kind.WORKER_DRAINING, actor, worker=spec.name, session=spec.id)
    if leaves:
        tx.run(_LEAVE, tx.now, session.seq)
        lose(tx, jobs_of(tx, session.seq), actor)
        tx.log(Kind.WORKER_LEFT, actor, worker=spec.name, session=spec.id)


def _keep_starts(
    tx: Transaction, mine: Sequence[tuple[HeldJob, _Look]], given: dict[str, Pick]
) -> None:
    begun: dict[int, float] = {}
    for job, look in mine:
        if job.ran_for is None or look.seq is None:
            continue
        # Its row knows more than the lease said, from now on.
        given.pop(job.id, None)
        if look.state == ASSIGNED and look.seq not in begun:
            begun[look.seq] = tx.now - job.ran_for
            tx.books.changed.append(job.id)
    if begun:
        tx.run(_START, to_json(list(begun.items())))


def _release_unnamed(
    tx: Transaction, session: _Session, named: set[str], ttl: float, actor: str
) -> None:
    """Take back leases whose answer never arrived, uncounted."""
    before = min(session.seen_at, tx.now - ttl * rules.CONFIRM_SHARE)
    cards = tx.cards(_UNNAMED, session.seq, before, to_json(list(named)))
    if not cards:
        return
    ends = [_released(tx, card) for card in cards]
    end_attempts(tx, ends, actor)


def _released(tx: Transaction, card: Card) -> End:
    event = rules.ending(
        Outcome.RELEASED,
        failed=card.failed,
        lost=card.lost,
        max_retries=card.max_retries,
        max_lost=card.max_lost,
        retry_in=None,
        cancel_requested=bool(card.cancel_requested),
    )
    older = tx.value("SELECT error FROM jobs WHERE seq = ?", card.seq)
    return End(card, event, Outcome.RELEASED.value, job_error=older, uncounted=True)


def _speaks(job: HeldJob) -> bool:
    return job.progress is not None or job.note is not None or bool(job.logs)
