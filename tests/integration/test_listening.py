"""Where a server may listen, and what it asks there (S10): certificates, keys, a way round both."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509

from stoker.app.keys import create_key
from stoker.app.stoker import Stoker
from stoker.core.errors import InvalidConfig, InvalidOption
from stoker.server.run import Listener, listen, serve, tls_of
from stoker.settings import ServerSettings, Settings
from stoker.testing import wait_until
from tests.gateway.certificates import Office

LOCAL = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
ANYWHERE = "0.0.0.0"  # noqa: S104 - what these tests are about


def make_app(folder: Path, **server: Any) -> Stoker:
    return Stoker(
        settings=Settings(
            store=f"sqlite:///{folder / 'stoker.db'}", server=ServerSettings(**server)
        )
    )


def certified(folder: Path) -> dict[str, str]:
    pair = Office(folder).vouch("localhost", LOCAL)
    return {"certificate": str(pair.certificate), "key": str(pair.key)}


async def new_key(app: Stoker, *scopes: str) -> str:
    made = await app.arun(
        lambda store: create_key(store, app.clock, actor="me", name=scopes[0], scopes=scopes)
    )
    return made.key


@asynccontextmanager
async def serving(app: Stoker, host: str, **how: Any) -> AsyncIterator[Listener]:
    stop, started = asyncio.Event(), asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(
            serve(app, host, 0, stop=stop, started=started.set_result, grace=1, **how)
        )
        await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
        try:
            if not task.done():
                yield await started
        finally:
            stop.set()


def client(bound: Listener, folder: Path | None = None) -> httpx2.AsyncClient:
    verify: Any = True
    if folder is not None:
        verify = ssl.create_default_context(cafile=str(folder / "authority.pem"))
    return httpx2.AsyncClient(base_url=bound.url, verify=verify)


def test_no_port_is_opened_to_others_without_tls() -> None:
    with pytest.raises(InvalidOption, match=r"--certificate.*--insecure"):
        listen(ANYWHERE, 0)
    listen(ANYWHERE, 0, insecure=True).close()
    listen(ANYWHERE, 0, secured=True).close()
    listen("127.0.0.1", 0).close()


async def test_nor_is_one_served_with_tls_while_there_is_no_key(tmp_path: Path) -> None:
    app = make_app(tmp_path, **certified(tmp_path))
    with pytest.raises(InvalidOption, match="stoker keys create"):
        async with app:
            await serve(app, ANYWHERE, 0)


async def test_a_revoked_key_is_no_key(tmp_path: Path) -> None:
    app = make_app(tmp_path, **certified(tmp_path))
    async with app:
        await new_key(app, "admin")
        [info] = await app.arun(lambda store: store.keys())
        await app.arun(lambda store: store.put_keys(revoke=[info.spec.id]))
        with pytest.raises(InvalidOption, match="stoker keys create"):
            await serve(app, ANYWHERE, 0)


async def test_with_tls_and_a_key_others_are_served_and_asked(tmp_path: Path) -> None:
    app = make_app(tmp_path, **certified(tmp_path))
    async with app:
        key = await new_key(app, "read")
        async with serving(app, ANYWHERE) as bound, client(bound, tmp_path) as http:
            assert bound.url.startswith("https://")
            assert (await http.get("/health")).status_code == 200
            assert (await http.get("/api/v1/jobs")).status_code == 401
            shown = {"authorization": f"Bearer {key}"}
            assert (await http.get("/api/v1/jobs", headers=shown)).status_code == 200
            cookie = (await http.post("/login", json={"key": key})).headers["set-cookie"]
            assert cookie.startswith("__Host-stoker_login=")
            assert "Secure" in cookie
            assert (await http.get("/api/v1/jobs")).status_code == 200


async def test_with_tls_nobody_is_served_without_it(tmp_path: Path) -> None:
    app = make_app(tmp_path, **certified(tmp_path))
    async with app, serving(app, "127.0.0.1") as bound:
        async with httpx2.AsyncClient(base_url=bound.url.replace("https", "http")) as http:
            with pytest.raises(httpx2.TransportError):
                await http.get("/health")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(str(tmp_path / "authority.pem"))
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        async with httpx2.AsyncClient(base_url=bound.url, verify=old) as http:
            with pytest.raises(httpx2.TransportError):
                await http.get("/health")


async def test_insecure_lets_everybody_in_until_there_is_a_key(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    async with app, serving(app, ANYWHERE, insecure=True) as bound, client(bound) as http:
        assert (await http.get("/api/v1/jobs")).status_code == 200
        await new_key(app, "read")

        async def asks() -> bool:
            return (await http.get("/api/v1/jobs")).status_code == 401

        await wait_until(asks, "the server asks for a key")


@pytest.mark.parametrize(
    "wrong",
    [{"key": "key.pem"}, {"certificate": "nowhere.pem"}, {"certificate": __file__}],
)
def test_a_certificate_that_cannot_be_used_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidConfig, match=r"server\.certificate"):
        tls_of(ServerSettings(**wrong))  # type: ignore[arg-type]
