"""Other processes for the tests of the SQLite store: ``python child.py VERB ARGUMENT...``.

Each talks in lines on its standard output.
"""

import asyncio
import fcntl
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable

from stoker.core.clock import SystemClock
from stoker.core.errors import StokerError
from stoker.core.job import Exchanged, JobSpec, Outcome, SessionSpec, Settlement
from stoker.core.records import JobQuery
from stoker.stores.sqlite import SQLiteStore

CLOCK = SystemClock()


def say(*words: object) -> None:
    """Tell the test something."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def work(path: str, name: str, batch: str) -> None:
    """Wait for a line on stdin, then run jobs until there are none; say how many."""
    size, count = int(batch), 0
    async with SQLiteStore(path, clock=CLOCK) as store:
        await store.beat(SessionSpec(id=name, name=name), [], ttl=600)
        say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        done: list[Settlement] = []
        while True:
            got: Exchanged = await store.exchange(
                name, done, queues={"default": size}, want=size, nonce=CLOCK.new_nonce()
            )
            if not got.leased:
                break
            count += len(got.leased)
            done = [
                Settlement(x.id, x.epoch, x.nonce, Outcome.COMPLETED, ran_for=0.0)
                for x in got.leased
            ]
    say(count)


async def write(path: str) -> None:
    """Submit and run jobs for ever, saying each id once it was accepted."""
    async with SQLiteStore(path, clock=CLOCK) as store:
        await store.beat(SessionSpec(id="writer", name="writer"), [], ttl=600)
        done: list[Settlement] = []
        while True:
            jobs = [JobSpec(id=CLOCK.new_id(), task="work") for _ in range(5)]
            made, got = await asyncio.gather(
                store.submit(jobs),
                store.exchange(
                    "writer", done, queues={"default": 4}, want=4, nonce=CLOCK.new_nonce()
                ),
            )
            say(*(job.id for job in made))
            done = [Settlement(x.id, x.epoch, x.nonce, Outcome.COMPLETED) for x in got.leased]


async def wait(path: str, kind: str, name: str) -> None:
    """Wait for a queue or a job; say whether something came."""
    async with SQLiteStore(path, clock=CLOCK) as store:
        say("ready")
        if kind == "queue":
            say(await store.wait([name], timeout=30))
        else:
            say(await store.wait(ids=[name], timeout=30))


async def submit(path: str) -> None:
    """Submit one job; say how it went."""
    async with SQLiteStore(path, clock=CLOCK) as store:
        made = await store.submit([JobSpec(id=CLOCK.new_id(), task="work")])
        say(made[0].state)


async def open_as_nobody(path: str) -> None:
    """Open a store without any rights; say which error that gives."""
    # Python loads parts of itself late, and nobody may not read them everywhere.
    with tempfile.TemporaryDirectory() as folder:
        async with SQLiteStore(f"{folder}/warm.db", clock=CLOCK) as store:
            await store.find(JobQuery())
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65_534)
        os.setuid(65_534)
    try:
        async with SQLiteStore(path, clock=CLOCK) as store:
            await store.find(JobQuery())
            say("opened")
    except StokerError as error:
        say(error.code, error.message)


async def hold(path: str) -> None:
    """Hold the write lock until killed."""
    descriptors = [os.open(f"{path}-{end}", os.O_RDWR | os.O_CREAT) for end in ("lock", "next")]
    fcntl.flock(descriptors[0], fcntl.LOCK_EX)
    say("held")
    await asyncio.to_thread(sys.stdin.readline)


VERBS: dict[str, Callable[..., Awaitable[None]]] = {
    "hold": hold,
    "open_as_nobody": open_as_nobody,
    "submit": submit,
    "wait": wait,
    "work": work,
    "write": write,
}


async def main() -> None:
    """Do what the arguments say."""
    await VERBS[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    asyncio.run(main())
