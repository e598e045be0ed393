"""How many jobs a query means, with a bound on the work; and the walk through them."""

from collections.abc import AsyncIterator

from stoker.core.records import MAX_PAGE, JobQuery
from stoker.core.store import Store
from stoker.server.caller import Caller
from stoker.server.schemas import JobCount
from stoker.server.sifting import MOST, Search, SearchPage, find

CAP = 10_000
"""The most jobs that are counted one by one."""
PATIENCE = 0.05
"""Seconds after which no further page is counted: a page takes about as long."""


async def count_jobs(caller: Caller, search: Search, *, cap: int = CAP) -> JobCount:
    """Count jobs: exactly where the store keeps the number, else one by one up to a cap.

    Whoever waits for the number is not kept waiting: what takes longer than `PATIENCE` ends with
    the page that it has begun. Where payloads must be looked at, it ends after so many as one page
    looks at.
    """
    # Tenants are not counted apart.
    kept = None
    if not search.held and caller.identity.tenant is None:
        kept = await caller.run(lambda store: _kept(store, search.query))
    if kept is not None:
        return JobCount(count=kept, is_exact=True)
    count = looked_at = 0
    latest = caller.app.clock.monotonic() + PATIENCE
    async for page in pages(caller, search, most=cap):
        count += len(page.jobs)
        looked_at += page.looked_at or 0
        if page.next_cursor is None:
            return JobCount(count=count, is_exact=True)
        if looked_at >= MOST or caller.app.clock.monotonic() >= latest:
            break
    return JobCount(count=count, is_exact=False)


async def pages(
    caller: Caller, search: Search, *, most: int, cursor: str | None = None, size: int = MAX_PAGE
) -> AsyncIterator[SearchPage]:
    """Yield pages of jobs, newest submitted first, until there are no more or enough."""
    left = most
    while left > 0:
        page = await find(caller.run, search, cursor=cursor, limit=min(size, left))
        yield page
        left -= len(page.jobs)
        cursor = page.next_cursor
        if cursor is None:
            return


async def _kept(store: Store, query: JobQuery) -> int | None:
    """Return the number from the store's tallies, if states and queues alone decide."""
    if query != JobQuery(states=query.states, queues=query.queues):
        return None
    counts = await store.counts()
    return sum(
        tally.count
        for tally in counts.tallies
        if (not query.states or tally.state in query.states)
        and (not query.queues or tally.queue in query.queues)
    )
