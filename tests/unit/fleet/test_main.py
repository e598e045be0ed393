"""The process of a fleet in the background, before it does anything."""

import io
import sys
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from stoker.core.errors import Unavailable
from stoker.core.store import Store
from stoker.fleet import __main__ as background
from stoker.fleet.background import Order
from stoker.fleet.kinds import plain
from stoker.settings import FleetSettings


def test_it_opens_the_store_with_the_broker_and_the_token_of_its_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: dict[str, Any] = {}

    def refuse(url: str, **how: Any) -> Store:
        opened.update(how, url=url)
        raise Unavailable("nobody is there")

    order = Order(
        store="tcp://here",
        broker="amqp://bell",
        token="a-token-nobody-guesses",
        prefix="w",
        kinds=(plain(FleetSettings(name="w"), command=["true"], slots=1, queues=()),),
        ttl=30.0,
        drain=1.0,
        run_dir=".",
    )
    monkeypatch.setattr(background, "open_store", refuse)
    monkeypatch.setattr(
        sys, "stdin", SimpleNamespace(buffer=io.BytesIO(msgspec.json.encode(order)))
    )
    assert background.main() == 1
    assert (opened["url"], opened["broker"]) == ("tcp://here", "amqp://bell")
    assert opened["token"].reveal() == "a-token-nobody-guesses"
