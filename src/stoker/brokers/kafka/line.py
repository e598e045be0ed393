"""The line to the servers: three clients of librdkafka and the one thread that looks after them.

The loop hands rings straight to the producer, which only queues them, and takes what arrived out
of the ear. All that could wait, or that librdkafka wants to tell, happens in the thread.
"""

import contextlib
import ctypes
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from stoker.brokers.kafka.address import RING_TIMEOUT, Address
from stoker.brokers.kafka.ear import Ear
from stoker.brokers.kafka.pulse import Pulse
from stoker.brokers.kafka.topics import Topics
from stoker.brokers.kafka.voice import Voice, concealing, words_of
from stoker.core.broker import BrokerStatus, Delivery, Ring
from stoker.core.clock import Clock
from stoker.core.errors import InvalidConfig

TICK = 0.1
"""Seconds that the thread sleeps at most before it looks what the loop wants."""
LINGER = 5.0
"""Seconds that a process which stopped listening stays in the group: coming and going moves
partitions, and most are back before that."""
FLUSH = 2.0
"""Seconds that rings may take to leave when the line is closed."""
PAUSE = 1.0
"""Seconds before the thread goes on after an error that nobody foresaw."""
OUTBOX = 1_000
"""Rings that may wait until their topic is known to exist."""
_MOMENT = 0.02
_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class Line:
    """The clients of one process. Verbs are the loop's unless they say otherwise."""

    def __init__(
        self,
        address: Address,
        clock: Clock,
        *,
        linger: float = LINGER,
        on_arrival: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        """Make the clients; librdkafka begins to connect.

        Args:
            address: Where to.
            clock: Time for what is done now and then.
            linger: See `LINGER`.
            on_arrival: Called by the thread when rings arrived.
            on_end: Called by the thread when it ends.

        Raises:
            InvalidConfig: It can never work: a file is missing, or an option contradicts another.
        """
        self._address = address
        self._clock = clock
        self._linger = linger
        self._on_arrival = on_arrival
        self._on_end = on_end
        self._conceal = concealing(address.secrets)
        self._voice = Voice(clock, self._conceal)
        self._broken = False
        try:
            self._producer = self._make_producer()
            config: dict[str, Any] = {**address.common, "error_cb": self._complained}
            self._admin = AdminClient(config, logger=self._voice)
        except KafkaException as error:
            raise InvalidConfig(
                f"the broker is {address.url!r}, and librdkafka refuses it: "
                f"{self._conceal(words_of(error))}",
                url=address.url,
            ) from None
        self._pulse = Pulse(clock)
        self._topics = Topics(address, self._admin, clock)
        self._ear: Ear | None = None
        self._names: dict[str, str] = {}
        self._outbox: deque[tuple[float, str, bytes]] = deque()
        self._wanted: frozenset[str] = frozenset()
        self._unwanted_since = 0.0
        # Each number is changed by one thread only.
        self._rung = self._refused = 0
        self._sent = self._lost = self._heard = 0
        self._pid = os.getpid()
        self._was_connected = False
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stoker-kafka", daemon=True)
        _lines.add(self)

    def start(self) -> None:
        """Begin to look after the clients."""
        self._thread.start()

    def ring(self, rings: Sequence[Ring]) -> None:
        """Queue rings; never waits."""
        if os.getpid() != self._pid:
            # A forked child: the clients' threads are in its parent, and nothing would ever leave.
            self._refused += len(rings)
            return
        for ring in rings:
            topic = self._topic(ring.queue)
            payload = _encode(ring)
            if self._topics.exists(topic):
                if self._send(topic, payload):
                    self._rung += 1
                else:
                    self._refused += 1
            elif len(self._outbox) < OUTBOX:
                self._outbox.append((self._clock.monotonic() + RING_TIMEOUT, topic, payload))
                self._wake.set()
            else:
                self._refused += 1

    def attend(self, queues: Sequence[str]) -> None:
        """Say which queues somebody listens to from now on."""
        wanted = frozenset(map(self._topic, queues))
        if wanted != self._wanted:
            self._unwanted_since = self._clock.monotonic()
            self._wanted = wanted
            self._wake.set()

    def take(self, most: int) -> list[Delivery]:
        """Return what arrived, the urgent ones first."""
        ear = self._ear
        if ear is None:
            return []
        was_full = ear.is_full
        found = ear.take(most)
        if was_full:
            self._wake.set()
        return found

    def done(self, deliveries: Sequence[Delivery]) -> None:
        """Note what was looked for."""
        if self._ear is not None:
            self._ear.done(deliveries)

    def status(self) -> BrokerStatus:
        """Return how it does."""
        error = self._fault()
        ear = self._ear
        return BrokerStatus(
            scheme="kafka",
            connected=self._pulse.beats and not error,
            server=self._pulse.server,
            error=self._conceal(error),
            rung=self._rung + self._sent,
            dropped=self._refused + self._lost,
            heard=self._heard + (ear.heard if ear else 0),
        )

    def close(self) -> None:
        """Let the thread end; it says when it did."""
        self._closing.set()
        self._wake.set()

    def unsent(self) -> int:
        """Return how many rings have not left yet."""
        return len(self._outbox) + len(self._producer)

    def handles(self) -> tuple[object, ...]:
        """Return the clients themselves, for those who must keep them alive."""
        ear = self._ear
        return (self._producer, self._admin, *((ear.handle,) if ear else ()))

    def _topic(self, queue: str) -> str:
        topic = self._names.get(queue)
        if topic is None:
            topic = self._names[queue] = self._address.topic(queue)
        return topic

    def _send(self, topic: str, payload: bytes) -> bool:
        """Hand a ring to the producer; False if that is full or broken. Loop and thread."""
        try:
            self._producer.produce(topic, payload)
        except (BufferError, KafkaException):
            return False
        return True

    def _fault(self) -> str:
        if not self._pulse.beats:
            return self._pulse.fault
        for topic in self._names.values():
            if topic in self._topics.faults:
                return self._topics.faults[topic]
        if self._wanted and (self._ear is None or not self._ear.partitions):
            return (
                f"no partition is assigned to this process: it is new in the group, or there are "
                f"more listeners than the {self._address.partitions} partitions; it looks by itself"
            )
        return ""

    # --- The thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                try:
                    self._turn()
                except Exception:  # noqa: BLE001 - the border: a defect must not end the thread
                    _log.exception("the broker's thread met an error, and begins anew")
                    self._drop_ear()
                    self._closing.wait(PAUSE)
            self._hang_up()
        finally:
            self._on_end()

    def _turn(self) -> None:
        self._producer.poll(0)
        self._admin.poll(0)
        self._pulse.step(self._producer, self._topics.any)
        if self._pulse.beats:
            self._topics.step()
        self._empty_outbox()
        self._mend()
        self._report()
        self._listen()

    def _listen(self) -> None:
        self._subscribe()
        ear = self._ear
        if ear is None or ear.is_full:
            self._wake.wait(TICK)
        self._wake.clear()
        if ear is not None:
            for topic in ear.poll(0 if ear.is_full else TICK):
                self._topics.forget(topic)

    def _subscribe(self) -> None:
        wanted = self._wanted
        if not wanted:
            away = self._clock.monotonic() - self._unwanted_since
            if self._ear is not None and self._ear.is_subscribed and away >= self._linger:
                self._ear.subscribe(wanted)
            return
        self._topics.want(wanted)
        ready = frozenset(filter(self._topics.exists, wanted))
        # All at once, where that can be had: each change of the subscription moves partitions.
        if ready and all(topic in ready or topic in self._topics.faults for topic in wanted):
            if self._ear is None:
                self._ear = self._make_ear()
            self._ear.subscribe(ready)

    def _empty_outbox(self) -> None:
        now = self._clock.monotonic()
        for _ in range(len(self._outbox)):
            until, topic, payload = self._outbox.popleft()
            if self._topics.exists(topic):
                if self._send(topic, payload):
                    self._sent += 1
                else:
                    self._lost += 1
            elif now >= until:
                self._lost += 1
            else:
                self._topics.want([topic])
                self._outbox.append((until, topic, payload))

    def _mend(self) -> None:
        """Replace clients that librdkafka declared dead; no connection can bring them back."""
        if self._broken:
            self._broken = False
            self._producer = self._make_producer()
        if self._ear is not None and self._ear.fault is not None:
            _log.warning("the consumer ended: %s; making another", self._ear.fault.str())
            self._drop_ear()

    def _drop_ear(self) -> None:
        ear, self._ear = self._ear, None
        if ear is not None:
            self._heard += ear.heard
            with contextlib.suppress(KafkaException, RuntimeError):
                ear.close()

    def _report(self) -> None:
        if self._pulse.beats != self._was_connected:
            self._was_connected = self._pulse.beats
            if self._pulse.beats:
                _log.info("connected to %s", self._pulse.server)
            else:
                fault = self._conceal(self._pulse.fault)
                _log.warning("the broker is away, workers look by themselves: %s", fault)

    def _hang_up(self) -> None:
        self._wake.clear()
        try:
            end = self._clock.monotonic() + FLUSH
            while self._outbox and self._pulse.beats and self._clock.monotonic() < end:
                # A topic is just being made for them.
                self._topics.step()
                self._empty_outbox()
                self._wake.wait(_MOMENT)
            self._lost += len(self._outbox)
            if self._pulse.beats:
                self._producer.flush(FLUSH)
            self._producer.purge()
            self._producer.poll(0)
            self._drop_ear()
        except (KafkaException, RuntimeError):
            _log.exception("the broker could not be closed in order")

    def _make_producer(self) -> Producer:
        config = {
            **self._address.producer(),
            "error_cb": self._producer_complained,
            "on_delivery": self._delivered,
        }
        return Producer(config, logger=self._voice)

    def _make_ear(self) -> Ear:
        config = {**self._address.consumer(self._address.namespace), "error_cb": self._complained}
        return Ear(config, self._voice, on_arrival=self._on_arrival)

    def _complained(self, error: KafkaError) -> None:
        self._pulse.hear(error)

    def _producer_complained(self, error: KafkaError) -> None:
        self._pulse.hear(error)
        if error.fatal():
            self._broken = True

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            return
        self._lost += 1
        if error.code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}:  # noqa: SLF001
            self._topics.forget(message.topic() or "")


_lines: "weakref.WeakSet[Line]" = weakref.WeakSet()


def _keep_in_child() -> None:
    """Keep the parent's clients from being destroyed in a forked child.

    Their threads exist in the parent only, and librdkafka would wait for them for ever.
    """
    for line in list(_lines):
        for handle in line.handles():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))


os.register_at_fork(after_in_child=_keep_in_child)
