"""One thing done to many jobs, a batch at a time.

Whoever asks goes on with the cursor of each answer: so the work of one request is bounded, there
is progress to show, it can be stopped between two batches, and neither a restart of the server nor
jobs that come in meanwhile change what is taken.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec

from stoker.core.errors import InvalidOption
from stoker.core.events import Event, Kind
from stoker.core.job import JobRecord
from stoker.core.lifecycle import LIVE, TERMINAL, WAITING
from stoker.core.records import JobQuery
from stoker.server.caller import Caller
from stoker.server.counting import count_jobs, pages
from stoker.server.query import search
from stoker.server.schemas import BulkAnswer, BulkBody
from stoker.server.sifting import Search

_TAKEN = {"cancel": LIVE, "retry": TERMINAL, "delete": TERMINAL | WAITING}
"""The states in which a job can be taken."""
_DONE = ("cancelled", "requested", "requeued", "deleted")


async def act(caller: Caller, body: BulkBody) -> BulkAnswer:
    """Do one batch, or count what would be taken.

    Raises:
        InvalidOption: It does not say which jobs, or why.
        InvalidQuery: The search means nothing.
    """
    wanted = _narrowed(_search(caller, body), body.action)
    if wanted is None:
        return _nothing(body)
    if body.dry_run:
        found = await count_jobs(caller, wanted)
        return msgspec.structs.replace(_nothing(body), matched=found.count, is_exact=found.is_exact)
    if not body.reason.strip():
        raise InvalidOption("the reason is missing; say why, the audit trail keeps it")
    jobs, cursor = await _batch(caller, wanted, body)
    answers = await _do(caller, wanted.query, jobs, body) if jobs else {}
    done = sum(answers.get(answer, 0) for answer in _DONE)
    if jobs:
        await _note(caller, body, len(jobs), done)
    return BulkAnswer(
        dry_run=False,
        matched=len(jobs),
        is_exact=True,
        done=done,
        answers=answers,
        next_cursor=cursor,
    )


def _search(caller: Caller, body: BulkBody) -> Search:
    if [bool(body.ids), body.q is not None, body.all].count(True) != 1:
        raise InvalidOption(
            "the body says which jobs: by 'ids', or by a search 'q', or all of them by "
            "'all': true; give one of the three"
        )
    if body.rate is not None and body.action != "retry":
        raise InvalidOption(f"a rate is for retry; the action is {body.action}")
    if body.q is not None:
        return search(body.q, clock=caller.app.clock)
    return Search(query=JobQuery(ids=body.ids))


def _narrowed(wanted: Search, action: str) -> Search | None:
    """Return the search for the jobs that the action can take; None when there can be none."""
    taken, query = _TAKEN[action], wanted.query
    states = [state for state in query.states if state in taken] if query.states else taken
    if not states:
        return None
    narrowed = msgspec.structs.replace(query, states=tuple(sorted(states)))
    return Search(query=narrowed, held=wanted.held)


def _nothing(body: BulkBody) -> BulkAnswer:
    return BulkAnswer(
        dry_run=body.dry_run, matched=0, is_exact=True, done=0, answers={}, next_cursor=None
    )


async def _batch(
    caller: Caller, wanted: Search, body: BulkBody
) -> tuple[list[JobRecord], str | None]:
    jobs: list[JobRecord] = []
    cursor = body.cursor
    async for page in pages(caller, wanted, most=body.limit, cursor=cursor):
        jobs += page.jobs
        cursor = page.next_cursor
        if page.looked_at:
            # Enough for one request: a batch may be small, or empty, and go on.
            break
    return jobs, cursor


async def _do(
    caller: Caller, query: JobQuery, jobs: Sequence[JobRecord], body: BulkBody
) -> dict[str, int]:
    # The states stay in the query: a job that has moved on since it was found is left alone.
    named = JobQuery(ids=tuple(job.id for job in jobs), states=query.states)
    if body.action == "delete":
        deleted = await caller.run(
            lambda store: store.purge(named, limit=len(jobs), actor=caller.actor)
        )
        counted = {"deleted": deleted, "refused": len(jobs) - deleted}
        return {answer: count for answer, count in counted.items() if count}
    if body.action == "cancel":
        given = await caller.run(
            lambda s: s.cancel(named, actor=caller.actor, reason=body.reason, limit=len(jobs))
        )
    else:
        interval = 1 / body.rate if body.rate else 0.0
        given = await caller.run(
            lambda store: store.requeue(
                named,
                interval=interval,
                actor=caller.actor,
                reason=body.reason,
                limit=len(jobs),
            )
        )
    return dict(Counter(answer.answer for answer in given))


async def _note(caller: Caller, body: BulkBody, matched: int, done: int) -> None:
    details = {
        "action": body.action,
        "search": body.q if body.q is not None else ("all" if body.all else "ids"),
        "matched": matched,
        "done": done,
        "reason": body.reason,
    }
    event = Event(kind=Kind.JOBS_HANDLED, actor=caller.actor, details=details)
    await caller.run(lambda store: store.record([event]))
