"""The Broker protocol: a doorbell that carries job ids from whoever submits to idle workers.

A broker decides nothing. Whoever hears a ring looks into the store, which alone says what is
leased, so a ring that is lost, repeated, late, or from another world costs latency and never a
job. That is why no verb here waits for the network on behalf of a caller, and none of them raises
because the broker is away: an idle worker looks by itself.

A ring is sent strictly after the commit that made its jobs ready, once a flush and not once a job.
It is acknowledged right after the exchange that looked for its jobs, so that nothing is
unacknowledged while a job runs: no consumer timeout and no rebalance ever depends on how long a
task takes.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

import msgspec

from stoker.core.job import Priority

MAX_IDS = 500
"""The most job ids in one ring. More jobs are more rings."""


class Ring(msgspec.Struct, frozen=True, gc=False):
    """The news that jobs became ready in one queue at one priority."""

    store: str
    """The id of the store that holds them; a ring from another store is dropped."""
    queue: str
    priority: Priority
    ids: tuple[str, ...] = ()
    """The jobs, at most `MAX_IDS`; empty: look into the queue."""


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """A ring as it arrived."""

    ring: Ring
    tag: object
    """What the broker needs to acknowledge it."""


class BrokerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a broker does, as this process sees it."""

    scheme: str
    """``"amqp"`` or ``"kafka"``."""
    connected: bool
    """Whether rings leave and arrive now."""
    server: str = ""
    """Product and version, once connected."""
    error: str = ""
    """Why it is not connected, with the password masked."""
    fault: str = ""
    """Why it was not the last time, though it may be again: one that refuses hangs up, and is back
    before anybody looks. Left empty by brokers that keep their connection then."""
    rung: int = 0
    """Rings handed to the broker."""
    dropped: int = 0
    """Rings given up: the broker was away, blocked, or refused them. Workers' own looks make up
    for them."""
    heard: int = 0
    """Rings that arrived."""
    foreign: int = 0
    """Rings that arrived from another store: two systems share one broker by mistake. Counted by
    whoever knows the store; a broker leaves it at 0."""


@runtime_checkable
class Rung(Protocol):
    """What an open store tells besides `Store`, when a broker rings for it."""

    def broker_status(self) -> BrokerStatus:
        """Return how its broker does. Asks nobody."""
        ...


class Broker(Protocol):
    """A doorbell. See the module's text for what is common to all verbs."""

    async def __aenter__(self) -> Self:
        """Begin to connect, and go on in the background for as long as it is open.

        Raises:
            InvalidConfig, MissingExtra: It can never work. A broker that is away is not an error.
        """
        ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Send what was rung, for a bounded time, and hang up."""
        ...

    def ring(self, rings: Sequence[Ring]) -> None:
        """Send rings. Never waits and never raises.

        What gathers while the last batch is on its way goes with the next one. Confirms are
        counted and awaited by nobody. When the broker is away, blocked or full, rings are dropped
        and counted: the backlog of a doorbell is worth nothing.
        """
        ...

    async def listen(self, queues: Sequence[str], *, most: int, timeout: float) -> list[Delivery]:
        """Wait for rings of these queues; return at most ``most``, the urgent ones first.

        Returns at once with what has arrived, else with the first to arrive, or with nothing after
        ``timeout`` seconds, whatever the broker does meanwhile. Rings arrive at least once, in any
        order. The first call subscribes; a call with other queues changes the subscription.

        Without queues it ends the subscription and returns nothing at once: a process that is busy
        must not keep rings that would wake an idle one. What had arrived and was never returned
        goes back to the broker for somebody else; one that cannot take it back may drop it.

        One caller at a time. Cancelling it loses no delivery.
        """
        ...

    def done(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge deliveries. Never waits and never raises.

        Those of a connection that is gone are passed over: the broker delivers them again.
        """
        ...

    def status(self) -> BrokerStatus:
        """Return how it does. Asks nobody."""
        ...
