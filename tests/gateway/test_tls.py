"""TLS and client certificates: who is let in, as whom, and what everybody else is told."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from stoker.core.clock import SystemClock
from stoker.core.errors import (
    Forbidden,
    InvalidConfig,
    NotAStore,
    StokerError,
    Unauthenticated,
    Unavailable,
)
from stoker.core.job import SessionSpec
from stoker.settings import GatewayClient, GatewaySettings, Secret
from stoker.stores.memory import MemoryStore
from stoker.stores.remote import RemoteStore
from tests.gateway.certificates import LOCAL, Office, Pair
from tests.gateway.peer import peer
from tests.gateway.site import Site, tcp_site

CLIENTS = {
    "press.example": GatewayClient(queues=("print",)),
    "spiffe://yard/boss": GatewayClient(scope="full"),
    "both": GatewayClient(token=Secret("sixteen letters!")),
}


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@asynccontextmanager
async def tls_site(office: Office, **changes: Any) -> AsyncIterator[Site]:
    server = office.vouch("server", LOCAL)
    given: dict[str, Any] = {
        "certificate": str(server.certificate),
        "key": str(server.key),
        "client_ca": str(office.file),
        "clients": CLIENTS,
    }
    settings = GatewaySettings(**(given | changes))
    async with (
        MemoryStore(clock=SystemClock()) as store,
        tcp_site(store, settings=settings) as site,
    ):
        yield site


def remote(
    site: Site, office: Office, pair: Pair | None = None, *, host: str = "localhost", **more: str
) -> RemoteStore:
    options = {"ca": str(office.file), **more}
    if pair is not None:
        options |= {"cert": str(pair.certificate), "key": str(pair.key)}
    query = "&".join(f"{key}={value}" for key, value in options.items())
    return RemoteStore(f"tls://{host}:{site.port}?{query}", clock=SystemClock())


async def refused(store: RemoteStore, error: type[StokerError], words: str) -> None:
    with pytest.raises(error, match=words):
        async with store:
            pass


async def test_the_certificate_says_who_a_client_is(office: Office) -> None:
    named = [x509.DNSName("press.example")]
    async with tls_site(office) as site:
        async with remote(site, office, office.vouch("whatever", named)) as store:
            assert store.info.details["identity"] == "press.example"
            assert store.info.details["scope"] == "worker"
        boss = [x509.UniformResourceIdentifier("spiffe://yard/boss")]
        async with remote(site, office, office.vouch("boss", boss)) as store:
            assert store.info.details["scope"] == "full"


async def test_a_common_name_will_do(office: Office) -> None:
    async with (
        tls_site(office) as site,
        remote(site, office, office.vouch("press.example")) as store,
    ):
        assert store.info.details["identity"] == "press.example"


async def test_a_certificate_is_bound_to_its_queues(office: Office) -> None:
    async with (
        tls_site(office) as site,
        remote(site, office, office.vouch("press.example")) as store,
    ):
        await store.beat(SessionSpec(id="s", name="w"), [], ttl=30.0)
        done = await store.exchange("s", [], queues={"print": 1}, want=1, nonce="0" * 32)
        assert done.leased == []
        with pytest.raises(Forbidden, match="mail"):
            await store.exchange("s", [], queues={"mail": 1}, want=1, nonce="1" * 32)


async def test_a_certificate_that_names_nobody_is_refused(office: Office) -> None:
    async with tls_site(office) as site:
        store = remote(site, office, office.vouch("stranger", [x509.DNSName("evil.example")]))
        await refused(store, Unauthenticated, "evil.example")


async def test_a_certificate_of_another_authority_is_refused(
    office: Office, tmp_path: Path
) -> None:
    other = Office(tmp_path, "impostor")
    async with tls_site(office) as site:
        store = remote(site, office, other.vouch("press.example"))
        await refused(store, Unauthenticated, "certificate")


async def test_an_expired_certificate_is_refused(office: Office) -> None:
    async with tls_site(office) as site:
        store = remote(site, office, office.vouch("press.example", expired=True))
        await refused(store, Unauthenticated, "certificate")


async def test_no_certificate_is_refused_where_one_is_asked_for(office: Office) -> None:
    async with tls_site(office) as site:
        await refused(remote(site, office), Unauthenticated, "asks for one")


async def test_a_token_is_needed_as_well_where_one_is_configured(office: Office) -> None:
    pair = office.vouch("both")
    async with tls_site(office) as site:
        await refused(remote(site, office, pair), Unauthenticated, "token")
        file = office.file.with_name("token")
        file.write_text("sixteen letters!\n")
        async with remote(site, office, pair, token_file=str(file)) as store:
            assert store.info.details["identity"] == "both"


async def test_a_server_of_an_unknown_authority_is_not_believed(
    office: Office, tmp_path: Path
) -> None:
    other = Office(tmp_path, "impostor")
    async with tls_site(office) as site:
        await refused(remote(site, other), Unauthenticated, "not trusted")


async def test_a_server_of_another_name_is_not_believed(office: Office) -> None:
    async with tls_site(office) as site:
        pair = office.vouch("press.example")
        store = remote(site, office, pair, server_name="jobs.example.com")
        await refused(store, Unauthenticated, "not trusted")


async def test_a_server_may_be_known_by_its_address(office: Office) -> None:
    async with (
        tls_site(office) as site,
        remote(site, office, office.vouch("press.example"), host="127.0.0.1") as store,
    ):
        assert store.info.url.startswith("tls://127.0.0.1")


async def test_plain_tcp_is_not_answered_where_tls_is_spoken(office: Office) -> None:
    async with tls_site(office) as site:
        store = RemoteStore(f"tcp://localhost:{site.port}", clock=SystemClock())
        await refused(store, Unavailable, "tls://")


async def test_tls_is_not_spoken_where_plain_tcp_is_served(office: Office) -> None:
    async with MemoryStore(clock=SystemClock()) as behind, tcp_site(behind) as site:
        await refused(remote(site, office), NotAStore, "does not speak TLS")


async def test_an_old_version_of_tls_is_refused(office: Office) -> None:
    context = ssl.create_default_context(cafile=str(office.file))
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with tls_site(office) as site:
        with pytest.raises(ssl.SSLError):
            async with peer(site.port, ssl=context, server_hostname="localhost"):
                pass


@pytest.mark.parametrize("key", ["certificate", "key", "client_ca"])
async def test_a_file_that_is_not_there_is_told(office: Office, key: str) -> None:
    with pytest.raises(InvalidConfig, match="PEM"):
        async with tls_site(office, **{key: "/nowhere.pem"}):
            pass


async def test_a_client_file_that_is_not_there_is_told(office: Office) -> None:
    async with tls_site(office) as site:
        await refused(
            remote(site, office, Pair(Path("/nowhere.pem"), Path("/nowhere.key"))),
            InvalidConfig,
            "PEM",
        )
