"""The inside of a child process: runs one job after the other, in its main thread.

A second thread reads the socket, so that a cancel, a soft limit and the worker's death arrive
while a job runs. It interrupts a plain function with a signal to the main thread, which also
breaks off a blocking system call, and an ``async`` one by cancelling it. When the socket ends, the
worker is gone: the child kills its own process group, and with it whatever the job has started.
"""

import asyncio
import contextlib
import ctypes
import faulthandler
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from stoker.core.clock import SystemClock
from stoker.core.context import JobContext
from stoker.core.errors import Cancelled, UnknownTask
from stoker.core.task import Registry
from stoker.core.transactions import Transactions
from stoker.tracing import continuing
from stoker.worker import wire
from stoker.worker.attempt import Attempt, Interrupted, SoftLimit, Stop, Verdict
from stoker.worker.child_logs import ToWorker, take_over
from stoker.worker.runner import Runner
from stoker.worker.source import TaskSource
from stoker.worker.tracebacks import describe

REPORT_EVERY = 0.05
"""Seconds between two reports, however fast the job talks."""
TELL = signal.SIGUSR1
"""Sent by the reading thread to the main one."""
DUMP = signal.SIGUSR2
"""Sent by the worker before it kills: writes where the job is."""
_PR_SET_PDEATHSIG = 1


Connect = Callable[[str], Transactions]


def main(load: Callable[[TaskSource], Registry], connect: Connect) -> None:
    """Serve the worker that started this process until it goes away.

    Args:
        load: Rebuilds the tasks from what the worker says about them.
        connect: Gives what the store behind a URL does inside transactions.
    """
    sock = socket.socket(fileno=int(sys.argv[1]))
    # What the jobs start must not hold the socket, or the worker would not see this process die.
    sock.set_inheritable(False)
    channel = _Channel(sock)
    hello = channel.receive()
    if not isinstance(hello, wire.Hello):
        sys.exit(f"expected a Hello from the worker, got a {type(hello).__name__}")
    _prepare(hello)
    child = _Child(channel, hello, connect)
    try:
        registry = load(hello.source)
    except BaseException as error:
        child.say_logs()
        channel.send(wire.Broken(describe(error)))
        raise
    channel.send(wire.Ready())
    child.serve(registry)


class _Channel:
    """Frames over a blocking socket; both threads send."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._lock = threading.Lock()

    def send(self, message: wire.FromChild) -> None:
        data = wire.pack(message)
        try:
            with self._lock:
                self.sock.sendall(data)
        except OSError:
            _end_group()

    def receive(self) -> wire.ToChild:
        """Return the next message; the end of the socket is the end of this process."""
        return wire.read_to_child(self._read(wire.body_length(self._read(wire.HEAD))))

    def _read(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            try:
                data = self.sock.recv(min(size - len(parts), 2**20))
            except OSError:
                data = b""
            if not data:
                _end_group()
            parts += data
        return bytes(parts)


class _Job:
    """The job that runs now."""

    def __init__(self, attempt: Attempt, number: int) -> None:
        self.attempt = attempt
        self.number = number
        # Whether the main thread is inside the task, where an exception may be raised.
        self.open = False
        self.loop: asyncio.AbstractEventLoop | None = None
        self.task: asyncio.Task[Any] | None = None


class _Child:
    """The two threads of the process."""

    def __init__(self, channel: _Channel, hello: wire.Hello, connect: Connect) -> None:
        self._connect = connect
        self._told_store: SimpleQueue[str | None] = SimpleQueue()
        self._transactions: Transactions | None = None
        self._channel = channel
        self._registry = Registry()
        self._clock = SystemClock()
        self._runner = Runner(
            worker=hello.worker,
            result_limit=hello.result_limit,
            random=self._clock.random,
            transactions=self._find_transactions,
        )
        self._inbox: SimpleQueue[wire.Run] = SimpleQueue()
        self._job: _Job | None = None
        # The last order to stop: it may arrive before the main thread has begun the job.
        self._told: tuple[int, Stop] | None = None
        self._reporting = threading.Lock()
        self._news_read, self._news_write = os.pipe()
        os.set_blocking(self._news_write, False)
        self._logs = ToWorker(self._wake, self._running)
        if hello.levels:
            take_over(hello.levels, self._logs)

    def serve(self, registry: Registry) -> None:
        """Run jobs of these tasks on this thread while another one listens."""
        self._registry = registry
        signal.signal(TELL, self._on_tell)
        threading.Thread(target=self._listen, name="stoker-child", daemon=True).start()
        while True:
            self._run(self._inbox.get())

    def _running(self) -> JobContext | None:
        job = self._job
        return None if job is None else self._runner.context(job.attempt)

    def _find_transactions(self) -> Transactions | None:
        """Ask the worker where the store is; only who needs it learns it."""
        if self._transactions is None:
            self._channel.send(wire.StoreAsked())
            address = self._told_store.get()
            if address is not None:
                self._transactions = self._connect(address)
        return self._transactions

    def _run(self, order: wire.Run) -> None:
        self._channel.send(wire.Begun(order.number))
        try:
            with continuing(order.carrier):
                verdict = self._attempt(order)
        except (SoftLimit, Cancelled, Interrupted):
            # Raised in the instant between the task's end and the closing of its window.
            verdict = self._after(order)
        job, self._job = self._job, None
        if job is not None:
            self._report(job)
        self.say_logs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        self._channel.send(wire.Ended(order.number, verdict))

    def _attempt(self, order: wire.Run) -> Verdict:
        leased = order.leased
        try:
            task = self._registry.get(leased.task)
        except UnknownTask as error:
            return self._runner.postponed(describe(error), leased)
        attempt = Attempt(leased, task, leased_at=self._clock.monotonic(), clock=self._clock)
        attempt.on_news = self._wake
        job = self._job = _Job(attempt, order.number)
        if self._told is not None and self._told[0] == order.number:
            attempt.ask(self._told[1])
        try:
            if task.is_async:
                return asyncio.run(self._run_async(job))
            job.open = True
            return self._runner.run_sync(attempt)
        except BaseException as error:  # noqa: BLE001 - the border of an attempt
            return self._runner.judge(error, attempt)
        finally:
            job.open = False

    def _after(self, order: wire.Run) -> Verdict:
        job = self._job
        if job is None:
            return self._runner.postponed(None, order.leased)
        job.open = False
        return self._runner.stopped(job.attempt)

    async def _run_async(self, job: _Job) -> Verdict:
        job.task = asyncio.current_task()
        job.loop = asyncio.get_running_loop()
        verdict = await self._runner.run_async(job.attempt)
        job.loop = None
        return verdict

    def _on_tell(self, _signum: int, _frame: object) -> None:
        """Raise in the task, on the main thread."""
        job = self._job
        if job is None or not job.open:
            return
        stop = job.attempt.stop
        if stop is Stop.SOFT:
            raise SoftLimit
        if stop is Stop.CANCEL:
            raise Cancelled
        if stop is not None:
            raise Interrupted

    def _listen(self) -> None:
        sock = self._channel.sock
        due = False
        while True:
            ready, _, _ = select.select([sock.fileno(), self._news_read], (), (), None)
            if self._news_read in ready:
                os.read(self._news_read, 4096)
                due = True
            if sock.fileno() in ready:
                self._obey(self._channel.receive())
            if due:
                due = False
                job = self._job
                if job is not None:
                    self._report(job)
                self.say_logs()
                # Whatever the job says during this nap goes into one report.
                select.select([sock], (), (), REPORT_EVERY)

    def _obey(self, message: wire.ToChild) -> None:
        if isinstance(message, wire.Run):
            self._inbox.put(message)
        elif isinstance(message, wire.Interrupt):
            self._interrupt(message)
        elif isinstance(message, wire.StoreTold):
            self._told_store.put(message.address)

    def _interrupt(self, message: wire.Interrupt) -> None:
        stop = Stop(message.stop)
        self._told = (message.number, stop)
        job = self._job
        if job is None or job.number != message.number:
            return
        job.attempt.ask(stop)
        loop, task = job.loop, job.task
        if loop is not None and task is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)
        elif job.open:
            signal.pthread_kill(threading.main_thread().ident or 0, TELL)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._news_write, b"!")

    def _report(self, job: _Job) -> None:
        attempt = job.attempt
        with self._reporting:
            if attempt.fresh:
                attempt.fresh = False
                lines = attempt.take_lines()
                self._channel.send(wire.Report(job.number, attempt.share, attempt.note, lines))

    def say_logs(self) -> None:
        """Send what was logged and not sent."""
        with self._reporting:
            self._logs.send(self._channel.send)


def _prepare(hello: wire.Hello) -> None:
    if hello.crash_fd is None:
        faulthandler.enable()
    else:
        os.set_inheritable(hello.crash_fd, False)  # noqa: FBT003 - its only form
        faulthandler.enable(file=hello.crash_fd)
        faulthandler.register(DUMP, file=hello.crash_fd)
    if sys.platform == "linux":
        # The kernel ends this process when the worker's dies, even if it hangs in C.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        with contextlib.suppress(OSError):
            # When the machine runs out of memory this process goes before its neighbours do.
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    if os.getppid() != hello.parent:
        _end_group()


def _end_group() -> None:
    """End this process and what its jobs have started, at once."""
    with contextlib.suppress(OSError):
        if os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
    os._exit(0)
