"""How many jobs a query means, with a bound on the work; and the walk through them."""

from collections.abc import AsyncIterator

from stoker.core.records import MAX_PAGE, JobQuery, Page
from stoker.core.store import Store
from stoker.server.caller import Caller
from stoker.server.schemas import JobCount

CAP = 10_000
"""The most jobs that are counted one by one."""


async def count_jobs(caller: Caller, query: JobQuery, *, cap: int = CAP) -> JobCount:
    """Count jobs: exactly where the store keeps the number, else one by one up to a cap."""
    kept = await caller.run(lambda store: _kept(store, query))
    if kept is not None:
        return JobCount(count=kept, is_exact=True)
    count = 0
    async for page in pages(caller, query, most=cap):
        count += len(page.jobs)
        if page.next_cursor is None:
            return JobCount(count=count, is_exact=True)
    return JobCount(count=count, is_exact=False)


async def pages(
    caller: Caller, query: JobQuery, *, most: int, cursor: str | None = None, size: int = MAX_PAGE
) -> AsyncIterator[Page]:
    """Yield pages of jobs, newest submitted first, until there are no more or enough."""
    left = most
    while left > 0:
        page = await _page(caller, query, cursor, min(size, left))
        yield page
        left -= len(page.jobs)
        cursor = page.next_cursor
        if cursor is None:
            return


async def _page(caller: Caller, query: JobQuery, cursor: str | None, size: int) -> Page:
    return await caller.run(lambda store: store.find(query, cursor=cursor, limit=size))


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
