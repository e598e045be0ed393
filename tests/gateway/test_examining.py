"""What `stoker doctor` finds about a store behind a server."""

import msgspec
import pytest

from stoker.connect import examine_store
from stoker.core.errors import Unauthenticated, Unavailable
from stoker.core.records import StoreInfo
from stoker.settings import GatewaySettings, Secret
from stoker.stores.memory import MemoryStore
from stoker.stores.remote.examining import judge_server
from stoker.testing.clock import FakeClock
from tests.gateway.site import tcp_site
from tests.servers.server import free_port

TOKEN = "a token of more than sixteen"
CLIENTS = GatewaySettings(token=Secret(f"{TOKEN} full"), worker_token=Secret(TOKEN))


async def test_a_client_sees_the_server_his_scope_and_what_is_behind() -> None:
    async with MemoryStore(clock=FakeClock()) as store, tcp_site(store, settings=CLIENTS) as site:
        worker = await examine_store(site.url, token=Secret(TOKEN))
        full = await examine_store(site.url, token=Secret(f"{TOKEN} full"))
    found = {f.check: f for f in worker}
    assert found["permissions"].verdict == "ok"
    assert "memory" in found["server"].found
    assert found["durability"].verdict == "problem"
    assert found["clock"].verdict == "warning"  # the store lives by a clock of its own
    everything = {f.check: f for f in full}
    assert everything["permissions"].verdict == "note"
    assert everything["clock"].verdict == "warning"
    assert TOKEN not in repr([worker, full])


async def test_a_server_that_is_not_there_or_does_not_believe_us_is_an_error() -> None:
    with pytest.raises(Unavailable):
        await examine_store(f"tcp://127.0.0.1:{free_port()}?timeout=2")
    async with MemoryStore(clock=FakeClock()) as store, tcp_site(store, settings=CLIENTS) as site:
        with pytest.raises(Unauthenticated):
            await examine_store(site.url, token=Secret("quite another token"))


def test_two_versions_are_worth_a_note() -> None:
    details = {"engine": "sqlite", "engine_version": "3.54"}
    info = StoreInfo(
        engine="remote", version="2", url="", durability="full", can_lose="", details=details
    )
    assert [f.verdict for f in judge_server(info, "1")] == ["note"]
    same = msgspec.structs.replace(info, version="1")
    assert [f.verdict for f in judge_server(same, "1")] == ["ok"]
