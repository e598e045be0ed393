"""A process that is killed while it writes leaves a whole store, and loses nothing it answered."""

import pytest

from stoker.core.clock import SystemClock
from stoker.core.lifecycle import LEASED
from stoker.core.records import JobQuery
from stoker.stores.sqlite import SQLiteStore
from tests.unit.stores.sqlite.books import recount
from tests.unit.stores.sqlite.conftest import Child, Rows, line


@pytest.mark.parametrize("lines", [1, 3, 10, 40])
async def test_a_killed_writer_leaves_a_whole_store(
    path: str, child: Child, rows: Rows, lines: int
) -> None:
    accepted: list[str] = []
    async with child("write", path) as process:
        for _ in range(lines):
            accepted += (await line(process)).split()
        process.kill()
        assert process.stdout is not None
        rest = (await process.stdout.read()).decode()
        # The last line may be torn: what it names was not heard by anybody.
        accepted += [job for said in rest.splitlines(keepends=True)[:-1] for job in said.split()]
    assert len(accepted) >= lines * 5
    async with SQLiteStore(path, clock=SystemClock()) as store:
        found = await store.get(accepted)
        assert None not in found
        assert rows("PRAGMA integrity_check") == [("ok",)]
        assert recount(rows) == []
        page = await store.find(JobQuery(states=tuple(LEASED)), limit=1_000)
        assert all(job.worker == "writer" for job in page.jobs)
        reaped = await store.reap(sessions=["writer"])
        assert set(reaped.requeued) == {job.id for job in page.jobs}
        left = await store.find(JobQuery(states=tuple(LEASED)))
        assert left.jobs == []
        assert recount(rows) == []


async def test_a_store_that_two_processes_open_at_once_is_made_once(
    path: str, child: Child, rows: Rows
) -> None:
    async with child("submit", path) as one, child("submit", path) as two:
        assert {await line(one), await line(two)} == {"queued"}
    assert rows("SELECT count(*) FROM jobs") == [(2,)]
