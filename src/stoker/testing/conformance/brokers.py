"""The conformance suite of brokers: every promise of `stoker.core.broker.Broker`, as tests.

A broker proves itself by a subclass that says where its server is::

    class TestMine(BrokerConformance):
        @asynccontextmanager
        async def open_world(self) -> AsyncIterator[BrokerWorld]:
            yield MyWorld(server, namespace=fresh_name())
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar, Protocol

import pytest
import pytest_asyncio

from stoker.core.broker import MAX_IDS, Broker, Delivery, Ring
from stoker.core.job import Priority
from stoker.testing.waiting import wait_until

SOON = 60.0
"""Seconds after which something that must happen did not: servers are slow to come back."""
SILENCE = 0.5
"""Seconds in which nothing must arrive."""
STORE = "0123456789abcdef0123456789abcdef"


class BrokerWorld(Protocol):
    """A broker's server, as far as one test may see it; nobody else rings or listens there."""

    def handle(self) -> Broker:
        """Return a new handle, not yet open."""
        ...

    async def kill(self) -> None:
        """Kill the server."""
        ...

    async def start(self) -> None:
        """Start it again, with what it kept."""
        ...

    async def freeze(self) -> None:
        """Let it answer nothing, with its connections open."""
        ...

    async def thaw(self) -> None:
        """Let it go on."""
        ...


@dataclass(frozen=True, kw_only=True)
class BrokerCapabilities:
    """What a broker can do besides the protocol."""

    gives_back: bool = True
    """What a handle took and never returned goes to others when it stops listening."""
    hidden: tuple[str, ...] = ()
    """Texts that no status may show: the password in the URL of `BrokerWorld.handle`."""


class BrokerSuite:
    """The ground of `BrokerConformance`: subclass that one."""

    capabilities: ClassVar[BrokerCapabilities] = BrokerCapabilities()

    def open_world(self) -> AbstractAsyncContextManager[BrokerWorld]:
        """Open a world without rings; closing it tidies up, and leaves a running server."""
        raise NotImplementedError("give open_world(): see stoker.testing.conformance.brokers")

    @pytest_asyncio.fixture
    async def world(self) -> AsyncIterator[BrokerWorld]:
        """A world of the test's own."""
        async with self.open_world() as world:
            yield world

    @pytest_asyncio.fixture
    async def broker(self, world: BrokerWorld) -> AsyncIterator[Broker]:
        """A connected handle, which must leave no task behind."""
        before = asyncio.all_tasks()
        async with world.handle() as broker:
            await connected(broker)
            yield broker
        mine = {*before, asyncio.current_task()}
        left = [task for task in asyncio.all_tasks() - mine if not task.done()]
        assert not left, f"the closed broker left tasks behind: {left}"

    @pytest_asyncio.fixture
    async def other(self, world: BrokerWorld) -> AsyncIterator[Broker]:
        """A second handle, as another process would have."""
        async with world.handle() as broker:
            await connected(broker)
            yield broker


class Ringing(BrokerSuite):
    """What is rung arrives."""

    async def test_a_ring_arrives_as_it_was_sent(self, broker: Broker, other: Broker) -> None:
        await subscribed(other, "default")
        sent = ring(ids=("a", "b"), priority=Priority.HIGH)
        broker.ring([sent])
        [delivery] = await heard(other, "default", only_once([sent]))
        assert delivery.ring == sent

    async def test_a_process_hears_its_own_rings(self, broker: Broker) -> None:
        await subscribed(broker, "default")
        broker.ring([ring(ids=("a",))])
        await heard(broker, "default", only_once([ring(ids=("a",))]))

    async def test_a_ring_without_ids_arrives(self, broker: Broker) -> None:
        await subscribed(broker, "default")
        broker.ring([ring()])
        await heard(broker, "default", only_once([ring()]))

    async def test_a_ring_may_name_as_many_jobs_as_the_contract_says(self, broker: Broker) -> None:
        await subscribed(broker, "default")
        sent = ring(ids=tuple(f"{number:036}" for number in range(MAX_IDS)))
        broker.ring([sent])
        await heard(broker, "default", only_once([sent]))

    @pytest.mark.parametrize(
        "name", ["a.b", "images/large", "*", "#", "Ünïcödé 🔔", "x" * 200, "A", "a", "a b%20c"]
    )
    async def test_a_queue_of_any_name_has_rings_of_its_own(
        self, broker: Broker, name: str
    ) -> None:
        await subscribed(broker, name)
        broker.ring([ring(queue=name.swapcase() + "y"), ring(queue=name, ids=("mine",))])
        deliveries = await heard(broker, name, only_once([ring(queue=name, ids=("mine",))]))
        assert {delivery.ring.queue for delivery in deliveries} == {name}

    async def test_only_the_asked_queues_are_heard(self, broker: Broker) -> None:
        await subscribed(broker, "a", "b")
        broker.ring([ring(queue="c"), ring(queue="a"), ring(queue="b")])
        deliveries = await heard(broker, ("a", "b"), only_once([ring(queue="a"), ring(queue="b")]))
        assert {delivery.ring.queue for delivery in deliveries} == {"a", "b"}

    async def test_all_priorities_are_heard(self, broker: Broker) -> None:
        await subscribed(broker, "default")
        sent = [ring(ids=(p.value,), priority=p) for p in Priority]
        broker.ring(sent)
        await heard(broker, "default", only_once(sent))

    async def test_the_urgent_come_first_of_what_has_arrived(self, broker: Broker) -> None:
        await subscribed(broker, "default")
        sent = [ring(ids=(f"{n}",), priority=Priority.LOW) for n in range(20)]
        before = broker.status().heard
        broker.ring([*sent, ring(ids=("urgent",), priority=Priority.HIGH)])
        await wait_until(lambda: broker.status().heard >= before + 21, "all arrived", timeout=SOON)
        [first] = await broker.listen(("default",), most=1, timeout=SOON)
        assert first.ring.ids == ("urgent",)

    async def test_many_rings_of_many_handles_all_arrive(
        self, world: BrokerWorld, broker: Broker, other: Broker
    ) -> None:
        sent = [ring(ids=(f"{n}",), priority=list(Priority)[n % 3]) for n in range(1_500)]
        await subscribed(broker, "default")
        await subscribed(other, "default")
        async with world.handle() as third:
            await connected(third)
            for start in range(0, len(sent), 30):
                (broker, other, third)[start % 3].ring(sent[start : start + 30])
                await asyncio.sleep(0)
            await heard((broker, other), "default", at_least([r.ids for r in sent]))

    async def test_what_was_rung_last_is_sent_before_the_handle_closes(
        self, world: BrokerWorld, broker: Broker
    ) -> None:
        await subscribed(broker, "default")
        async with world.handle() as third:
            await connected(third)
            third.ring([ring(ids=("last",))])
        await heard(broker, "default", at_least([("last",)]))


class Finishing(BrokerSuite):
    """What was heard is delivered again until it is done."""

    async def test_a_ring_that_is_not_done_goes_to_another_when_its_hearer_is_gone(
        self, world: BrokerWorld, broker: Broker
    ) -> None:
        async with world.handle() as third:
            await connected(third)
            await subscribed(third, "default")
            broker.ring([ring(ids=("a",))])
            [delivery] = await third.listen(("default",), most=10, timeout=SOON)
            assert delivery.ring.ids == ("a",)
        await heard(broker, "default", at_least([("a",)]))

    async def test_a_ring_that_is_done_does_not_come_back(
        self, world: BrokerWorld, broker: Broker
    ) -> None:
        async with world.handle() as third:
            await connected(third)
            await subscribed(third, "default")
            third.ring([ring(ids=(f"{n}",)) for n in range(50)])
            await heard(third, "default", at_least([(f"{n}",) for n in range(50)]))
        broker.ring([ring(ids=("later",))])
        deliveries = await heard(broker, "default", at_least([("later",)]))
        assert {delivery.ring.ids for delivery in deliveries} == {("later",)}

    async def test_deliveries_may_be_done_in_any_order(self, broker: Broker) -> None:
        await subscribed(broker, "default")
        broker.ring([ring(ids=(f"{n}",)) for n in range(10)])
        deliveries = await heard(
            broker, "default", at_least([(f"{n}",) for n in range(10)]), done=False
        )
        broker.done(deliveries[1::2][::-1])
        broker.done(deliveries[::2])
        broker.done([])
        broker.ring([ring(ids=("next",))])
        await heard(broker, "default", only_once([ring(ids=("next",))]))


class Listening(BrokerSuite):
    """How a process listens, and stops."""

    async def test_a_listener_without_rings_returns_nothing_after_its_time(
        self, broker: Broker
    ) -> None:
        assert await broker.listen(("default",), most=10, timeout=0.01) == []
        assert await broker.listen(("default",), most=10, timeout=0.01) == []

    async def test_no_more_are_returned_than_were_asked_for(self, broker: Broker) -> None:
        await subscribed(broker, "default")
        broker.ring([ring(ids=(f"{n}",)) for n in range(9)])
        seen: list[Delivery] = []
        while len(seen) < 9:
            deliveries = await broker.listen(("default",), most=2, timeout=SOON)
            assert 1 <= len(deliveries) <= 2
            seen += deliveries
        assert {delivery.ring.ids for delivery in seen} == {(f"{n}",) for n in range(9)}

    async def test_a_sleeping_listener_is_woken(self, broker: Broker, other: Broker) -> None:
        await subscribed(other, "default")
        async with asyncio.timeout(SOON), asyncio.TaskGroup() as group:
            task = group.create_task(other.listen(("default",), most=10, timeout=SOON * 2))
            await _let_others_run()
            broker.ring([ring(ids=("a",))])
        assert [delivery.ring.ids for delivery in task.result()] == [("a",)]

    async def test_the_subscription_can_change(self, broker: Broker) -> None:
        await subscribed(broker, "a")
        await subscribed(broker, "a", "b")
        broker.ring([ring(queue="a"), ring(queue="b")])
        await heard(broker, ("a", "b"), only_once([ring(queue="a"), ring(queue="b")]))
        await subscribed(broker, "c")
        broker.ring([ring(queue="a"), ring(queue="c")])
        deliveries = await heard(broker, "c", only_once([ring(queue="c")]))
        assert {delivery.ring.queue for delivery in deliveries} == {"c"}

    async def test_whoever_stops_to_listen_keeps_nothing_from_others(
        self, broker: Broker, other: Broker
    ) -> None:
        await subscribed(broker, "default")
        assert await broker.listen((), most=10, timeout=SOON) == []
        await subscribed(other, "default")
        other.ring([ring(ids=(f"{n}",)) for n in range(20)])
        await heard(other, "default", at_least([(f"{n}",) for n in range(20)]))

    async def test_what_was_never_returned_is_given_back(
        self, broker: Broker, other: Broker
    ) -> None:
        await subscribed(broker, "default")
        before = broker.status().heard
        other.ring([ring(ids=(f"{n}",)) for n in range(20)])
        await wait_until(lambda: broker.status().heard >= before + 20, "all arrived", timeout=SOON)
        assert await broker.listen((), most=10, timeout=SOON) == []
        if self.capabilities.gives_back:
            await heard(other, "default", at_least([(f"{n}",) for n in range(20)]))
        else:
            await rings_until_heard(other)

    async def test_a_cancelled_listener_loses_nothing(self, broker: Broker, other: Broker) -> None:
        await subscribed(other, "default")
        seen: list[Delivery] = []
        for number in range(60):
            async with asyncio.TaskGroup() as group:
                task = group.create_task(other.listen(("default",), most=3, timeout=SOON))
                broker.ring([ring(ids=(f"{number}",))])
                for _ in range(number % 12):
                    await asyncio.sleep(0)
                task.cancel()
            if not task.cancelled():
                seen += task.result()
        seen += await heard(
            other, "default", at_least([(f"{n}",) for n in range(60)], besides=seen), done=False
        )
        other.done(seen)


class Outages(BrokerSuite):
    """A broker that is away costs rings, and nothing else."""

    async def test_a_broker_that_is_away_can_be_opened_and_closed(self, world: BrokerWorld) -> None:
        await world.kill()
        async with asyncio.timeout(SOON), world.handle() as broker:
            for _ in range(100):
                broker.ring([ring(ids=("a",))])
            assert await broker.listen(("default",), most=10, timeout=0.1) == []
            await wait_until(lambda: broker.status().error, "it says why", timeout=SOON)
            status = broker.status()
            assert not status.connected
            assert not [text for text in self.capabilities.hidden if text in repr(status)]
        await world.start()

    async def test_a_handle_that_was_opened_without_its_server_finds_it(
        self, world: BrokerWorld
    ) -> None:
        await world.kill()
        async with world.handle() as broker:
            assert await broker.listen(("default",), most=10, timeout=0.1) == []
            await world.start()
            await connected(broker)
            await rings_until_heard(broker)

    async def test_a_killed_server_is_found_again(self, world: BrokerWorld, broker: Broker) -> None:
        await subscribed(broker, "default")
        broker.ring([ring(ids=("a",))])
        held = await heard(broker, "default", at_least([("a",)]), done=False)
        await world.kill()
        await wait_until(lambda: not broker.status().connected, "it is missed", timeout=SOON)
        broker.ring([ring(ids=("lost",))])
        assert await broker.listen(("default",), most=10, timeout=0.1) == []
        await world.start()
        # Of a connection that is gone: passed over, and harmless to the new one.
        broker.done(held)
        await rings_until_heard(broker)
        assert broker.status().connected

    async def test_a_frozen_server_stops_nobody(self, world: BrokerWorld, broker: Broker) -> None:
        await subscribed(broker, "default")
        await world.freeze()
        try:
            async with asyncio.timeout(SOON):
                for number in range(30_000):
                    broker.ring([ring(ids=(f"{number:036}",), queue=f"q{number % 50}")])
                    if number % 100 == 0:
                        await asyncio.sleep(0)
                assert await broker.listen(("default",), most=10, timeout=0.1) == []
                await wait_until(lambda: broker.status().dropped, "rings are dropped", timeout=SOON)
        finally:
            await world.thaw()
        await rings_until_heard(broker)

    async def test_a_handle_closes_while_its_server_is_frozen(self, world: BrokerWorld) -> None:
        async with asyncio.timeout(SOON):
            async with world.handle() as broker:
                await connected(broker)
                await subscribed(broker, "default")
                await world.freeze()
                broker.ring([ring(ids=("a",))])
        await world.thaw()


class Telling(BrokerSuite):
    """What a broker says about itself."""

    async def test_a_status_names_the_server_and_counts(self, broker: Broker) -> None:
        before = broker.status()
        assert before.connected
        assert before.scheme
        assert before.server
        assert before.error == ""
        await subscribed(broker, "default")
        broker.ring([ring(ids=("a",)), ring(ids=("b",), priority=Priority.LOW)])
        await heard(broker, "default", at_least([("a",), ("b",)]))
        after = broker.status()
        assert after.rung >= before.rung + 2
        assert after.heard >= before.heard + 2
        assert after.dropped == before.dropped
        assert not [text for text in self.capabilities.hidden if text in repr(after)]


class BrokerConformance(Ringing, Finishing, Listening, Outages, Telling):
    """Every promise of `stoker.core.broker.Broker`, as tests. See the module's text."""


def ring(
    queue: str = "default", ids: tuple[str, ...] = (), priority: Priority = Priority.MEDIUM
) -> Ring:
    """Return a ring of the store that all tests are about."""
    return Ring(STORE, queue, priority, ids)


async def connected(broker: Broker) -> None:
    """Wait until a handle has its server."""
    await wait_until(lambda: broker.status().connected, "it is connected", timeout=SOON)


async def subscribed(broker: Broker, *queues: str) -> None:
    """Listen to queues, and wait until rings do arrive in each; finish those that did."""
    missing = set(queues)

    async def all_heard() -> bool:
        broker.ring([ring(queue=name, ids=("probe",)) for name in sorted(missing)])
        deliveries = await broker.listen(queues, most=100, timeout=0.2)
        broker.done(deliveries)
        missing.difference_update(delivery.ring.queue for delivery in deliveries)
        return not missing

    await wait_until(all_heard, f"rings arrive in {queues}", timeout=SOON)
    # The last probes may still be on their way, as may what others sent before.
    while deliveries := await broker.listen(queues, most=100, timeout=SILENCE):
        broker.done(deliveries)


async def rings_until_heard(broker: Broker) -> None:
    """Ring until a ring arrives: those that a broker drops while it is away are nobody's."""

    async def is_heard() -> bool:
        broker.ring([ring(ids=("again",))])
        deliveries = await broker.listen(("default",), most=1_000, timeout=0.5)
        broker.done(deliveries)
        return any(delivery.ring.ids == ("again",) for delivery in deliveries)

    await wait_until(is_heard, "rings arrive again", timeout=SOON)


Enough = Callable[[Sequence[Delivery]], bool]


def at_least(ids: Iterable[tuple[str, ...]], besides: Sequence[Delivery] = ()) -> Enough:
    """Return whether rings with each of these ids arrived, once or more."""
    wanted = set(ids) - {delivery.ring.ids for delivery in besides}
    return lambda seen: wanted <= {delivery.ring.ids for delivery in seen}


def only_once(rings: Collection[Ring]) -> Enough:
    """Return whether each of these rings arrived; a second time would be seen by the test."""
    wanted = Counter(rings)
    return lambda seen: wanted <= Counter(delivery.ring for delivery in seen)


async def heard(
    brokers: Broker | Sequence[Broker],
    queues: str | Sequence[str],
    enough: Enough,
    *,
    done: bool = True,
) -> list[Delivery]:
    """Listen until enough has arrived, and return all of it."""
    handles = brokers if isinstance(brokers, Sequence) else [brokers]
    names = (queues,) if isinstance(queues, str) else tuple(queues)
    seen: list[Delivery] = []

    async def is_enough() -> bool:
        for broker in handles:
            deliveries = await broker.listen(names, most=500, timeout=0.1)
            if done:
                broker.done(deliveries)
            seen.extend(d for d in deliveries if d.ring.ids != ("probe",))
        return enough(seen)

    await wait_until(is_enough, f"what was rung arrives in {names}", timeout=SOON)
    return seen


async def _let_others_run() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
