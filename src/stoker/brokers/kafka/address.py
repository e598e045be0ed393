"""A URL to where the servers are, and what each of the three clients of librdkafka is told.

Kafka's own names are taken for everything that Kafka has a name for (``security.protocol``,
``ssl.ca.location``), so whoever knows it has nothing to learn; Stoker adds a handful.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from stoker.core.duration import seconds
from stoker.core.errors import InvalidConfig, InvalidOption
from stoker.settings import masked

SCHEMES = ("kafka", "kafkas")
PORT = 9092
PARTITIONS = 12
"""Of each topic, unless the URL says another number. At most as many workers are rung for a queue
at the same time; the others look by themselves."""
RETENTION = 3600.0
"""Seconds that the server keeps rings unless the URL says otherwise: old ones are worth nothing."""
RING_TIMEOUT = 5.0
"""Seconds after which a ring that found no server is given up."""
_MOST = 10_000
_OWN = frozenset({"namespace", "partitions", "replication", "retention"})
_KAFKAS = frozenset(
    {
        "broker.address.family", "client.id", "client.rack", "group.protocol",
        "heartbeat.interval.ms", "max.poll.interval.ms", "sasl.mechanism", "security.protocol",
        "session.timeout.ms", "socket.timeout.ms", "ssl.ca.location", "ssl.certificate.location",
        "ssl.endpoint.identification.algorithm", "ssl.key.location", "ssl.key.password",
    }
)  # fmt: skip
_CONSUMERS = frozenset(
    {"group.protocol", "heartbeat.interval.ms", "max.poll.interval.ms", "session.timeout.ms"}
)
_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,100}")
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,120}")
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True)
class Address:
    """Where the servers are."""

    url: str
    """With every secret masked."""
    namespace: str
    """Begins the names of topics and of the group: what Stoker may touch."""
    partitions: int
    replication: int
    """Copies of each partition; -1: what the server does by itself."""
    retention: float
    secrets: tuple[str, ...]
    """Texts that no log line may show."""
    common: Mapping[str, str | int]
    """What every client is told."""
    listening: Mapping[str, str | int]
    """What the user said for the consumer alone."""

    def topic(self, queue: str) -> str:
        """Return the name of a queue's topic.

        Queues may have names that topics may not, and Kafka takes a dot and an underline for the
        same. So a name with anything else than letters, digits, ``-`` and ``_`` becomes one with
        its digest, which no plain name can be: plain ones have no dot.
        """
        if _PLAIN.fullmatch(queue):
            return f"{self.namespace}.{queue}"
        plain = re.sub(r"[^A-Za-z0-9_-]", "-", queue)[:60]
        return f"{self.namespace}.{plain}.{hashlib.sha256(queue.encode()).hexdigest()[:12]}"

    def producer(self) -> dict[str, Any]:
        """Return the configuration of the producer."""
        return {
            **self.common,
            "enable.idempotence": True,
            "linger.ms": 1,
            # No key, and no sticking to one partition: each ring goes to one by chance, so that a
            # burst reaches many workers.
            "partitioner": "random",
            "sticky.partitioning.linger.ms": 0,
            "message.timeout.ms": round(RING_TIMEOUT * 1000),
            "queue.buffering.max.messages": 10_000,
            "queue.buffering.max.kbytes": 16_384,
            "delivery.report.only.error": True,
        }

    def consumer(self, group: str) -> dict[str, Any]:
        """Return the configuration of the consumer."""
        classic = {
            "partition.assignment.strategy": "cooperative-sticky",
            # A worker that was killed is not rung for so long; the others look by themselves.
            "session.timeout.ms": 10_000,
            "heartbeat.interval.ms": 2_000,
        }
        new = self.listening.get("group.protocol") == "consumer"
        return {
            **self.common,
            "group.id": group,
            "allow.auto.create.topics": False,
            # A backlog that nobody committed is old news.
            "auto.offset.reset": "latest",
            # What was looked for is stored, and librdkafka commits it soon and before a rebalance.
            "enable.auto.offset.store": False,
            "enable.auto.commit": True,
            "auto.commit.interval.ms": 200,
            "queued.min.messages": 1_000,
            "queued.max.messages.kbytes": 4_096,
            **({} if new else classic),
            **self.listening,
        }


def parse(url: str) -> Address:
    """Read a URL.

    Raises:
        InvalidConfig: Not one of Kafka, or with an option that nobody knows.
    """
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=False))
    except ValueError:
        raise _refused(url, "it is no URL") from None
    if parts.scheme not in SCHEMES or parts.path not in {"", "/"} or parts.fragment:
        raise _refused(url, "it has another form")
    unknown = sorted(options.keys() - _OWN - _KAFKAS)
    if unknown:
        raise _refused(url, f"it has the unknown option {unknown[0]}")
    login, _, hosts = parts.netloc.rpartition("@")
    given = {key: value for key, value in options.items() if key in _KAFKAS}
    common: dict[str, str | int] = {
        "bootstrap.servers": _servers(url, hosts),
        "client.id": "stoker",
        "socket.timeout.ms": 10_000,
        "socket.keepalive.enable": "true",
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 2_000,
        "log.connection.close": "false",
        "enable.metrics.push": "false",
        **{key: value for key, value in given.items() if key not in _CONSUMERS},
        **_security(url, parts, login, given),
    }
    secrets = (common.get("sasl.password"), given.get("ssl.key.password"))
    return Address(
        url=masked(url),
        namespace=_namespace(url, options.get("namespace", "stoker")),
        partitions=_count(url, options.get("partitions", str(PARTITIONS)), "partitions"),
        replication=_count(url, options.get("replication", "-1"), "replication", least=-1),
        retention=_retention(url, options.get("retention")),
        secrets=tuple(str(secret) for secret in secrets if secret),
        common=common,
        listening={key: value for key, value in given.items() if key in _CONSUMERS},
    )


def _servers(url: str, hosts: str) -> str:
    found = [_HOST.fullmatch(host) for host in hosts.split(",")]
    if not hosts or not all(found):
        raise _refused(url, "it names no servers")
    return ",".join(f"{one['host']}:{one['port'] or PORT}" for one in found if one)


def _security(
    url: str, parts: SplitResult, login: str, given: Mapping[str, str]
) -> dict[str, str | int]:
    """Return who we are and how the way there is guarded."""
    encrypted = parts.scheme == "kafkas"
    protocol = ("SASL_" if login else "") + ("SSL" if encrypted else "PLAINTEXT")
    protocol = given.get("security.protocol", protocol).upper()
    if encrypted and not protocol.endswith("SSL"):
        raise _refused(url, f"kafkas:// means TLS, and security.protocol={protocol} has none")
    if bool(login) != protocol.startswith("SASL_"):
        raise _refused(url, f"security.protocol={protocol} and a user do not go together")
    if not login:
        return {"security.protocol": protocol}
    mechanism = given.get("sasl.mechanism", "PLAIN").upper()
    if mechanism == "PLAIN" and "sasl.mechanism" not in given and protocol != "SASL_SSL":
        # Over a bare wire it would show the password to whoever listens, so that is never a
        # default.
        raise _refused(
            url, "a password without TLS needs a mechanism, such as &sasl.mechanism=SCRAM-SHA-512"
        )
    user, _, password = login.partition(":")
    return {
        "security.protocol": protocol,
        "sasl.mechanism": mechanism,
        "sasl.username": unquote(user),
        "sasl.password": unquote(password),
    }


def _namespace(url: str, text: str) -> str:
    if not _NAMESPACE.fullmatch(text):
        raise _refused(url, f"the namespace is {text!r}")
    return text


def _count(url: str, text: str, name: str, *, least: int = 1) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number == 0 or not least <= number <= _MOST:
        raise _refused(url, f"{name} is {text!r}")
    return number


def _retention(url: str, text: str | None) -> float:
    try:
        wanted = RETENTION if text is None else seconds(text, name="retention")
    except InvalidOption as error:
        raise _refused(url, str(error)) from None
    if wanted < 1:
        raise _refused(url, f"the retention is {text!r}")
    return wanted


def _refused(url: str, why: str) -> InvalidConfig:
    return InvalidConfig(
        f"the broker is {masked(url)!r}: {why}; expected "
        "kafka://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]...]/ or kafkas:// for TLS, optionally "
        "with ?namespace=NAME (letters, digits, . - and _), &partitions=N, &replication=N, "
        "&retention=1h, or Kafka's own " + ", ".join(sorted(_KAFKAS)),
        url=masked(url),
    )
