"""URLs of RabbitMQ, and the names of queues there."""

import re

import pytest
from aiormq import Connection
from aiormq.exceptions import ConnectionNotAllowed, ProbableAuthenticationError

from stoker.brokers.rabbitmq import RabbitBroker
from stoker.brokers.rabbitmq.address import parse
from stoker.brokers.rabbitmq.faults import describe
from stoker.connect import open_broker, open_store
from stoker.core.errors import InvalidConfig
from stoker.core.job import Priority

TAKEN = re.compile(r"[a-zA-Z0-9-_.:@#,/><]{1,255}")
"""What the driver takes as the name of a queue."""


def test_a_url_says_where_who_and_which_queues() -> None:
    found = parse("amqp://bob:s%2F%40x@mq.example:5673/team%2Fa?namespace=blue")
    assert (found.host, found.port, found.user, found.password) == (
        "mq.example",
        5673,
        "bob",
        "s/@x",
    )
    assert (found.vhost, found.namespace) == ("team/a", "blue")
    assert found.shown == "amqp://bob:***@mq.example:5673/team%2Fa?namespace=blue"


def test_what_a_url_leaves_out_has_the_usual_values() -> None:
    plain, secure = parse("amqp://mq"), parse("amqps://mq")
    assert (plain.port, plain.user, plain.vhost, plain.namespace) == (5672, "guest", "/", "stoker")
    assert secure.port == 5671


async def test_the_driver_gets_the_same_place_and_password() -> None:
    driver = Connection(parse("amqp://b%3Ab:p%2F%40%3A%20w@mq/a%2Fb%20%C3%BC").url)
    url = driver.url
    assert (url.user, url.password, url.host, url.port) == ("b:b", "p/@: w", "mq", 5672)
    assert driver.vhost == "a/b ü"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("amqp://", "names no host"),
        ("amqp://mq:port", "no URL"),
        ("amqp://mq/a/b", "slash"),
        ("amqp://mq?namespace=a.b", "namespace"),
        ("amqp://mq?namespace=amq", "namespace"),
        ("amqp://mq?heartbeat=1", "unknown"),
        ("amqp://mq?ca=ca.pem", "amqps"),
        ("amqps://mq?key=k.pem", "cert"),
    ],
)
def test_a_wrong_url_is_refused_with_what_is_wrong(url: str, said: str) -> None:
    with pytest.raises(InvalidConfig, match=said) as refused:
        parse(url.replace("://", "://bob:hunter2@", 1) if "mq" in url else url)
    assert "hunter2" not in str(refused.value)


def test_a_certificate_that_is_not_there_is_an_error_at_once() -> None:
    with pytest.raises(InvalidConfig, match="certificates"):
        open_broker("amqps://mq?ca=/nowhere/ca.pem")


def test_connect_opens_a_rabbitmq_and_refuses_what_it_does_not_know() -> None:
    assert isinstance(open_broker("amqp://mq"), RabbitBroker)
    with pytest.raises(InvalidConfig, match="amqp://"):
        open_store("memory://", broker="mqtt://mq")


@pytest.mark.parametrize(
    "name", ["default", "a b", "*", "Ünï 🔔", "a\nb", "a%0Ab", "a@0Ab", "x" * 400, "y" * 400]
)
def test_each_queue_has_a_name_of_its_own_that_the_server_takes(name: str) -> None:
    address = parse("amqp://mq")
    mine = {address.queue(name, priority) for priority in Priority}
    assert len(mine) == 3
    assert all(TAKEN.fullmatch(full) for full in mine)
    others = ["default", "a b", "*", "a\nb", "a%0Ab", "a@0Ab", "x" * 400, "y" * 400, "Ünï 🔔"]
    theirs = {address.queue(o, p) for o in others if o != name for p in Priority}
    assert mine.isdisjoint(theirs)


def test_a_namespace_and_a_queue_cannot_be_taken_for_others() -> None:
    one = parse("amqp://mq?namespace=a").queue("b", Priority.HIGH)
    two = parse("amqp://mq?namespace=a-b").queue("b", Priority.HIGH)
    assert one != two
    assert one == "a.b.high"


def test_what_is_wrong_is_said_in_words_without_the_password() -> None:
    address = parse("amqp://bob:hunter2@mq/team")
    refused = describe(ProbableAuthenticationError("ACCESS_REFUSED"), address)
    assert "refused the user 'bob'" in refused
    missing = describe(ConnectionNotAllowed("vhost team not found"), address)
    assert "rabbitmqctl add_vhost team" in missing
    silent = describe(TimeoutError(), address)
    assert "does not answer" in silent
    assert "hunter2" not in refused + missing + silent
