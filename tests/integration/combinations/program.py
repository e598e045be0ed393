"""The app of the workers under test. It is copied beside them and imported as ``program:app``.

Each handler writes into a ledger that Stoker knows nothing of: one line when it begins, one when
its effect is done, one when it is interrupted. The ledger, not the store, says what happened.
"""

import asyncio
import os
import threading
import time
from functools import cache

from stoker import RetryPolicy, Stoker, current_job

LEDGER = "ledger"
SOON = RetryPolicy(8, backoff="fixed", base=0.05, jitter=True)
ONCE = RetryPolicy(1, backoff="fixed", base=0.05, jitter=False)
LOSABLE = 1_000
"""A worker is killed on purpose, so no job may be blamed for it."""

app = Stoker()


@app.task("work", max_lost=LOSABLE)
async def work(number: int, pace: float) -> int:
    """Do something for ``pace`` seconds."""
    await _act(pace)
    return number


@app.task("plain", run_in="thread", max_lost=LOSABLE)
def plain(number: int, pace: float) -> int:
    """Do the same in a thread."""
    _note("begin")
    threading.Event().wait(pace)
    _note("effect")
    return number


@app.task("flaky", retry=SOON, max_lost=LOSABLE)
async def flaky(number: int, failures: int) -> int:
    """Fail in the first attempts."""
    if current_job().attempt <= failures:
        _note("begin")
        _note("failure")
        raise RuntimeError(f"attempt {current_job().attempt} fails")
    await _act(0.0)
    return number


@app.task("doomed", retry=ONCE, max_lost=LOSABLE)
async def doomed(number: int) -> int:
    """Fail in every attempt."""
    _note("begin")
    _note("failure")
    raise RuntimeError(f"job {number} always fails")


@app.task("join", max_lost=LOSABLE)
async def join() -> int:
    """Add what the parents gave."""
    await _act(0.0)
    return sum(current_job().parents.values())


async def _act(pace: float) -> None:
    _note("begin")
    try:
        await asyncio.sleep(pace)
    except asyncio.CancelledError:
        _note("stop")
        raise
    _note("effect")


def _note(what: str) -> None:
    job = current_job()
    line = f"{what} {job.id} {job.epoch} {job.worker} {time.monotonic_ns()}\n"
    os.write(_ledger(), line.encode())


@cache
def _ledger() -> int:
    return os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
