"""What arrives: the consumer, and the rings that wait until somebody listens.

One thread polls; the loop takes. Nothing but the polling thread ever touches the consumer.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stoker.brokers.kafka.window import Window
from stoker.core.broker import Delivery, Ring
from stoker.core.job import PRIORITIES

FULL = 1_000
"""Rings that wait at most, about; the rest stays with the server."""
_BATCH = 500
_TIMEOUT = 1.0
_TRIES = 10
_PAUSE = 0.2
_END = -1
"""Kafka's own word for the time at which the newest message was written, and then some."""
_log = logging.getLogger(__name__)
_decode = msgspec.json.Decoder(Ring).decode


class Ear:
    """The consumer of one process."""

    def __init__(
        self,
        config: dict[str, Any],
        logger: Any,
        *,
        on_arrival: Callable[[], None],
    ) -> None:
        """Make a consumer that is subscribed to nothing.

        Args:
            config: What librdkafka is told.
            logger: What librdkafka has to say goes there.
            on_arrival: Called by the polling thread when rings arrived.

        Raises:
            KafkaException: The configuration is no good.
        """
        self._consumer = Consumer(config, logger=logger)
        self._on_arrival = on_arrival
        self._topics: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._pause = threading.Event()
        self._windows: dict[tuple[str, int], Window] = {}
        self._lanes: tuple[deque[Delivery], ...] = tuple(deque() for _ in PRIORITIES)
        self._paused = False
        self.heard = 0
        self.unreadable = 0
        self.fault: KafkaError | None = None
        """What ended the consumer for good: another one must be made."""

    @property
    def handle(self) -> Consumer:
        """The consumer itself, for those who must keep it alive."""
        return self._consumer

    @property
    def partitions(self) -> int:
        """How many partitions are ours now."""
        return len(self._windows)

    @property
    def is_subscribed(self) -> bool:
        """Whether it is a member of the group, or on its way there."""
        return bool(self._topics)

    def subscribe(self, topics: frozenset[str]) -> None:
        """Become or stay a member of the group, for these topics; none: leave it."""
        if topics == self._topics:
            return
        self._topics = topics
        if topics:
            self._consumer.subscribe(
                sorted(topics),
                on_assign=self._assigned,
                on_revoke=self._revoked,
                on_lost=self._lost,
            )
        else:
            self._store()
            self._consumer.unsubscribe()

    def poll(self, timeout: float) -> set[str]:
        """Take in what the server has, waiting for the first of it; return topics that are gone."""
        self._store()
        self._throttle()
        first = self._consumer.poll(timeout)
        if first is None:
            return set()
        found = [first, *self._consumer.consume(_BATCH, 0)]
        gone = {topic for message in found if (topic := self._failed(message))}
        with self._lock:
            arrived = sum(self._keep(message) for message in found if message.error() is None)
        if arrived:
            self._on_arrival()
        return gone

    def take(self, most: int) -> list[Delivery]:
        """Return what waits, the urgent ones first."""
        with self._lock:
            found: list[Delivery] = []
            for lane in self._lanes:
                while lane and len(found) < most:
                    found.append(lane.popleft())
            return found

    def done(self, deliveries: Sequence[Delivery]) -> None:
        """Note what was looked for; the polling thread commits it."""
        with self._lock:
            for delivery in deliveries:
                window, offset = cast("tuple[Window, int]", delivery.tag)
                window.ended(offset)

    @property
    def is_full(self) -> bool:
        """Whether so much waits that the server should keep the rest."""
        return sum(map(len, self._lanes)) >= FULL

    def close(self) -> None:
        """Commit what was looked for and leave the group."""
        self._store()
        self._consumer.close()

    def _keep(self, message: Message) -> int:
        window = self._windows.get((message.topic() or "", message.partition() or 0))
        offset = message.offset()
        if window is None or offset is None:
            return 0
        window.heard(offset)
        try:
            ring = _decode(message.value() or b"")
        except msgspec.DecodeError:
            # Somebody else writes to this topic. Nothing will ever make sense of it.
            self.unreadable += 1
            window.ended(offset)
            return 0
        self.heard += 1
        self._lanes[ring.priority.rank].append(Delivery(ring, (window, offset)))
        return 1

    def _failed(self, message: Message) -> str | None:
        error = message.error()
        if error is None:
            return None
        if error.fatal():
            self.fault = error
        missing = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}  # noqa: SLF001
        return message.topic() if error.code() in missing else None

    def _throttle(self) -> None:
        """Let the server keep what would be too much. Polling goes on: it keeps us in the group."""
        full = self.is_full
        if full == self._paused or not self._windows:
            return
        parts = [TopicPartition(*key) for key in self._windows]
        (self._consumer.pause if full else self._consumer.resume)(parts)
        self._paused = full

    def _store(self) -> None:
        """Give librdkafka the positions to commit."""
        with self._lock:
            found = [
                TopicPartition(window.topic, window.partition, position)
                for window in self._windows.values()
                if (position := window.advance()) is not None
            ]
        if found:
            try:
                self._consumer.store_offsets(offsets=found)
            except KafkaException:
                # A partition that went away in this moment: its rings arrive again elsewhere.
                return

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        begin = self._begin(consumer, partitions)
        with self._lock:
            for part in partitions:
                key = (part.topic, part.partition)
                self._windows[key] = Window(*key)
        consumer.incremental_assign(begin)
        # The new ones flow even if the old ones are paused; the next poll makes them the same.
        self._paused = False

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._store()
        self._lost(consumer, partitions)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        with self._lock:
            for part in partitions:
                window = self._windows.pop((part.topic, part.partition), None)
                if window is not None:
                    window.is_ours = False
            for lane in self._lanes:
                mine = [delivery for delivery in lane if _window(delivery).is_ours]
                lane.clear()
                lane.extend(mine)
        consumer.incremental_unassign(partitions)

    def _begin(self, consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Return where to begin, asking again while a coordinator that was just made wakes up."""
        for _ in range(_TRIES):
            try:
                return self._positions(consumer, partitions)
            except KafkaException as error:
                _log.debug("no positions yet: %s", error)
                self._pause.wait(_PAUSE)
        # Then librdkafka looks by itself: from what was committed, else from the end.
        return partitions

    def _positions(
        self, consumer: Consumer, partitions: list[TopicPartition]
    ) -> list[TopicPartition]:
        """Return where to begin; where nobody ever committed, commit the end at once.

        Without that, a partition in which nothing was committed yet would begin at its end again
        with each new owner, and what was rung between two owners would be lost.
        """
        begin = _whole(consumer.committed(partitions, timeout=_TIMEOUT))
        fresh = [part for part in begin if part.offset < 0]
        if fresh:
            asked = [TopicPartition(part.topic, part.partition, _END) for part in fresh]
            ends = _whole(consumer.offsets_for_times(asked, timeout=_TIMEOUT))
            consumer.commit(offsets=ends, asynchronous=True)
            begin = [*(part for part in begin if part not in fresh), *ends]
        return begin


def _whole(partitions: list[TopicPartition]) -> list[TopicPartition]:
    """Return partitions that were all answered for.

    Raises:
        KafkaException: One was not.
    """
    for part in partitions:
        if part.error is not None:
            raise KafkaException(part.error)
    return partitions


def _window(delivery: Delivery) -> Window:
    window, _ = cast("tuple[Window, int]", delivery.tag)
    return window
