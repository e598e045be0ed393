"""The tasks that the worker's tests run, and a worker on a memory store to run them.

The tasks are module-level functions, because child processes import them from here, too.
"""

import asyncio
import contextlib
import ctypes
import os
import re
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec

from stoker.core.clock import Clock, SystemClock
from stoker.core.context import current_job
from stoker.core.errors import Cancelled, Discard, Retry, Snooze, TaskTimeout
from stoker.core.job import JobRecord, JobSpec
from stoker.core.lifecycle import TERMINAL, State
from stoker.core.records import JobQuery
from stoker.core.retry import RetryPolicy
from stoker.core.store import Store
from stoker.core.task import Registry, Task, TaskOptions
from stoker.settings import LimitSettings, Seconds, WorkerSettings
from stoker.stores.memory import MemoryStore
from stoker.testing import wait_until
from stoker.worker.middleware import Middleware
from stoker.worker.source import TaskSource
from stoker.worker.worker import ExitReason, Worker

CHILD = "tests.unit.worker.child_program"
NO_RETRY = RetryPolicy(0)
LIBC = ctypes.CDLL(None)

started = threading.Event()
"""Set by tasks in this process that say that they run."""
release = threading.Event()
"""Waited for by tasks in this process that block."""
seen: list[Any] = []
"""What tasks in this process left behind."""


async def noop() -> None:
    pass


async def double(number: int) -> int:
    return number * 2


async def never() -> None:
    started.set()
    await asyncio.Event().wait()


async def stubborn(swallow: int = 1) -> str:
    started.set()
    for _ in range(swallow):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    return "went on"


async def cancels_itself() -> str:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    return "went on"


async def groups() -> str:
    """Needs an asyncio task without a cancellation left over from somebody else."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            await asyncio.Event().wait()
    except* ValueError:
        pass
    await asyncio.sleep(0)
    return "caught"


async def fails(text: str = "boom") -> None:
    raise ValueError(text)


async def signals(kind: str) -> None:
    raise {
        "retry": Retry("not yet", after="20s"),
        "retry_own": Retry("not yet"),
        "snooze": Snooze("10m", "too early"),
        "discard": Discard("pointless"),
        "cancelled": Cancelled("enough"),
        "bad_snooze": Snooze("soonish"),
    }[kind]


async def talks() -> None:
    job = current_job()
    job.progress(0.25, "reading")
    job.log("line %d", 1)
    job.log("line %d", 2)
    started.set()
    await asyncio.to_thread(release.wait, 10)
    job.progress(0.75)
    job.log("line %d", 3)


async def big(size: int) -> str:
    return "x" * size


async def unencodable() -> object:
    return object()


async def child_of(text: str = "") -> dict[str, Any]:
    return {"text": text, "parents": dict(current_job().parents)}


def plain_double(number: int) -> int:
    return number * 2


def whoami() -> list[Any]:
    job = current_job()
    return [job.worker, os.getpid(), threading.current_thread() is threading.main_thread()]


def blocks() -> str:
    started.set()
    release.wait(10)
    return "released"


def spins(seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def spins_deaf(seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            while time.monotonic() < end:
                pass
        except Exception:  # noqa: BLE001, S110 - the point: it does not want to hear
            pass


def blocks_in_c(seconds: float = 30.0) -> None:
    # select() without descriptors: a blocking system call that Python knows nothing about.
    timeval = (ctypes.c_long * 2)(int(seconds), int(seconds % 1 * 1e6))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        LIBC.select(0, None, None, None, timeval)


def holds_the_gil(length: int = 60) -> None:
    re.match(r"(a+)+$", "a" * length + "b")


def eats_memory(megabytes: int = 4_000) -> int:
    hoard = []
    for _ in range(megabytes // 8):
        hoard.append(bytearray(b"x" * 2**23))
        time.sleep(0.002)  # noqa: TID251 - gives the machine time to notice, not synchronisation
    return len(hoard)


_HOARD: list[bytes] = []


def keeps_memory(megabytes: int) -> int:
    _HOARD.append(b"x" * (megabytes * 2**20))
    return len(_HOARD)


def segfaults() -> None:
    ctypes.string_at(0)


def exits() -> None:
    os._exit(3)


def kills_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def system_exit() -> None:
    sys.exit(4)


def tidies_up() -> str:
    try:
        spins()
    except TaskTimeout:
        return "tidied up"
    return "was never told"


def process_talks() -> str:
    job = current_job()
    job.progress(0.5, "half")
    job.log("from the child")
    return "said"


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k.startswith("STOKER_")}  # noqa: TID251


def logs_in_a_child(text: str, *, kill: bool = False) -> int:
    """Log in every way that people log; `kill` ends the process before it has returned."""
    import logging

    log = logging.getLogger("shop.orders")
    log.debug("not heard")
    log.warning("%s from the task", text, extra={"order": 17, "who": "eve\n"})
    thread = threading.Thread(target=lambda: log.error("%s from a thread", text))
    thread.start()
    thread.join()
    try:
        int(text)
    except ValueError:
        log.exception("it went wrong")
    if kill:
        # Longer than records wait to be sent.
        threading.Event().wait(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def traced() -> dict[str, str]:
    """Return the context that spans of this task would continue."""
    import opentelemetry.trace  # noqa: F401 - as a task would that opens spans

    from stoker.tracing import carried

    return carried()


def spawns() -> int:
    """Start a process that outlives its parent unless somebody kills the group."""
    import subprocess

    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    current_job().log("%d", sleeper.pid)
    spins()
    return sleeper.pid


async def process_async(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


async def process_never() -> None:
    await asyncio.Event().wait()


ASYNC: tuple[Callable[..., Any], ...] = (
    noop,
    double,
    never,
    stubborn,
    cancels_itself,
    groups,
    fails,
    signals,
    talks,
    big,
    unencodable,
    child_of,
)
THREAD: tuple[Callable[..., Any], ...] = (
    plain_double,
    whoami,
    blocks,
    spins,
    spins_deaf,
    blocks_in_c,
    tidies_up,
    system_exit,
)
PROCESS: tuple[Callable[..., Any], ...] = (
    plain_double,
    whoami,
    spins,
    spins_deaf,
    blocks_in_c,
    holds_the_gil,
    eats_memory,
    keeps_memory,
    segfaults,
    exits,
    kills_itself,
    system_exit,
    tidies_up,
    process_talks,
    environment,
    spawns,
    logs_in_a_child,
    traced,
    process_async,
    process_never,
)


def registry(**options: Any) -> Registry:
    """All tasks: ``double`` on the loop, ``thread.spins``, ``process.spins``."""
    found = Registry()
    for prefix, run_in, functions in (
        ("", "async", ASYNC),
        ("thread.", "thread", THREAD),
        ("process.", "process", PROCESS),
    ):
        for fn in functions:
            made = TaskOptions.make(run_in=run_in, **options)
            found.add(Task(fn, name=prefix + fn.__name__, options=made))
    return found


def load(source: TaskSource) -> Registry:
    """The loader of the child processes."""
    if source.app == "broken":
        raise ImportError("no such shop")
    return registry()


async def until(look: Callable[[], Any], description: str) -> None:
    """Wait until an async predicate holds."""
    await wait_until(look, description, timeout=30)


class Bench:
    """A worker on a store, and what tests ask of both."""

    def __init__(self, store: Store, worker: Worker, clock: Clock) -> None:
        self.store = store
        self.worker = worker
        self.clock = clock
        self.task: asyncio.Task[ExitReason] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self.worker.run())  # noqa: TID251

    async def submit(self, task: str, payload: Any = None, **options: Any) -> str:
        """Submit one job; five seconds of limit and no retry unless told otherwise."""
        given: dict[str, Any] = {"timeout": 5.0, "retry": NO_RETRY} | options
        spec = JobSpec(
            id=self.clock.new_id(),
            task=task,
            payload=msgspec.json.encode(payload or {}),
            **given,
        )
        [answer] = await self.store.submit([spec])
        assert answer.created, answer
        return spec.id

    async def get(self, job_id: str) -> JobRecord:
        [record] = await self.store.get([job_id])
        assert record is not None
        return record

    async def until(
        self, job_id: str, holds: Callable[[JobRecord], bool], description: str
    ) -> JobRecord:
        """Wait until something holds of a job, and return the job."""

        async def look() -> bool:
            return holds(await self.get(job_id))

        await until(look, f"job {job_id} {description}")
        return await self.get(job_id)

    async def ended(self, job_id: str) -> JobRecord:
        return await self.until(job_id, lambda r: r.state in TERMINAL, "has ended")

    async def in_state(self, job_id: str, state: State) -> JobRecord:
        return await self.until(job_id, lambda r: r.state is state, f"is {state}")

    async def tried(self, job_id: str, times: int = 1) -> JobRecord:
        """Wait until so many attempts have ended."""
        return await self.until(
            job_id,
            lambda r: sum(a.outcome is not None for a in r.attempts) >= times,
            f"was tried {times} times",
        )

    async def cancel(self, job_id: str) -> str:
        [answer] = await self.store.cancel(JobQuery(ids=(job_id,)))
        return answer.answer

    async def finish(self) -> ExitReason:
        assert self.task is not None
        self.worker.drain()
        return await self.task


def settings(**changes: Any) -> WorkerSettings:
    quick: dict[str, Any] = {"drain": Seconds(5), "poll": Seconds(0.2), "concurrency": 4}
    return WorkerSettings(**(quick | changes))


@contextlib.asynccontextmanager
async def bench(
    *,
    store: Store | None = None,
    clock: Clock | None = None,
    tasks: Registry | None = None,
    source: TaskSource | None = None,
    limits: LimitSettings | None = None,
    middleware: Sequence[Middleware] = (),
    isolated: bool = True,
    start: bool = True,
    **changes: Any,
) -> AsyncIterator[Bench]:
    """Run a worker for the length of a test."""
    clock = clock or SystemClock()
    started.clear()
    release.clear()
    seen.clear()
    async with store or MemoryStore(clock=clock) as opened:
        worker = Worker(
            opened,
            tasks or registry(),
            settings=settings(**changes),
            limits=limits or LimitSettings(),
            clock=clock,
            source=(source or TaskSource()) if isolated else None,
            name="tester",
            middleware=middleware,
            child_module=CHILD,
        )
        made = Bench(opened, worker, clock)
        if start:
            made.start()
        try:
            yield made
        finally:
            release.set()
            if made.task is not None:
                made.worker.stop()
                async with asyncio.timeout(20):
                    await made.task
