"""A gateway in the test's own process, before an SQLite store."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stoker.connect import open_store
from tests.gateway.site import Site, tcp_site
from tests.workers_c.program import Jobs


@dataclass
class Desk:
    """A gateway, and the jobs behind it."""

    site: Site
    jobs: Jobs
    folder: Path

    @property
    def url(self) -> str:
        return self.site.url


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with (
        open_store(f"sqlite:///{tmp_path}/jobs.db") as store,
        tcp_site(store) as site,
    ):
        yield Desk(site, Jobs(store), tmp_path)
