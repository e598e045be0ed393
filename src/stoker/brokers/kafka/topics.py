"""The topics: made where they are missing.

A topic that the server made by itself, because somebody wrote to it, would have one partition and
keep rings for a week; so nothing is written or listened to before its topic is known to exist. To
make one that exists is refused, and that is how one learns it: asking for its description could
abort the process, see `pulse`.
"""

from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from stoker.brokers.kafka.address import Address
from stoker.brokers.kafka.voice import code_of, words_of
from stoker.core.clock import Clock

AGAIN = 10.0
"""Seconds before a topic that was refused is looked for again."""
SOON = 0.5
"""Seconds before a topic is looked for again when nobody answered."""
TIMEOUT = 5.0
"""Seconds that a request may take."""
_SEGMENT = 600.0
_SEGMENT_BYTES = 16 * 1_048_576
_AWAY = {KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError.REQUEST_TIMED_OUT}  # noqa: SLF001
_FORBIDDEN = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.POLICY_VIOLATION,
}


class Topics:
    """Which topics exist. Used by one thread, except for `exists`."""

    def __init__(self, address: Address, admin: AdminClient, clock: Clock) -> None:
        """Know none yet."""
        self._address = address
        self._admin = admin
        self._clock = clock
        self._known: set[str] = set()
        self._wanted: set[str] = set()
        self._making: dict[str, Future[Any]] = {}
        self._again_at: dict[str, float] = {}
        self.faults: dict[str, str] = {}
        """Why a topic is refused, by its name."""

    def exists(self, topic: str) -> bool:
        """Whether a topic is known to exist. Asks nobody."""
        return topic in self._known

    def any(self) -> str | None:
        """Return a topic that exists, if one is known."""
        return next(iter(self._known), None)

    def want(self, topics: Iterable[str]) -> None:
        """Have topics made that are not known to exist, as soon as the servers answer."""
        self._wanted.update(topic for topic in topics if topic not in self._known)

    def forget(self, topic: str) -> None:
        """Make it again when it is wanted again: somebody deleted it."""
        self._known.discard(topic)

    def step(self) -> None:
        """Ask for what is wanted, and obey the answers that came. Waits only after a refusal.

        Only for servers that answer: see `pulse` for what a request without an answer may do.
        """
        now = self._clock.monotonic()
        for topic in self._wanted - self._making.keys():
            if now >= self._again_at.get(topic, now):
                try:
                    self._making[topic] = self._make(topic)
                except KafkaException as error:
                    self._give_up(topic, code_of(error), words_of(error))
        for topic, answer in list(self._making.items()):
            if answer.done():
                del self._making[topic]
                self._obey(topic, answer.exception())

    def _obey(self, topic: str, error: BaseException | None) -> None:
        code = code_of(error)
        if error is None or code == KafkaError.TOPIC_ALREADY_EXISTS or self._is_there(topic, code):
            self._known.add(topic)
            self._wanted.discard(topic)
            self.faults.pop(topic, None)
        else:
            self._give_up(topic, code, words_of(error))

    def _is_there(self, topic: str, code: int | None) -> bool:
        """Whether a topic that may not be made exists: then somebody else made it for us."""
        if code not in _FORBIDDEN:
            return False
        try:
            found = self._admin.list_topics(topic, timeout=TIMEOUT).topics.get(topic)
        except KafkaException:
            return False
        return found is not None and found.error is None

    def _make(self, topic: str) -> Future[Any]:
        segment = min(_SEGMENT, self._address.retention)
        new = NewTopic(
            topic,
            num_partitions=self._address.partitions,
            replication_factor=self._address.replication,
            config={
                "cleanup.policy": "delete",
                "retention.ms": str(round(self._address.retention * 1000)),
                # Only whole segments are deleted, so they must be short and small as well.
                "segment.ms": str(round(segment * 1000)),
                "segment.bytes": str(_SEGMENT_BYTES),
            },
        )
        return self._admin.create_topics([new], request_timeout=TIMEOUT)[topic]

    def _give_up(self, topic: str, code: int | None, reason: str) -> None:
        now = self._clock.monotonic()
        if code in _AWAY:
            # That nobody answers is no fault of the topic.
            self._again_at[topic] = now + SOON
            return
        self._again_at[topic] = now + AGAIN
        self.faults[topic] = f"topic {topic}: {reason}"
        if code in _FORBIDDEN:
            self.faults[topic] = (
                f"the topic {topic} is missing and may not be made ({reason}); allow CREATE and "
                f"DESCRIBE on topics that begin with {self._address.namespace}., or make it: "
                f"kafka-topics.sh --create --topic {topic} "
                f"--partitions {self._address.partitions} --config retention.ms="
                f"{round(self._address.retention * 1000)}"
            )
