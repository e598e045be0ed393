"""Whether the servers answer: asked now and then, because librdkafka tells only what went wrong.

What is asked is where one topic is. The administrative requests, which need not be waited for,
would be nearer at hand, but librdkafka 2.16 aborts the whole process in some outages while one of
them is under way.
"""

import contextlib
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Producer

from stoker.brokers.kafka.voice import words_of
from stoker.core.clock import Clock

EVERY = 5.0
"""Seconds between two questions while all is well."""
SOON = 0.5
"""Seconds between two questions while it is not."""
PATIENCE = 2.0
"""Seconds that an answer may take while all is well."""
_OFFSETS = "__consumer_offsets"
"""The topic that each cluster with a group has, for a process that has none of its own yet."""


class Pulse:
    """Asks one server. Used by one thread; its attributes by all.

    Attributes:
        beats: Whether the last question was answered.
        server: Who answered.
        fault: Why nobody did; empty until that is known.
    """

    def __init__(self, clock: Clock) -> None:
        """Ask at the first step."""
        self._clock = clock
        self._next = float("-inf")
        self._cause = ""
        self.beats = False
        self.server = ""
        self.fault = ""

    def step(self, producer: Producer, topic: Callable[[], str | None]) -> None:
        """Ask when it is time. Waits for the answer, for `PATIENCE` seconds at most.

        Args:
            producer: Whose connection is used.
            topic: Gives a topic that exists: one that does not might be made by the question.
        """
        if self._clock.monotonic() < self._next:
            return
        try:
            # The first one may have to wait for the connection.
            patient = self.beats or not self.fault
            producer.list_topics(topic() or _OFFSETS, timeout=PATIENCE if patient else SOON)
        except KafkaException as error:
            # The causes are told by events, which were not served meanwhile.
            producer.poll(0)
            self._miss(self._cause or words_of(error))
        else:
            self.beats, self.fault, self._cause = True, "", ""
            with contextlib.suppress(KafkaException):
                self.server = f"Kafka cluster {producer.cluster_id(timeout=0)}"
        self._next = self._clock.monotonic() + (EVERY if self.beats else SOON)

    def hear(self, error: KafkaError) -> None:
        """Note what a client complained of. One lost connection of many is no loss yet."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - its code
            self._miss(self._cause or error.str())
            self._next = self._clock.monotonic()
        else:
            self._cause = error.str()
            if not self.beats:
                self.fault = self._cause

    def _miss(self, why: str) -> None:
        self.beats = False
        self.fault = why
