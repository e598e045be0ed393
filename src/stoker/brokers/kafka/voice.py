"""What librdkafka has to say, as log lines: few of them, and without secrets."""

import logging
from collections.abc import Callable, Iterable

from confluent_kafka import KafkaError, KafkaException

from stoker.core.clock import Clock

MOST = 5
"""Lines a minute of each client; the others are counted."""
_PERIOD = 60.0
_log = logging.getLogger("stoker.brokers.kafka")


class Voice:
    """Stands where librdkafka's Python half expects a logger. Used by one thread.

    A server that is away is reported with each attempt to reach it, and there are three clients.
    """

    def __init__(self, clock: Clock, conceal: Callable[[str], str]) -> None:
        """Be ready to speak.

        Args:
            clock: Says when a minute is over.
            conceal: Takes the secrets out of a text.
        """
        self._clock = clock
        self._conceal = conceal
        self._since = float("-inf")
        self._said = 0
        self._held_back = 0

    def log(self, level: int, template: str, *parts: object) -> None:
        """Write a line, unless enough were written lately."""
        now = self._clock.monotonic()
        if now - self._since >= _PERIOD:
            if self._held_back:
                _log.log(level, "%d more lines of librdkafka were left out", self._held_back)
            self._since, self._said, self._held_back = now, 0, 0
        if self._said >= MOST:
            self._held_back += 1
            return
        self._said += 1
        _log.log(level, "%s", self._conceal(template % parts))


def concealing(secrets: Iterable[str]) -> Callable[[str], str]:
    """Return a function that takes these secrets out of a text."""
    known = tuple(secret for secret in secrets if secret)

    def conceal(text: str) -> str:
        for secret in known:
            text = text.replace(secret, "***")
        return text

    return conceal


def code_of(error: BaseException | None) -> int | None:
    """Return librdkafka's code of an error; None if it is none of its errors."""
    reason = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return reason.code() if isinstance(reason, KafkaError) else None


def words_of(error: BaseException | None) -> str:
    """Return what an error says, without librdkafka's numbers."""
    reason = error.args[0] if isinstance(error, KafkaException) and error.args else error
    return reason.str() if isinstance(reason, KafkaError) else str(reason)
