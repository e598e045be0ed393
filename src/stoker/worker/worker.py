"""The worker: one session, its slots, and the loops around them.

`Worker` only wires: `Exchange` settles and leases, `Dispatcher` moves jobs through the slots,
executors run them, `Heartbeat` keeps the session, `Watchdog` looks after the event loop. What is
decided here is how a worker starts and how it ends.
"""

import asyncio
import functools
import logging
import os
import platform
import signal
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from importlib import metadata

from stoker.core.clock import Clock, SystemClock
from stoker.core.job import Command, SessionSpec, SessionState
from stoker.core.store import Store
from stoker.core.task import Registry
from stoker.settings import LimitSettings, WorkerSettings
from stoker.worker.asyncs import AsyncExecutor
from stoker.worker.attempt import Attempt, Executor, Stop, Verdict
from stoker.worker.crew import Crew
from stoker.worker.dispatcher import Dispatcher
from stoker.worker.exchange import Exchange
from stoker.worker.heartbeat import Heartbeat
from stoker.worker.middleware import Middleware
from stoker.worker.processes import CHILD_MODULE, ChildSpec, ProcessExecutor
from stoker.worker.queues import Queues
from stoker.worker.runner import Runner
from stoker.worker.source import TaskSource
from stoker.worker.threads import ThreadExecutor
from stoker.worker.watchdog import Watchdog
from stoker.worker.wrapped import WrappedExecutor

TICK = 0.05
"""Seconds between two looks at the limits while jobs run."""
LAST_WORDS = 10.0
"""Seconds after the last job for handing in what is left, when the store does not answer."""
_SLACK = 5.0

log = logging.getLogger(__name__)

Done = Callable[[Attempt, Verdict], None]


class ExitReason(StrEnum):
    """Why `Worker.run` returned."""

    DRAINED = "drained"
    """It was asked to drain, and did."""
    STOPPED = "stopped"
    """It was asked to stop, and gave back what ran."""
    RECYCLE = "recycle"
    """It drained because this process has to be replaced: see `recycle_exec`."""


class WorkerState(StrEnum):
    """Where a worker is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    ENDED = "ended"


class Worker:
    """Runs jobs from a store until it is told to stop.

    Attributes:
        name: For people.
        state: Where it is in its life.
        stuck: Threads that hang in a job that was given up.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        *,
        settings: WorkerSettings,
        limits: LimitSettings,
        clock: Clock | None = None,
        source: TaskSource | None = None,
        name: str | None = None,
        middleware: Sequence[Middleware] = (),
        child_module: str = CHILD_MODULE,
        owns_process: bool = False,
    ) -> None:
        """Make a worker.

        Args:
            store: Opened, and closed after the worker has ended.
            registry: The tasks.
            settings: See `WorkerSettings`.
            limits: The size of results.
            clock: Time and chance; the system's if not given.
            source: Where child processes find the tasks; without it the worker runs none.
            name: For people; else the settings' name, else host and process id.
            middleware: What wraps attempts, the outermost first.
            child_module: The program of child processes.
            owns_process: Whether the process exists for this worker alone, so that a call that
                holds the interpreter's lock for too long may end it.
        """
        self.name = name or settings.name or f"{platform.node() or 'worker'}-{os.getpid()}"
        self.state = WorkerState.STARTING
        self._store = store
        self._registry = registry
        self._settings = settings
        self._limits = limits
        self._clock = clock or SystemClock()
        self._source = source
        self._middleware = tuple(middleware)
        self._child_module = child_module
        self._reason = ExitReason.DRAINED
        self._draining = asyncio.Event()
        self._hurried = asyncio.Event()
        self._stopping = asyncio.Event()
        self._started = asyncio.Event()
        self._resting = True
        self._crew = Crew()
        self._leftovers = 0
        self._processes: ProcessExecutor | None = None
        self._threads: ThreadExecutor | None = None
        self._async: AsyncExecutor | None = None
        self._wire(owns_process=owns_process)

    @property
    def session_id(self) -> str:
        """The id of the present session."""
        return self._heartbeat.session_id

    @property
    def busy(self) -> int:
        """How many jobs run."""
        return self._dispatcher.busy

    @property
    def held(self) -> int:
        """How many jobs are held: running, waiting for a slot, or not yet settled."""
        return len(self._dispatcher.held)

    @property
    def finished(self) -> int:
        """How many attempts ended here so far."""
        return self._dispatcher.finished

    @property
    def stuck(self) -> int:
        """How many threads hang in a job that was given up."""
        return 0 if self._threads is None else self._threads.stuck

    @property
    def leftovers(self) -> int:
        """How many jobs that were given up still run in this process after the worker ended.

        Neither a thread nor a coroutine that swallows every cancellation can be ended. They end
        with the process.
        """
        return self._leftovers + self.stuck

    @property
    def is_open(self) -> bool:
        """Whether the store knows the session."""
        return self._heartbeat.opened.is_set()

    @property
    def children(self) -> tuple[int, ...]:
        """Process ids of the child processes."""
        return () if self._processes is None else self._processes.children

    async def run(self) -> ExitReason:
        """Open a session, run jobs until told to drain or stop, and leave.

        Raises:
            StokerError: The store cannot serve, for a reason that time does not heal.
        """
        self._make_executors()
        self._watchdog.start()
        try:
            await self._loops()
        except BaseExceptionGroup as group:
            raise _only(group) from None
        finally:
            await self._end()
        log.info("worker %s ended: %s", self.name, self._reason.value)
        return self._reason

    def drain(self) -> None:
        """Finish what runs, give back what waits, and end. Call it on the event loop.

        What runs longer than the settings' ``drain`` is interrupted and given back.
        """
        self._hurried.set()
        self.retire()

    def retire(self) -> None:
        """Drain without a limit: nothing that runs is interrupted. `drain` sets the limit."""
        if not self._draining.is_set():
            log.info("worker %s drains; %d jobs run", self.name, self.busy)
            self.state = WorkerState.DRAINING
            self._heartbeat.state = SessionState.DRAINING
            self._draining.set()
            self._dispatcher.close()
            self._heartbeat.soon()
            self._exchange.wake()

    def stop(self) -> None:
        """Interrupt what runs, give it back uncounted, and end. Call it on the event loop."""
        if not self._stopping.is_set():
            self._reason = ExitReason.STOPPED
            self._stopping.set()
            self.drain()

    def recycle(self) -> None:
        """Drain because the process has to be replaced."""
        if not self._draining.is_set():
            self._reason = ExitReason.RECYCLE
            self.drain()

    @property
    def is_draining(self) -> bool:
        """Whether it was told to end within a time."""
        return self._hurried.is_set()

    def _address(self) -> str | None:
        found = self._store.transactions
        return None if found is None else found.address

    def _wire(self, *, owns_process: bool) -> None:
        settings, clock = self._settings, self._clock
        own = (self._registry.get(name).options.queue for name in self._registry)
        queues = Queues(settings.queues, own, settings.concurrency)
        self._queues = queues
        self._runner = Runner(
            worker=self.name,
            result_limit=self._limits.result,
            random=clock.random,
            transactions=lambda: self._store.transactions,
        )
        self._dispatcher = Dispatcher(
            registry=self._registry,
            runner=self._runner,
            clock=clock,
            concurrency=settings.concurrency,
            count_load=queues.is_limited,
        )
        self._heartbeat = Heartbeat(
            store=self._store,
            dispatcher=self._dispatcher,
            settings=settings,
            clock=clock,
            describe=self._describe,
        )
        self._exchange = Exchange(
            store=self._store,
            dispatcher=self._dispatcher,
            heartbeat=self._heartbeat,
            queues=queues,
            settings=settings,
            clock=clock,
        )
        self._watchdog = Watchdog(clock=clock, limit=self._longest_block, backstop=owns_process)
        self._dispatcher.on_news = self._exchange.wake
        self._dispatcher.on_start = self._on_start
        self._heartbeat.on_open = self._on_open
        self._heartbeat.on_command = self._on_command

    def _make_executors(self) -> None:
        loop = asyncio.get_running_loop()
        runner, clock = self._runner, self._clock

        def asyncs(done: Done) -> Executor:
            self._async = AsyncExecutor(
                run=runner.run_async,
                done=done,
                stopped=lambda attempt, stack: runner.stopped(attempt, stack=stack),
                clock=clock,
                crew=self._crew,
            )
            return self._async

        def threads(done: Done) -> Executor:
            self._threads = ThreadExecutor(
                runner=runner, done=done, on_stuck=self.recycle, loop=loop
            )
            return self._threads

        executors = {"async": self._wrapped(asyncs), "thread": self._wrapped(threads)}
        if self._source is not None:
            executors["process"] = self._wrapped(self._make_processes)
            self._dispatcher.isolation = executors["process"]
        self._dispatcher.executors = executors

    def _make_processes(self, done: Done) -> Executor:
        settings = self._settings
        self._processes = ProcessExecutor(
            spec=ChildSpec(
                source=self._source or TaskSource(),
                worker=self.name,
                result_limit=self._limits.result,
                memory=settings.memory,
                module=self._child_module,
                address=self._address,
            ),
            runner=self._runner,
            done=done,
            limit=settings.processes or settings.concurrency,
            crew=self._crew,
        )
        return self._processes

    def _wrapped(self, make: Callable[[Done], Executor]) -> Executor:
        done = self._dispatcher.done
        if not self._middleware:
            return make(done)
        return WrappedExecutor(
            make, chain=self._middleware, runner=self._runner, done=done, crew=self._crew
        )

    async def _loops(self) -> None:
        limit = asyncio.timeout(None)
        async with asyncio.TaskGroup() as group:
            helpers = [
                group.create_task(work)
                for work in (
                    self._heartbeat.run(),
                    self._heartbeat.listen(),
                    self._exchange.listen(),
                    self._exchange.learn(),
                    self._tick(),
                    self._crew.watch(),
                    self._shut_down(limit),
                )
            ]
            try:
                async with limit:
                    await self._exchange.run()
            except TimeoutError:
                left = len(self._dispatcher.held)
                log.error("%d jobs could not be handed in; a keeper takes them back", left)  # noqa: TRY400
            finally:
                for helper in helpers:
                    helper.cancel()

    async def _shut_down(self, limit: asyncio.Timeout) -> None:
        """Let running jobs end, then interrupt them, then give up on a store that is gone."""
        await self._hurried.wait()
        try:
            async with asyncio.timeout(self._settings.drain):
                await self._stopping.wait()
        except TimeoutError:
            if self.busy:
                log.warning("%d jobs did not end in time; they are given back", self.busy)
        self._dispatcher.stop_running(Stop.RELEASE)
        longest = min(LAST_WORDS, float(self._settings.lease))
        limit.reschedule(asyncio.get_running_loop().time() + longest)

    async def _tick(self) -> None:
        """Keep the limits of what runs; sleep when nothing does."""
        dispatcher = self._dispatcher
        while True:
            if not (dispatcher.running or dispatcher.buffer):
                self._watchdog.rest()
                self._resting = True
                self._started.clear()
                await self._started.wait()
            await asyncio.sleep(TICK)
            self._watchdog.touch()
            now = self._clock.monotonic()
            self._heartbeat.check(now)
            if self._processes is not None:
                self._processes.watch_memory()
            if dispatcher.tick(now):
                self._heartbeat.soon()

    def _on_start(self) -> None:
        if self._resting:
            self._resting = False
            self._watchdog.touch()
            self._started.set()

    def _on_open(self) -> None:
        if self.state is WorkerState.STARTING:
            self.state = WorkerState.RUNNING
            log.info("worker %s began session %s", self.name, self.session_id)
        self._exchange.look()

    def _on_command(self, command: Command) -> None:
        if command is Command.STOP:
            self.stop()
        else:
            self.drain()

    def _longest_block(self) -> float:
        most = 2.0 * self._settings.lease
        limits = [
            most if a.leased.timeout is None else a.leased.timeout + _SLACK
            for a in list(self._dispatcher.running)
            if a.task.options.run_in == "async"
        ]
        return min(most, max(limits, default=most))

    def _describe(self, session_id: str, state: SessionState) -> SessionSpec:
        return SessionSpec(
            id=session_id,
            name=self.name,
            host=platform.node(),
            pid=os.getpid(),
            version=_version(),
            queues=self._queues.names,
            tasks=self._registry.names(),
            concurrency=self._settings.concurrency,
            state=state,
        )

    async def _end(self) -> None:
        self._watchdog.stop()
        for executor in self._dispatcher.executors.values():
            await executor.aclose()
        self._leftovers = await self._crew.dismiss(timeout=1.0)
        if self.is_open:
            await self._heartbeat.leave()
        self.state = WorkerState.ENDED


def install_signals(worker: Worker, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """Let SIGTERM and SIGINT drain the worker, and the second one stop it now.

    SIGUSR1 retires it: it ends when what it holds has ended, however long that takes.

    Returns:
        Takes the handlers away again.
    """

    def obey() -> None:
        if worker.is_draining:
            worker.stop()
        else:
            worker.drain()

    caught = (signal.SIGTERM, signal.SIGINT)
    for number in caught:
        loop.add_signal_handler(number, obey)
    loop.add_signal_handler(signal.SIGUSR1, worker.retire)

    def remove() -> None:
        for number in (*caught, signal.SIGUSR1):
            loop.remove_signal_handler(number)

    return remove


def recycle_exec() -> None:
    """Replace this process by a fresh one with the same command line; does not return.

    Call it after `Worker.run` returned `ExitReason.RECYCLE` and the store is closed: a thread
    that cannot be killed ends with its process.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - itself, no shell


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one error that ended the loops, if it is one."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup) and len(found.exceptions) == 1:
        [found] = found.exceptions
    return found


@functools.cache
def _version() -> str:
    return metadata.version("stoker")
