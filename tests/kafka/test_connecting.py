"""Kafka by its URL, as the shell and an application name it."""

import sys

import pytest

from stoker.brokers.kafka import KafkaBroker
from stoker.brokers.ringing import RingingStore
from stoker.connect import examine_broker, open_broker, open_store
from stoker.core.errors import InvalidConfig, MissingExtra
from tests.kafka.conftest import fresh_url
from tests.servers.kafka import KafkaServer
from tests.servers.server import free_port


def test_a_url_puts_kafka_in_front_of_a_store() -> None:
    store = open_store("memory://", broker="kafka://a,b:9093/?namespace=site")

    assert isinstance(store, RingingStore)
    assert isinstance(open_broker("kafkas://me:secret@a/"), KafkaBroker)


def test_a_url_that_means_nothing_shows_no_password() -> None:
    with pytest.raises(InvalidConfig, match="partitions") as caught:
        open_broker("kafkas://me:hidden-secret@a/?partitions=no")

    assert "hidden-secret" not in str(caught.value)


def test_a_missing_driver_is_told_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("stoker.brokers.kafka")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)

    with pytest.raises(MissingExtra, match=r"pip install 'stoker\[kafka\]'"):
        open_broker("kafka://a/")


async def test_the_doctor_names_the_server(server: KafkaServer) -> None:
    finding, way, rung = await examine_broker(fresh_url(server))
    assert (rung.check, rung.verdict) == ("broker rings", "ok")
    assert (way.check, way.verdict) == ("broker encryption", "ok")

    assert finding.verdict == "ok"
    assert "Kafka cluster" in finding.found


async def test_the_doctor_says_why_there_is_no_connection() -> None:
    [finding] = await examine_broker(f"kafka://127.0.0.1:{free_port()}/")

    assert finding.verdict == "warning"
    assert "refused" in finding.found
