import pytest

from stoker.brokers.kafka.address import PARTITIONS, RETENTION, parse
from stoker.core.errors import InvalidConfig


def test_the_least_that_one_can_say_is_a_host() -> None:
    address = parse("kafka://kafka.example")

    assert address.common["bootstrap.servers"] == "kafka.example:9092"
    assert address.common["security.protocol"] == "PLAINTEXT"
    assert (address.namespace, address.partitions) == ("stoker", PARTITIONS)
    assert (address.replication, address.retention) == (-1, RETENTION)


def test_several_servers_may_be_named_each_with_its_port() -> None:
    address = parse("kafka://a:1,b,[::1]:3/?namespace=site.one&partitions=3&retention=10m")

    assert address.common["bootstrap.servers"] == "a:1,b:9092,[::1]:3"
    assert (address.namespace, address.partitions, address.retention) == ("site.one", 3, 600)


def test_a_user_over_tls_is_known_by_his_password() -> None:
    address = parse("kafkas://me:se%40cret@a/?ssl.ca.location=/ca.pem&ssl.key.password=other")

    assert address.common["security.protocol"] == "SASL_SSL"
    assert address.common["sasl.mechanism"] == "PLAIN"
    assert address.common["sasl.password"] == "se@cret"
    assert address.common["ssl.ca.location"] == "/ca.pem"
    assert set(address.secrets) == {"se@cret", "other"}
    assert "cret" not in address.url
    assert "other" not in address.url


def test_a_password_travels_in_the_clear_only_if_one_says_so() -> None:
    with pytest.raises(InvalidConfig, match="mechanism"):
        parse("kafka://me:secret@a/")

    scram = parse("kafka://me:secret@a/?sasl.mechanism=SCRAM-SHA-512")
    plain = parse("kafka://me:secret@a/?sasl.mechanism=PLAIN")

    assert scram.common["security.protocol"] == plain.common["security.protocol"]
    assert scram.common["security.protocol"] == "SASL_PLAINTEXT"


def test_what_is_for_the_consumer_reaches_it_alone() -> None:
    address = parse("kafka://a/?max.poll.interval.ms=20000&client.rack=one")

    assert address.consumer("group")["max.poll.interval.ms"] == "20000"
    assert "max.poll.interval.ms" not in address.producer()
    assert address.consumer("group")["client.rack"] == "one"
    assert address.producer()["client.rack"] == "one"


def test_the_new_group_protocol_is_told_nothing_of_the_old_one() -> None:
    new = parse("kafka://a/?group.protocol=consumer").consumer("group")
    old = parse("kafka://a/").consumer("group")

    assert "session.timeout.ms" not in new
    assert "partition.assignment.strategy" not in new
    assert old["partition.assignment.strategy"] == "cooperative-sticky"


@pytest.mark.parametrize(
    "url",
    [
        "kafka://",
        "kafka://:9092",
        "kafka://a:port",
        "kafka://a,,b",
        "kafka://a/topic",
        "kafka://a/?colour=red",
        "kafka://a/?ssl.engine.location=/tmp/x.so",
        "kafka://a/?partitions=0",
        "kafka://a/?partitions=many",
        "kafka://a/?replication=-2",
        "kafka://a/?retention=soon",
        "kafka://a/?retention=0",
        "kafka://a/?namespace=with%20space",
        "kafkas://a/?security.protocol=PLAINTEXT",
        "kafka://a/?security.protocol=SASL_SSL",
        "kafkas://me:secret@a/?security.protocol=SSL",
        "amqp://a/",
        "kafka://[a/",
    ],
)
def test_what_means_nothing_is_refused_and_what_is_expected_is_said(url: str) -> None:
    with pytest.raises(InvalidConfig, match=r"expected kafka://") as caught:
        parse(url)

    assert "secret" not in str(caught.value)


def test_queues_of_different_names_have_different_topics() -> None:
    address = parse("kafka://a/")
    names = ["mail", "mail_x", "mail-x", "mail.x", "mail/x", "mail:x", "m" * 200, "m" * 199]

    topics = [address.topic(name) for name in names]

    assert topics[:3] == ["stoker.mail", "stoker.mail_x", "stoker.mail-x"]
    # Kafka takes a dot for an underline when it compares names.
    assert len({topic.replace(".", "_") for topic in topics}) == len(names)
    assert all(len(topic) <= 249 for topic in topics)
    assert all(set(topic) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-") for topic in topics)
