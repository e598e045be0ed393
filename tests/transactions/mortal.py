"""A program that dies at each line in turn between a task's first row and its job's settlement.

For the n-th job a process is forked that leases it, runs its task and settles it; before its n-th
line of the code in question it kills itself, as `kill -9` would. It ends when a process came
through alive, and prints how each one ended.
"""

import asyncio
import os
import signal
import sys
from types import FrameType
from typing import Any

import msgspec

from stoker.connect import open_store
from stoker.core import effects
from stoker.core.clock import SystemClock
from stoker.core.job import JobSpec, Leased, Outcome, SessionSpec, Settlement
from stoker.core.store import Store
from stoker.stores.postgres import owned as schema_owned
from stoker.stores.sqlite import owned as file_owned
from stoker.worker import runner
from stoker.worker.attempt import Attempt
from stoker.worker.runner import Runner
from tests.transactions import ledger

WATCHED = {module.__file__ for module in (effects, schema_owned, file_owned, runner, ledger)}
MOST = 400


def main(url: str, task: str) -> None:
    """Fork one process after the other, and print their ends."""
    ends: list[int] = []
    while not ends or (ends[-1] != 0 and len(ends) < MOST):
        # Nothing is open here: no connection, no thread, no loop.
        pid = os.fork()  # noqa: TID251 - a fresh interpreter for each line would take minutes
        if pid == 0:
            asyncio.run(live(url, task, len(ends) + 1))
            os._exit(0)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    sys.stdout.write(msgspec.json.encode(ends).decode())


async def live(url: str, task: str, lines: int) -> None:
    """Run one job, for so many lines at the most."""
    async with open_store(url) as store:
        payload = msgspec.json.encode({"order": f"o{lines}"})
        await store.submit([JobSpec(id=f"j{lines}", task=task, payload=payload)])
        leased = await lease(store, f"s{lines}", f"j{lines}")
        await store.exchange(
            f"s{lines}", [await run(store, leased, lines)], queues={}, want=0, nonce="end"
        )


async def lease(store: Store, session: str, job: str) -> Leased:
    """Lease exactly one job in a session of its own."""
    await store.beat(SessionSpec(id=session, name=session), (), ttl=3600)
    given = await store.exchange(
        session, (), queues={"default": 1}, want=1, nonce=session, ids=[job]
    )
    [leased] = given.leased
    return leased


async def run(store: Store, leased: Leased, lines: int | None) -> Settlement:
    """Run a leased job as a worker does, and return what its worker would tell."""
    clock = SystemClock()
    crew = Runner(
        worker="w",
        result_limit=1_000,
        random=clock.random,
        transactions=lambda: store.transactions,
    )
    attempt = Attempt(
        leased, ledger.registry().get(leased.task), leased_at=clock.monotonic(), clock=clock
    )
    if lines is not None:
        sys.settrace(_reaper(lines))
    if attempt.task.is_async:
        verdict = await crew.run_async(attempt)
    else:
        verdict = crew.run_sync(attempt)
    sys.settrace(None)
    return Settlement(
        id=leased.id,
        epoch=leased.epoch,
        nonce=leased.nonce,
        outcome=verdict.outcome,
        result=verdict.result,
        error=verdict.error,
        retry_in=0.0 if verdict.outcome is Outcome.FAILED else None,
    )


def _reaper(lines: int) -> Any:
    left = lines

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in WATCHED:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


if __name__ == "__main__":
    main(*sys.argv[1:])
