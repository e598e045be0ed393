"""TLS and client certificates: whom the worker believes, and what it says when it does not."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509

from stoker.connect import open_store
from stoker.core.lifecycle import State
from stoker.settings import GatewayClient, GatewaySettings, Secret
from tests.gateway.certificates import Office, Pair
from tests.gateway.site import Site, tcp_site
from tests.workers_c.program import Jobs, c_worker

TOKEN = "sixteen letters!"
NAMED = [x509.DNSName("localhost")]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@asynccontextmanager
async def tls_site(office: Office, folder: Path, *, asks: bool = True) -> AsyncIterator[Site]:
    server = office.vouch("server", NAMED)
    settings = GatewaySettings(
        certificate=str(server.certificate),
        key=str(server.key),
        client_ca=str(office.file) if asks else None,
        worker_token=None if asks else Secret(TOKEN),
        clients={"press.example": GatewayClient(queues=("default",))} if asks else {},
    )
    async with (
        open_store(f"sqlite:///{folder}/jobs.db") as store,
        tcp_site(store, settings=settings) as site,
    ):
        yield site


def url(site: Site, office: Office, pair: Pair | None = None, **more: str) -> str:
    host = more.pop("host", "localhost")
    options = {"ca": str(office.file), **more}
    if pair is not None:
        options |= {"cert": str(pair.certificate), "key": str(pair.key)}
    return f"tls://{host}:{site.port}?{'&'.join(f'{k}={v}' for k, v in options.items())}"


async def test_a_client_certificate_lets_a_worker_in(office: Office, tmp_path: Path) -> None:
    async with tls_site(office, tmp_path) as site:
        jobs = Jobs(site.store)
        mine = office.vouch("press.example")
        async with c_worker(tmp_path, url(site, office, mine), "-q", "default") as worker:
            record = await jobs.run("trial.echo", b'{"a":1}')
            assert await worker.drain() == 0
    assert record.state is State.COMPLETED


async def test_large_payloads_and_results_go_through_tls(office: Office, tmp_path: Path) -> None:
    async with tls_site(office, tmp_path) as site:
        jobs = Jobs(site.store)
        mine = office.vouch("press.example")
        payload = b'{"text":"%s"}' % (b"x" * 900_000)
        async with c_worker(tmp_path, url(site, office, mine), "-q", "default") as worker:
            ids = [await jobs.submit("trial.echo_apart", payload) for _ in range(6)]
            records = [await jobs.ends(job_id) for job_id in ids]
            assert await worker.drain() == 0
    assert {bytes(record.result or b"") for record in records} == {payload}


async def _refused(folder: Path, store: str, words: str, **variables: str) -> None:
    async with c_worker(folder, store, env=variables) as worker:
        assert await worker.ended() == 3
    assert words in worker.said
    assert "[unauthenticated]" in worker.said


async def test_a_certificate_for_another_name_is_not_believed(
    office: Office, tmp_path: Path
) -> None:
    async with tls_site(office, tmp_path) as site:
        mine = office.vouch("press.example")
        elsewhere = url(site, office, mine, host="127.0.0.1")
        await _refused(tmp_path, elsewhere, "is not trusted: IP address mismatch; give its")
        other = url(site, office, mine, server_name="jobs.example.com")
        await _refused(tmp_path, other, "is not trusted: hostname mismatch; give its authority")
        named = url(site, office, mine, host="127.0.0.1", server_name="localhost")
        async with c_worker(tmp_path, named, "-q", "default", name="named") as worker:
            await worker.says("began session")
            assert await worker.drain() == 0


async def test_an_authority_that_nobody_named_is_not_believed(
    office: Office, tmp_path: Path
) -> None:
    other = Office(tmp_path, "impostor")
    async with tls_site(office, tmp_path) as site:
        await _refused(tmp_path, url(site, other, office.vouch("press.example")), "is not trusted")


@pytest.mark.parametrize("whose", ["nobody's", "an impostor's", "an expired one", "a stranger's"])
async def test_a_client_that_is_not_believed_is_told_so(
    office: Office, tmp_path: Path, whose: str
) -> None:
    pairs = {
        "nobody's": None,
        "an impostor's": Office(tmp_path, "impostor").vouch("press.example"),
        "an expired one": office.vouch("press.example", expired=True),
        "a stranger's": office.vouch("stranger.example"),
    }
    async with tls_site(office, tmp_path) as site:
        words = "stranger.example" if whose == "a stranger's" else "certificate"
        await _refused(tmp_path, url(site, office, pairs[whose]), words)


async def test_a_token_is_enough_where_no_certificate_is_asked_for(
    office: Office, tmp_path: Path
) -> None:
    async with tls_site(office, tmp_path, asks=False) as site:
        async with c_worker(tmp_path, url(site, office), STOKER_TOKEN=TOKEN) as worker:
            await worker.says("began session")
            assert await worker.drain() == 0
        wrong = "the token is not one that the gateway knows"
        await _refused(tmp_path, url(site, office), wrong, STOKER_TOKEN="seventeen letters")
        file = tmp_path / "token"
        file.write_text(f"{TOKEN}\n")
        by_file = url(site, office, token_file=str(file))
        async with c_worker(tmp_path, by_file, name="other") as worker:
            await worker.says("began session")
            assert await worker.drain() == 0


async def test_tls_and_plain_tcp_are_told_apart(office: Office, tmp_path: Path) -> None:
    async with (
        tls_site(office, tmp_path, asks=False) as site,
        c_worker(tmp_path, f"tcp://localhost:{site.port}") as worker,
    ):
        assert await worker.ended() == 3
    # Which of the two depends on whether its alarm or its hanging up is heard first.
    assert re.search(r"if it speaks TLS, use tls://|gateway of a Stoker server\?", worker.said)
    async with (
        open_store(f"sqlite:///{tmp_path}/jobs.db") as store,
        tcp_site(store) as plain,
        c_worker(tmp_path, url(plain, office), name="other") as worker,
    ):
        assert await worker.ended() == 3
    assert "does not speak TLS; use tcp:// for it" in worker.said


async def test_files_that_are_no_certificates_are_a_usage_error(
    office: Office, tmp_path: Path
) -> None:
    async with tls_site(office, tmp_path, asks=False) as site:
        wrong = url(site, office, ca=str(tmp_path / "jobs.db"))
        async with c_worker(tmp_path, wrong) as worker:
            assert await worker.ended() == 2
    assert "expected PEM files in ca, cert and key" in worker.said
