"""A server and two hosts with fleets; one host is cut off for two leases, and joined again.

Its jobs run elsewhere while it is away. What it finished meanwhile is refused when it comes back
(I3, I4), nothing is lost (I5), and the ledger explains every second execution: the store says of
each that the attempt before was lost with the host that was cut off. And the fleets, which reach
the store through the gateway with a worker's token and no more, do what they are told elsewhere.

The hosts are network namespaces where the machine lets us make them, and always, besides, loopback
addresses behind a proxy that holds up what goes through: the same story, the same assertions.
"""

import asyncio
import ipaddress
import os
import signal
import sys
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from cryptography import x509

from stoker.app.fleets import FleetOrder, acommand_fleet, afleets
from stoker.connect import open_store
from stoker.core.clock import SystemClock
from stoker.core.events import EventRecord, Kind
from stoker.core.fleets import FleetInfo, workers_among
from stoker.core.job import JobRecord, JobSpec
from stoker.core.lifecycle import LEASED, State
from stoker.core.records import EventQuery, JobQuery
from stoker.core.store import Store
from stoker.testing import wait_until
from tests.gateway.certificates import Office
from tests.integration.combinations.hosts import (
    SERVER,
    WORKERS,
    Network,
    cables,
    missing_right,
    namespaces,
)
from tests.servers.server import free_port

pytestmark = pytest.mark.slow

LEASE = 3.0
"""Seconds of silence after which the jobs of a host are taken back."""
PATIENCE = 60.0
TOKEN = "token-of-the-hosts-of-this-test"
JOBS = 60
SECONDS = 0.6
"""Less than the lease: jobs come to their end on a host that was cut off, which then hands in their
outcomes too late."""
TASKS = """
import os, pathlib, time

ledger = pathlib.Path(os.environ["LEDGER"])

def write(word, payload, job):
    with ledger.open("a") as file:
        file.write(f"{word} {job.id} {job.attempt}\\n")

def run(payload):
    from stoker import current_job
    job = current_job()
    write("begin", payload, job)
    time.sleep(payload["seconds"])
    write("end", payload, job)
    return os.environ["HOST_NAME"]
"""
CONFIG = """
[tasks]
standard = false
[worker]
concurrency = 4
lease = "3s"
drain = "10s"
[fleet]
min = 1
max = 1
[keeper]
interval = "0.2s"
[gateway]
certificate = "{certificate}"
key = "{key}"
worker_token = "{token}"
"""


class Line(NamedTuple):
    """What a handler wrote on its own host."""

    word: str
    job: str
    attempt: int


class Site:
    """The server, the hosts and the store behind the server."""

    def __init__(self, folder: Path, network: Network, store: Store) -> None:
        self.folder = folder
        self.network = network
        self.store = store
        self.clock = SystemClock()
        self.port = free_port()
        self.processes: list[asyncio.subprocess.Process] = []
        self.office = Office(folder)
        alternatives = [
            x509.IPAddress(ipaddress.ip_address(address)) for address in network.addresses()
        ]
        pair = self.office.vouch("gateway", alternatives)
        (folder / "jobs").mkdir()
        (folder / "jobs" / "nap.py").write_text(TASKS)
        config = CONFIG.format(certificate=pair.certificate, key=pair.key, token=TOKEN)
        (folder / "stoker.toml").write_text(config)

    async def run(self, host: str, *words: str, **env: str) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("STOKER_")}  # noqa: TID251 - handed on
        command = self.network.command(host, [sys.executable, "-P", "-m", "stoker", *words])
        with (self.folder / f"{host}.log").open("ab") as log:
            self.processes.append(
                await asyncio.create_subprocess_exec(
                    *command, cwd=self.folder, env={**kept, **env}, stdout=log, stderr=log
                )
            )

    async def begin(self) -> None:
        """Start the server, and a fleet on each host; wait until all are ready."""
        await self.run(
            *(SERVER, "server", "--host", "127.0.0.1", "--port", str(free_port())),
            *("--gateway-host", self.network.listens_at(), "--gateway-port", str(self.port)),
            *("--store", f"sqlite:///{self.folder}/jobs.db"),
        )
        log = self.folder / f"{SERVER}.log"
        await wait_until(
            lambda: "remote workers come in" in log.read_text(), "it serves", timeout=PATIENCE
        )
        await self.network.connect(self.port)
        for host in WORKERS:
            where = self.network.reaches(host, self.port)
            await self.run(
                *(host, "fleet", "--name", host, "--jobs", str(self.folder / "jobs")),
                *("--store", f"tls://{where}?ca={self.office.file}"),
                STOKER_TOKEN=TOKEN,
                HOST_NAME=host,
                LEDGER=str(self.ledger(host)),
            )
        await self.until_ready(dict.fromkeys(WORKERS, 1))

    def ledger(self, host: str) -> Path:
        return self.folder / f"{host}.ledger"

    def lines(self, host: str, word: str) -> list[Line]:
        if not self.ledger(host).exists():
            return []
        rows = [row.split() for row in self.ledger(host).read_text().splitlines()]
        return [Line(w, job, int(attempt)) for w, job, attempt in rows if w == word]

    async def until_ready(self, wanted: dict[str, int]) -> dict[str, FleetInfo]:
        async def look() -> dict[str, FleetInfo]:
            found = {fleet.name: fleet for fleet in await afleets(self.store)}
            ready = {name: sum(k.ready for k in fleet.kinds) for name, fleet in found.items()}
            return found if ready == wanted else {}

        return await wait_until(look, f"workers are ready: {wanted}", timeout=PATIENCE)

    async def submit(self, count: int, seconds: float) -> list[str]:
        payload = b'{"seconds":%f}' % seconds
        specs = [
            JobSpec(id=self.clock.new_id(), task="nap", payload=payload, max_lost=9)
            for _ in range(count)
        ]
        await self.store.submit(specs)
        return [spec.id for spec in specs]

    async def held_by(self, host: str) -> set[str]:
        page = await self.store.find(JobQuery(states=tuple(LEASED)), limit=1_000)
        return {job.id for job in page.jobs if (job.worker or "").startswith(f"{host}-")}

    async def completed(self, ids: list[str]) -> list[JobRecord]:
        async def look() -> list[JobRecord]:
            found = [job for job in await self.store.get(ids) if job is not None]
            done = [job for job in found if job.state is State.COMPLETED]
            return done if len(done) == len(ids) else []

        return await wait_until(look, f"{len(ids)} jobs are completed", timeout=PATIENCE)

    async def events(self, *kinds: Kind) -> list[EventRecord]:
        return await self.store.events(EventQuery(after=0, kinds=kinds), limit=1_000)

    async def end(self) -> None:
        """Drain both fleets from elsewhere, then stop the server."""
        server, *fleets = self.processes
        for host in WORKERS:
            order = FleetOrder(action="drain", reason="the test is over")
            await acommand_fleet(self.store, host, order, actor="cli:test")
        async with asyncio.timeout(PATIENCE):
            codes = [await process.wait() for process in fleets]
            server.send_signal(signal.SIGTERM)
            codes.append(await server.wait())
        assert codes == [0, 0, 0], self.logs()

    async def kill(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def logs(self) -> str:
        return "\n".join(
            f"--- {file.name}\n{file.read_text()[-3_000:]}" for file in self.folder.glob("*.log")
        )


@asynccontextmanager
async def site_in(folder: Path, network: Network) -> AsyncIterator[Site]:
    async with open_store(f"sqlite:///{folder}/jobs.db") as store:
        site = Site(folder, network, store)
        try:
            with telling(site):
                await site.begin()
                yield site
                await site.end()
        finally:
            await site.kill()


@contextmanager
def telling(site: Site) -> Iterator[None]:
    """Add to what went wrong what the hosts said about it."""
    try:
        yield
    except BaseException as error:
        error.add_note(site.logs())
        raise


async def test_hosts_behind_a_proxy_that_holds_up_what_goes_through(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    async with cables() as network, site_in(tmp_path, network) as site:
        await the_story(site, request.node)


async def test_hosts_in_network_namespaces(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    lacking = missing_right()
    if lacking:
        told = f"NOT IN NAMESPACES: this machine refuses them ({lacking}); behind a proxy instead"
        warnings.warn(told, stacklevel=1)
        request.node.add_report_section("call", "several hosts", told)
        async with cables() as network, site_in(tmp_path, network) as site:
            await the_story(site, request.node)
        return
    async with namespaces() as spaces, site_in(tmp_path, spaces) as site:
        await the_story(site, request.node)


async def the_story(site: Site, node: pytest.Item) -> None:
    """Cut alpha off for two leases while it works, and join it again."""
    fleets = await site.until_ready(dict.fromkeys(WORKERS, 1))
    if site.network.has_names:
        assert {name: fleet.host for name, fleet in fleets.items()} == {w: w for w in WORKERS}
    before = {s.name: s.id for s in workers_among(await site.store.sessions())}
    ids = await site.submit(JOBS, SECONDS)
    await wait_until(
        lambda: len(site.lines("alpha", "begin")) >= 4, "alpha works", timeout=PATIENCE
    )
    site.network.cut("alpha")
    cut = await site.held_by("alpha")
    assert cut, "alpha held nothing when it was cut off"
    cut_at = site.clock.monotonic()
    await elsewhere(site, cut)
    # Two leases in which nobody hears of alpha, and its handlers come to their end.
    await wait_until(
        lambda: site.clock.monotonic() - cut_at > 2 * LEASE and late(site, cut),
        "a job has ended on the host that was cut off",
        timeout=PATIENCE,
    )
    away = site.clock.monotonic() - cut_at
    refused = late(site, cut)
    site.network.join("alpha")
    await back(site, before["alpha-1"])
    more = await site.submit(16, SECONDS)
    jobs = await site.completed(ids + more)
    judge(site, jobs, cut, refused)
    assert any(_result(job) == "alpha" for job in jobs if job.id in more), "alpha works again"
    await scale_from_elsewhere(site)
    twice = sum(len(runs) > 1 for runs in executions(site).values())
    node.add_report_section(
        "call",
        "several hosts",
        f"{site.network.what}: away for {away:.1f} s of a lease of {LEASE:g} s; {len(cut)} jobs "
        f"were cut off and ran elsewhere, {len(refused)} ended there too late and were refused, "
        f"{twice} of {len(jobs)} ran twice, none was lost",
    )


async def elsewhere(site: Site, cut: set[str]) -> None:
    """Wait until the store gave alpha's jobs to beta, and beta has done them."""
    done = partial(_done_by, site, cut, "beta")
    await wait_until(done, "the jobs of alpha ran elsewhere", timeout=PATIENCE)
    died = {event.worker for event in await site.events(Kind.WORKER_DIED)}
    assert "alpha-1" in died
    assert "beta-1" not in died


async def _done_by(site: Site, ids: set[str], host: str) -> bool:
    found = await site.store.get(sorted(ids))
    return all(job is not None and _result(job) == host for job in found)


def _result(job: JobRecord) -> object:
    return None if job.result is None else msgspec.json.decode(job.result)


def late(site: Site, cut: set[str]) -> set[str]:
    """Return which of the jobs that were cut off came to their end on alpha all the same."""
    return {line.job for line in site.lines("alpha", "end")} & cut


async def back(site: Site, old: str) -> None:
    """Wait until alpha works in a new session: under the old one it may settle nothing."""

    async def look() -> bool:
        return any(
            session.name == "alpha-1" and session.id != old
            for session in await site.store.sessions()
        )

    await wait_until(look, "alpha has begun a new session", timeout=PATIENCE)
    assert f"session {old} is lost" in (site.folder / "alpha.log").read_text()


def executions(site: Site) -> dict[str, set[tuple[str, int]]]:
    """Return each time that a handler of a job began: by which worker, as which attempt."""
    found: dict[str, set[tuple[str, int]]] = {}
    for host in WORKERS:
        for line in site.lines(host, "begin"):
            runs = found.setdefault(line.job, set())
            assert (f"{host}-1", line.attempt) not in runs, "one attempt began twice"
            runs.add((f"{host}-1", line.attempt))
    return found


def judge(site: Site, jobs: list[JobRecord], cut: set[str], refused: set[str]) -> None:
    """Hold what the store says against what the handlers wrote on their hosts."""
    ran = executions(site)
    for job in jobs:
        outcomes = Counter(attempt.outcome for attempt in job.attempts)
        # Recorded once, and by whom it says.
        assert outcomes["completed"] == 1
        assert set(outcomes) <= {"completed", "lost", "released"}, outcomes
        last = job.attempts[-1]
        assert last.worker == f"{_result(job)}-1"
        # Every execution is an attempt that the store knows, on the host that it knows ...
        known = {(attempt.worker, attempt.attempt) for attempt in job.attempts}
        assert ran[job.id] <= known, (ran[job.id], job.attempts)
        # ... and all but the one that counted were lost with the host that was cut off.
        lost = [attempt for attempt in job.attempts if attempt.outcome == "lost"]
        assert len(ran[job.id]) - 1 <= len(lost) <= 1
        assert {attempt.worker for attempt in lost} <= {"alpha-1"}
        assert not lost or job.id in cut
    assert refused, "no result came too late: the cut was too short to prove anything"
    for job in jobs:
        if job.id in refused:
            assert sorted(host for host, _ in ran[job.id]) == ["alpha-1", "beta-1"]
            assert (job.attempts[0].outcome, job.attempts[-1].worker) == ("lost", "beta-1")


async def scale_from_elsewhere(site: Site) -> None:
    """Have more workers on beta, and fewer again, by commands through the store."""
    for count in (2, 1):
        order = FleetOrder(action="scale", min=count, max=count, reason="as the test asks")
        await acommand_fleet(site.store, "beta", order, actor="cli:test")
        await site.until_ready({"alpha": 1, "beta": count})
    bounded = await site.events(Kind.FLEET_BOUNDED)
    told = [(event.actor, event.details["by"], event.details["max"]) for event in bounded]
    assert told == [("fleet:beta", "cli:test", 2), ("fleet:beta", "cli:test", 1)]
