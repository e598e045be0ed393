"""What our queues in RabbitMQ look like, and why.

One queue for each of Stoker's queues and priorities, rather than a queue with ``x-max-priority``,
which holds back low priorities in memory and does not let a consumer choose. *Classic*: a ring
needs no replicas. *Durable*, because others are not wanted any more by RabbitMQ 4; the rings in it
are transient, since one that a restart lost costs less than one written to disk.

``x-message-ttl``: a ring waits only while all workers are busy or away, and whoever comes back
looks by himself; an old ring is worth nothing. ``x-max-length`` with the overflow ``drop-head``: of
too many rings the newest are worth most, and the publisher learns nothing that it could use.
``x-expires``: a queue that nobody listened to or declared for a day goes away by itself.
"""

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelPreconditionFailed
from pamqp.commands import Queue

MESSAGE_TTL = 60_000
"""Milliseconds."""
MAX_LENGTH = 10_000
EXPIRES = 86_400_000
"""Milliseconds."""
_ARGUMENTS: dict[str, str | int] = {
    "x-queue-type": "classic",
    "x-message-ttl": MESSAGE_TTL,
    "x-max-length": MAX_LENGTH,
    "x-overflow": "drop-head",
    "x-expires": EXPIRES,
}


class Declaring:
    """Declares queues, and takes those that exist with other settings as they are."""

    def __init__(self) -> None:
        """Begin without knowledge."""
        self._others: set[str] = set()

    async def declare(self, channel: AbstractChannel, name: str) -> Queue.DeclareOk:
        """Make a queue unless it exists; return what is in it, and how many listen.

        Raises:
            AMQPError: It cannot be had. One with other settings can, on the next channel.
        """
        if name in self._others:
            return await channel.queue_declare(name, passive=True)
        try:
            return await channel.queue_declare(name, durable=True, arguments={**_ARGUMENTS})
        except ChannelPreconditionFailed:
            # Of another version of Stoker, or of an operator who knows better.
            self._others.add(name)
            raise
