"""Passwords, certificates and permissions, on a real server that asks for them."""

import ipaddress
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from cryptography import x509

from stoker.brokers.kafka import KafkaBroker
from stoker.core.errors import InvalidConfig
from stoker.testing import wait_until
from tests.gateway.certificates import Office
from tests.kafka.conftest import SLOW, attend, connected, hear, ids_of, ring
from tests.servers.kafka import KafkaServer

ADMIN, GUEST = "first-secret", "second-secret"
USERS = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required "
    f'username="admin" password="{ADMIN}" user_admin="{ADMIN}" user_guest="{GUEST}";'
)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """Vouches for the server."""
    return Office(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def guarded(office: Office) -> Iterator[KafkaServer]:
    """A server that takes only TLS and a password, and lets only the administrator do things."""
    pair = office.vouch("server", [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    both = pair.certificate.with_suffix(".both.pem")
    both.write_bytes(pair.key.read_bytes() + pair.certificate.read_bytes())
    settings = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(both),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(office.file),
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.clients.plain.sasl.jaas.config": USERS,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # The controller's own listener knows nobody by name.
        "super.users": "User:admin;User:ANONYMOUS",
    }
    server = KafkaServer(scheme="SASL_SSL", **settings)
    server.start()
    yield server
    server.close()


def url(server: KafkaServer, user: str, password: str, ca: Path, **options: str) -> str:
    more = "".join(f"&{name}={value}" for name, value in options.items())
    return (
        f"kafkas://{user}:{password}@127.0.0.1:{server.port}/"
        f"?ssl.ca.location={ca}&partitions=2{more}"
    )


def administrator(server: KafkaServer, office: Office) -> AdminClient:
    """Return a client that may do everything."""
    return server.administrator(
        {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "admin",
            "sasl.password": ADMIN,
            "ssl.ca.location": str(office.file),
        }
    )


async def fault_of(broker: KafkaBroker, text: str) -> str:
    """Wait until the broker says why it is not connected, in these words."""
    await wait_until(
        lambda: text in broker.status().error.lower(),
        f"{text} in {broker.status().error}",
        timeout=SLOW,
    )
    state = broker.status()
    assert not state.connected
    return state.error


async def test_rings_pass_through_tls_to_one_who_shows_his_password(
    guarded: KafkaServer, office: Office
) -> None:
    async with KafkaBroker(url(guarded, "admin", ADMIN, office.file)) as broker:
        await attend(broker)
        broker.ring([ring("job")])
        found = await hear(broker, 1)

    assert ids_of(found) == ["job"]


async def test_a_wrong_password_is_said_and_not_shown(
    guarded: KafkaServer, office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with KafkaBroker(url(guarded, "admin", "wrong-secret", office.file)) as broker:
        error = await fault_of(broker, "authentication")

    assert "wrong-secret" not in error
    assert "wrong-secret" not in caplog.text


async def test_a_server_whose_certificate_nobody_vouched_for_is_refused(
    guarded: KafkaServer, tmp_path: Path
) -> None:
    stranger = Office(tmp_path, "stranger")
    async with KafkaBroker(url(guarded, "admin", ADMIN, stranger.file)) as broker:
        error = await fault_of(broker, "certificate")

    assert ADMIN not in error


async def test_what_one_may_not_make_is_named_with_what_to_do(
    guarded: KafkaServer, office: Office
) -> None:
    async with KafkaBroker(url(guarded, "guest", GUEST, office.file)) as broker:
        broker.ring([ring("job", queue="mail")])
        error = await fault_of(broker, "may not be made")

    assert "stoker.mail" in error
    assert "kafka-topics.sh --create --topic stoker.mail --partitions 2" in error


async def test_the_permissions_that_the_guide_names_are_enough(
    guarded: KafkaServer, office: Office
) -> None:
    operations = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE, AclOperation.CREATE
    topics = (ResourceType.TOPIC, "site.", ResourcePatternType.PREFIXED)
    group = (ResourceType.GROUP, "site", ResourcePatternType.LITERAL)
    allowed = [(topics, operation) for operation in operations] + [(group, AclOperation.READ)]
    admin = administrator(guarded, office)
    answers = admin.create_acls(
        [
            AclBinding(*what, "User:guest", "*", operation, AclPermissionType.ALLOW)
            for what, operation in allowed
        ]
    )
    for answer in answers.values():
        answer.result(timeout=SLOW)
    address = url(guarded, "guest", GUEST, office.file, namespace="site")
    async with KafkaBroker(address) as broker:
        await attend(broker)
        broker.ring([ring("job")])
        found = await hear(broker, 1)

    assert ids_of(found) == ["job"]


async def test_a_topic_that_an_operator_made_is_used_as_it_is(
    guarded: KafkaServer, office: Office
) -> None:
    admin = administrator(guarded, office)
    made = admin.create_topics([NewTopic("own.default", num_partitions=1, replication_factor=1)])
    made["own.default"].result(timeout=SLOW)
    address = url(guarded, "admin", ADMIN, office.file, namespace="own")
    async with KafkaBroker(address) as broker, KafkaBroker(address) as outside:
        await attend(broker)
        await connected(outside)
        outside.ring([ring("job")])
        found = await hear(broker, 1)
        partitions = admin.list_topics("own.default", timeout=SLOW).topics["own.default"].partitions

    assert ids_of(found) == ["job"]
    assert len(partitions) == 1


@pytest.mark.parametrize(
    "options", ["ssl.ca.location=/there/is/none.pem", "ssl.key.location=/none"]
)
async def test_what_can_never_work_is_said_when_it_is_opened(options: str) -> None:
    broker = KafkaBroker(f"kafkas://me:hidden-secret@127.0.0.1/?{options}")

    with pytest.raises(InvalidConfig) as caught:
        await broker.__aenter__()

    assert "hidden-secret" not in str(caught.value)


async def test_a_mechanism_that_nobody_knows_is_said_when_it_is_opened() -> None:
    broker = KafkaBroker("kafkas://me:secret@127.0.0.1/?sasl.mechanism=GUESS")

    with pytest.raises(InvalidConfig, match="GUESS"):
        await broker.__aenter__()
