"""A secret in every place that may hold one appears on no page that a server shows."""

from collections.abc import AsyncIterator

import pytest

from stoker.app.stoker import Stoker
from stoker.server.http import make_server_app
from stoker.settings import (
    GatewayClient,
    GatewaySettings,
    Secret,
    Settings,
    TaskSettings,
)
from stoker.stores.memory import MemoryStore
from tests.unit.server.asking import Asking

CANARY = "canary0123456789canary0123456789"


@pytest.fixture
async def ask() -> AsyncIterator[Asking]:
    settings = Settings(
        store=f"postgresql://stoker:{CANARY}@db/jobs",
        broker=f"amqp://stoker:{CANARY}@mq/",
        token=Secret(CANARY),
        gateway=GatewaySettings(
            token=Secret(CANARY),
            worker_token=Secret(CANARY),
            clients={"mill": GatewayClient(token=Secret(CANARY))},
        ),
        tasks=TaskSettings(encryption_key=Secret(CANARY), smtp=f"smtp://mailer:{CANARY}@mail:25"),
    )
    app = Stoker(settings=settings)
    store = MemoryStore(clock=app.clock)
    async with store:
        app._store = store
        asking = Asking(make_server_app(app))
        async with asking.http:
            yield asking
        app._store = None


@pytest.mark.parametrize(
    "path", ["/settings", "/overview", "/metrics", "/workers", "/events", "/openapi.json"]
)
async def test_no_answer_tells_a_secret(ask: Asking, path: str) -> None:
    answer = await ask.get(path)
    assert answer.status == 200
    assert CANARY not in answer.text


async def test_the_settings_still_say_where_things_are(ask: Asking) -> None:
    settings = (await ask.get("/settings")).ok()["settings"]
    assert settings["store"] == "postgresql://stoker:***@db/jobs"
    assert settings["broker"] == "amqp://stoker:***@mq/"
    assert settings["tasks.smtp"] == "smtp://mailer:***@mail:25"
    assert settings["gateway.clients"]["mill"]["token"] == "***"
