"""What a listener hears, on a real server."""

import asyncio
import itertools
from contextlib import AsyncExitStack

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]

from stoker.brokers.kafka import KafkaBroker
from stoker.core.job import PRIORITIES
from stoker.testing import wait_until
from tests.kafka.conftest import (
    SLOW,
    attend,
    connected,
    fresh_url,
    hear,
    ids_of,
    listening,
    namespace_of,
    ring,
)
from tests.servers.kafka import KafkaServer


async def test_a_ring_arrives_once_at_one_of_several_listeners(url: str) -> None:
    async with listening(url) as one, listening(url) as two, KafkaBroker(url) as outside:
        await connected(one)
        outside.ring([ring(number) for number in range(200)])
        heard: list[list[str]] = [[], []]

        async def all_arrived() -> bool:
            for place, broker in enumerate((one, two)):
                found = await broker.listen(("default",), most=100, timeout=0.1)
                broker.done(found)
                heard[place] += ids_of(found)
            return len(heard[0]) + len(heard[1]) >= 200

        await wait_until(all_arrived, "200 rings arrived", timeout=SLOW)

    assert sorted(heard[0] + heard[1], key=int) == [str(number) for number in range(200)]
    assert heard[0]
    assert heard[1]


async def test_of_what_waits_the_urgent_comes_first(url: str) -> None:
    async with listening(url) as broker, KafkaBroker(url) as outside:
        outside.ring([ring(priority, priority=priority) for priority in reversed(PRIORITIES)])
        await wait_until(lambda: broker.status().heard == 3, "three rings wait", timeout=SLOW)

        found = await broker.listen(("default",), most=10, timeout=1)

    assert [delivery.ring.priority for delivery in found] == list(PRIORITIES)


async def test_what_nobody_looked_for_arrives_again_and_the_rest_does_not(url: str) -> None:
    async with KafkaBroker(url) as outside:
        async with listening(url) as first:
            outside.ring([ring(number) for number in range(20)])
            found = await hear(first, 20, done=False)
            for delivery in found:
                if int(delivery.ring.ids[0]) % 2:
                    first.done([delivery])
        async with listening(url) as second:
            again = await hear(second, 10)
            outside.ring([ring("last")])
            again += await hear(second, 1)

    evens = {str(number) for number in range(0, 20, 2)}
    assert evens <= set(ids_of(again))
    # A partition is committed up to its oldest open ring, so what came after that may repeat.
    assert set(ids_of(again)) <= set(ids_of(found)) | {"last"}


async def test_what_was_done_late_by_one_who_left_is_passed_over(url: str) -> None:
    async with KafkaBroker(url) as outside, KafkaBroker(url, linger=0) as first:
        await attend(first)
        outside.ring([ring(number) for number in range(8)])
        found = await hear(first, 8, done=False)
        await first.listen((), most=1, timeout=0)
        async with listening(url) as second:
            again = await hear(second, 8)
            first.done(found)

    assert sorted(ids_of(again)) == sorted(ids_of(found))


async def test_waiting_ends_with_nothing_when_the_time_is_over(url: str) -> None:
    async with listening(url) as broker:
        assert await broker.listen(("default",), most=1, timeout=0.01) == []
        assert await broker.listen(("default",), most=1, timeout=0) == []


async def test_a_cancelled_listener_loses_no_ring(url: str) -> None:
    async with listening(url) as broker, KafkaBroker(url) as outside:
        for number in range(20):
            waiting = asyncio.ensure_future(  # noqa: TID251 - cancelled at once
                broker.listen(("default",), most=1, timeout=5)
            )
            await asyncio.sleep(0)
            outside.ring([ring(number)])
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        found = await hear(broker, 20)

    assert sorted(ids_of(found), key=int) == [str(number) for number in range(20)]


async def test_a_listener_hears_the_queues_that_it_asks_for_now(url: str) -> None:
    async with listening(url, "a") as broker, KafkaBroker(url) as outside:
        outside.ring([ring("one", queue="a")])
        first = await hear(broker, 1, "a")
        await broker.listen(("b",), most=1, timeout=0)

        async def heard_of_b() -> bool:
            outside.ring([ring("two", queue="b"), ring("three", queue="a")])
            return "two" in ids_of(await broker.listen(("b",), most=100, timeout=0.2))

        await wait_until(heard_of_b, "a ring of the other queue", timeout=SLOW)

    assert ids_of(first) == ["one"]


@pytest.mark.parametrize("name", ["mail.in", "a/b:c", "x" * 200, "mail_in"])
async def test_a_queue_may_have_any_name(server: KafkaServer, name: str) -> None:
    url = fresh_url(server)
    async with listening(url, name) as broker, KafkaBroker(url) as outside:
        outside.ring([ring("job", queue=name)])
        found = await hear(broker, 1, name)

    assert [delivery.ring.queue for delivery in found] == [name]


async def test_a_busy_listener_leaves_its_partitions_to_the_idle(url: str) -> None:
    async with AsyncExitStack() as stack:
        outside = await stack.enter_async_context(KafkaBroker(url))
        busy = await stack.enter_async_context(listening(url, linger=0))
        idle = await stack.enter_async_context(listening(url))
        await busy.listen((), most=1, timeout=0)
        heard: set[str] = set()
        numbers = itertools.count()

        async def a_run_of_forty_is_whole() -> bool:
            first = next(numbers) * 40
            sent = [str(first + place) for place in range(40)]
            outside.ring([ring(job) for job in sent])
            for _ in range(10):
                found = await idle.listen(("default",), most=100, timeout=0.1)
                idle.done(found)
                heard.update(ids_of(found))
            return heard.issuperset(sent)

        await wait_until(a_run_of_forty_is_whole, "all partitions are the idle one's", timeout=SLOW)


async def test_what_makes_no_sense_is_passed_over(server: KafkaServer) -> None:
    url = fresh_url(server, partitions=1)
    async with listening(url) as broker, KafkaBroker(url) as outside:
        stranger = Producer({"bootstrap.servers": f"127.0.0.1:{server.port}"})
        for text in (b"", b"{", b'{"store": 1}', b"\xff" * 1_000):
            stranger.produce(f"{namespace_of(url)}.default", text)
        stranger.flush(10)
        outside.ring([ring("job")])
        found = await hear(broker, 1)

    assert ids_of(found) == ["job"]


async def test_a_topic_is_made_to_keep_rings_for_a_short_time(server: KafkaServer) -> None:
    url = fresh_url(server, partitions=3, retention="30m")
    topic = f"{namespace_of(url)}.default"
    async with listening(url):
        admin = server.administrator()
        resource = ConfigResource(ResourceType.TOPIC, topic)
        settings = admin.describe_configs([resource])[resource].result(timeout=10)
        partitions = admin.list_topics(topic, timeout=10).topics[topic].partitions

    assert settings["cleanup.policy"].value == "delete"
    assert settings["retention.ms"].value == "1800000"
    assert settings["segment.ms"].value == "600000"
    assert len(partitions) == 3


async def test_many_that_come_at_once_make_a_topic_once(server: KafkaServer) -> None:
    url = fresh_url(server)
    async with AsyncExitStack() as stack:
        several = [await stack.enter_async_context(KafkaBroker(url)) for _ in range(4)]
        for broker in several:
            broker.ring([ring("job")])
        await wait_until(
            lambda: all(broker.status().rung == 1 for broker in several), "all rang", timeout=SLOW
        )

        assert [broker.status().error for broker in several] == [""] * 4
