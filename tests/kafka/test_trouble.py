"""What happens to rings when the server dies, freezes or was never there."""

import asyncio
import itertools
import subprocess
import sys
import textwrap
from contextlib import AsyncExitStack

import pytest

from stoker.brokers.kafka import KafkaBroker
from stoker.brokers.kafka.broker import CLOSE_WITHIN
from stoker.brokers.kafka.line import OUTBOX
from stoker.testing import wait_until
from tests.kafka.conftest import (
    SLOW,
    connected,
    fresh_url,
    hear,
    ids_of,
    line_of,
    listening,
    namespace_of,
    ring,
)
from tests.servers.kafka import KafkaServer
from tests.servers.server import free_port


def nobody() -> str:
    return f"kafka://127.0.0.1:{free_port()}/"


async def test_a_broker_that_was_never_there_costs_nothing_but_rings() -> None:
    loop = asyncio.get_running_loop()
    async with KafkaBroker(nobody()) as broker:
        for number in range(OUTBOX + 500):
            broker.ring([ring(number)])
        assert broker.status().dropped == 500
        assert await broker.listen(("default",), most=1, timeout=0.05) == []
        await wait_until(lambda: broker.status().dropped == OUTBOX + 500, "given up", timeout=SLOW)
        state = broker.status()
        began = loop.time()

    assert not state.connected
    assert "refused" in state.error
    assert state.rung == 0
    # The one promise about time that there is: closing is bounded.
    assert loop.time() - began < CLOSE_WITHIN + 1


async def test_a_server_that_dies_and_comes_back_is_found_again(own_server: KafkaServer) -> None:
    url = fresh_url(own_server)
    async with listening(url) as broker, KafkaBroker(url) as outside:
        outside.ring([ring("before")])
        assert ids_of(await hear(broker, 1)) == ["before"]

        own_server.kill()
        await wait_until(lambda: not outside.status().connected, "noticed", timeout=SLOW)
        assert not broker.status().connected
        outside.ring([ring(number) for number in range(50)])
        await wait_until(lambda: outside.status().dropped == 50, "given up", timeout=SLOW)

        own_server.restart()
        await connected(outside)
        await connected(broker)
        numbers = itertools.count()

        async def is_heard() -> bool:
            outside.ring([ring(f"after{next(numbers)}")])
            return bool(await broker.listen(("default",), most=10, timeout=0.5))

        await wait_until(is_heard, "rings arrive again", timeout=SLOW)


async def test_a_frozen_server_blocks_nobody(own_server: KafkaServer) -> None:
    url = fresh_url(own_server)
    async with listening(url) as broker, KafkaBroker(url) as outside:
        own_server.pause()
        try:
            outside.ring([ring(number) for number in range(1_000)])
            assert await broker.listen(("default",), most=1, timeout=0.05) == []
            await wait_until(lambda: not outside.status().connected, "noticed", timeout=SLOW)
            await wait_until(lambda: outside.status().dropped == 1_000, "given up", timeout=SLOW)
        finally:
            own_server.resume()
        await connected(outside)
        outside.ring([ring("after")])

        async def is_heard() -> bool:
            return "after" in ids_of(await broker.listen(("default",), most=999, timeout=0.5))

        await wait_until(is_heard, "rings arrive again", timeout=SLOW)


async def test_more_rings_than_fit_are_dropped_and_counted(own_server: KafkaServer) -> None:
    url = fresh_url(own_server)
    async with KafkaBroker(url) as outside:
        outside.ring([ring("first")])
        await wait_until(lambda: outside.status().rung == 1, "the topic is there", timeout=SLOW)
        own_server.pause()
        try:
            outside.ring([ring(number) for number in range(20_000)])
            state = outside.status()
        finally:
            own_server.resume()

    assert state.rung + state.dropped == 20_001
    assert state.dropped >= 10_000


async def test_whoever_does_nothing_for_long_stays_in_the_group(server: KafkaServer) -> None:
    """A worker whose job takes three times as long as Kafka lets a consumer be silent."""
    url = fresh_url(
        server, max__poll__interval__ms=1_000, session__timeout__ms=1_000,
        heartbeat__interval__ms=300,
    )  # fmt: skip
    async with listening(url, linger=SLOW) as broker, KafkaBroker(url) as outside:
        outside.ring([ring("one")])
        first = await hear(broker, 1)
        before = members(server, url)
        await broker.listen((), most=1, timeout=0)
        be_busy(3)
        outside.ring([ring("two")])
        second = await hear(broker, 1)

        assert members(server, url) == before
    assert (ids_of(first), ids_of(second)) == (["one"], ["two"])


def be_busy(seconds: float) -> None:
    """Be a job that holds the whole event loop up for so long."""
    subprocess.run([sys.executable, "-c", f"import time; time.sleep({seconds})"], check=True)


def members(server: KafkaServer, url: str) -> list[str]:
    """Return who is in the group; whoever was thrown out comes back under another id."""
    group = namespace_of(url)
    admin = server.administrator()
    found = admin.describe_consumer_groups([group])[group].result(timeout=10)
    return [member.member_id for member in found.members]


async def test_a_coming_and_going_of_listeners_loses_no_ring(url: str) -> None:
    async with AsyncExitStack() as stack:
        outside = await stack.enter_async_context(KafkaBroker(url))
        stays = await stack.enter_async_context(listening(url))
        heard: set[str] = set()
        numbers = itertools.count()

        async def listen(broker: KafkaBroker, most: int) -> None:
            found = await broker.listen(("default",), most=most, timeout=0.1)
            broker.done(found)
            heard.update(ids_of(found))

        async def come_and_go() -> None:
            async with KafkaBroker(url) as guest:
                for _ in range(20):
                    await listen(guest, most=3)

        async def flow(rounds: int) -> None:
            for _ in range(rounds):
                outside.ring([ring(next(numbers)) for _ in range(10)])
                await listen(stays, most=7)

        async with asyncio.TaskGroup() as group:
            group.create_task(flow(60))
            for _ in range(3):
                group.create_task(come_and_go())
        sent = {str(number) for number in range(next(numbers))}

        async def all_arrived() -> bool:
            await listen(stays, most=500)
            return heard >= sent

        await wait_until(all_arrived, f"each of {len(sent)} rings", timeout=SLOW)


async def test_a_backlog_of_old_rings_is_read_in_bounded_memory(server: KafkaServer) -> None:
    url = fresh_url(server)
    async with listening(url):
        pass
    async with KafkaBroker(url) as outside:
        outside.ring([ring(0)])
        await wait_until(lambda: outside.status().rung == 1, "the topic is there", timeout=SLOW)
        for start in range(0, 30_000, 5_000):
            outside.ring([ring(start + number) for number in range(5_000)])
            await wait_until(lambda: line_of(outside).unsent() == 0, "sent", timeout=SLOW)
        assert outside.status().dropped == 0
        async with KafkaBroker(url) as broker:
            heard: set[str] = set()
            most = 0

            async def all_arrived() -> bool:
                nonlocal most
                found = await broker.listen(("default",), most=500, timeout=0.5)
                most = max(most, broker.status().heard - len(heard))
                broker.done(found)
                heard.update(ids_of(found))
                return len(heard) == 30_000

            await wait_until(all_arrived, "all old rings were read", timeout=SLOW)

    assert most <= 2_000


@pytest.mark.parametrize("end", ["pass", "broker.ring([ring])", "del broker; gc.collect()"])
def test_a_forked_child_neither_hangs_nor_rings(server: KafkaServer, end: str) -> None:
    program = f"""
        import asyncio, gc, os, sys, threading
        from stoker.brokers.kafka import KafkaBroker
        from stoker.core.broker import Ring
        from stoker.core.job import Priority

        ring = Ring(store="s", queue="default", priority=Priority.LOW)
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()

        def run(work):
            return asyncio.run_coroutine_threadsafe(work, loop).result({SLOW})

        async def listen():
            return await broker.listen(["default"], most=9, timeout=0.2)

        broker = KafkaBroker({fresh_url(server)!r})
        run(broker.__aenter__())
        while not broker.status().connected:
            assert not run(listen())
            run(listen())
        child = os.fork()
        if child == 0:
            {end}
            sys.exit(3)
        _, status = os.waitpid(child, 0)
        broker.ring([ring])
        heard = []
        while not heard:
            heard += run(listen())
        run(broker.__aexit__(None, None, None))
        print("the child ended with", os.waitstatus_to_exitcode(status), "heard", len(heard))
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, check=False, timeout=SLOW,
    )  # fmt: skip

    assert ended.stdout == "the child ended with 3 heard 1\n", ended.stderr
