"""Runs tasks in child processes, which can be killed and can die alone.

A child is started as a program (``python -m stoker.child``), never forked, and lives for many
jobs, one at a time. It is the leader of a session of its own, so that killing its group takes what
the job has started along. It knows neither the store's address nor any ``STOKER_*`` variable, and
asks for the first only when its job begins a transaction.

What ends an attempt here: its verdict over the socket; the death of the child (a crash, unless it
was killed by us); the hard limit and the memory limit, by SIGKILL. In each case the slot is free
at once, and a fresh child comes with the next job.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from stoker.core.errors import StokerError
from stoker.core.job import ErrorInfo
from stoker.tracing import carried
from stoker.worker import child_logs, wire
from stoker.worker.attempt import Attempt, Stop, Verdict
from stoker.worker.crew import Crew
from stoker.worker.runner import Runner
from stoker.worker.source import TaskSource
from stoker.worker.tracebacks import MAX_TRACEBACK, shorten

CHILD_MODULE = "stoker.child"
"""The program of the children."""
START_LIMIT = 60.0
"""Seconds that a child may take to find its tasks."""
IDLE_LIMIT = 60.0
"""Seconds after which a child without work is ended."""
DEATH_LIMIT = 5.0
"""Seconds to wait for a killed process to be gone."""
BROKEN = "child_broken"
"""The code of jobs put off because no child could be started for them."""

log = logging.getLogger(__name__)


class ChildSpec:
    """What all children of an executor have in common."""

    def __init__(
        self,
        *,
        source: TaskSource,
        worker: str,
        result_limit: int,
        memory: int | None = None,
        module: str = CHILD_MODULE,
        address: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Describe the children.

        Args:
            source: Where they find the tasks.
            worker: The worker's name.
            result_limit: The most bytes of a result.
            memory: Bytes that a job may use unless its task says; None: half of the machine's.
            module: The program.
            address: Gives the store's URL, for a job that begins a transaction; None: no store of
                this kind.
        """
        self.address = address
        self.source = source
        self.worker = worker
        self.result_limit = int(result_limit)
        self.memory = int(memory or 0) or machine_memory() // 2
        self.module = module

    def hello(self, crash_fd: int) -> wire.Hello:
        """Return the first message to a child."""
        return wire.Hello(
            source=self.source,
            worker=self.worker,
            parent=os.getpid(),
            result_limit=self.result_limit,
            crash_fd=crash_fd,
            levels=child_logs.levels(),
        )


class _Child:
    """One child process, from this side."""

    def __init__(self, spec: ChildSpec) -> None:
        self._spec = spec
        self.process: asyncio.subprocess.Process | None = None
        self.attempt: Attempt | None = None
        self.number = 0
        self.begun = 0
        self.limit = spec.memory
        self.wake: asyncio.Future[None] | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._crash: IO[bytes] | None = None

    async def open(self) -> None:
        """Start the process and wait until it knows its tasks."""
        ours, theirs = socket.socketpair()
        with theirs:
            # The stack of a crash must outlive the process that crashed.
            self._crash = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
            crash_fd = self._crash.fileno()
            self._reader, self._writer = await asyncio.open_connection(sock=ours)
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self._spec.module,
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=2,
                pass_fds=(theirs.fileno(), crash_fd),
                start_new_session=True,
                env=_environment(),
            )
        self.tell(self._spec.hello(crash_fd))
        async with asyncio.timeout(START_LIMIT):
            first = await self._read()
        if isinstance(first, wire.Broken):
            raise StokerError(f"its tasks could not be loaded: {first.error}")
        if not isinstance(first, wire.Ready):
            raise wire.BrokenFrame(f"expected Ready, got {type(first).__name__}")

    def tell(self, message: wire.ToChild) -> None:
        """Send a message without waiting for it to be read."""
        if self._writer is not None:
            self._writer.write(wire.pack(message))

    async def run(self, attempt: Attempt) -> Verdict:
        """Run one job.

        Raises:
            EOFError, OSError, BrokenFrame: The child is gone, or talks nonsense.
        """
        self.number += 1
        self.limit = attempt.task.options.memory or self._spec.memory
        attempt.begin()
        context = attempt.context
        carrier = {} if context is None else context.run(carried)
        self.tell(wire.Run(attempt.leased, self.number, carrier))
        if attempt.stop is not None:
            self.interrupt(attempt.stop)
        while True:
            message = await self._read()
            if isinstance(message, wire.Ended) and message.number == self.number:
                return message.verdict
            if isinstance(message, wire.Begun):
                self.begun = message.number
            elif isinstance(message, wire.StoreAsked):
                self.tell(wire.StoreTold(self._spec.address()))
            elif isinstance(message, wire.Report) and message.number == self.number:
                if message.progress is not None:
                    attempt.progress(message.progress, message.note)
                attempt.add_lines(message.logs)

    def interrupt(self, stop: Stop) -> None:
        """Tell the job to stop."""
        self.tell(wire.Interrupt(self.number, int(stop)))

    def dump(self) -> None:
        """Let the child write where it is, even if it hangs in C."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGUSR2)

    def kill(self) -> None:
        """Kill the child and what it started."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def last_stack(self) -> str | None:
        """Return what the child wrote when it crashed, or was told to `dump`."""
        if self._crash is None:
            return None
        size = os.fstat(self._crash.fileno()).st_size
        text = os.pread(self._crash.fileno(), min(size, 4 * MAX_TRACEBACK), 0)
        return shorten(text.decode(errors="replace"), MAX_TRACEBACK) or None

    def is_fit_for(self, attempt: Attempt) -> bool:
        """Whether the child is alive, and lean enough to run the job inside its limit."""
        if self._reader is None or self._reader.at_eof():
            return False
        limit = attempt.task.options.memory or self._spec.memory
        return self.number == 0 or self.memory_used() < limit // 2

    def memory_used(self) -> int:
        """Return the bytes of memory that the child holds; 0 if nobody can tell."""
        return 0 if self.process is None else resident_bytes(self.process.pid)

    async def close(self) -> int | None:
        """End the process; return how it ended."""
        code: int | None = None
        if self._writer is not None:
            self._writer.close()
        if self.process is not None:
            self.kill()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DEATH_LIMIT):
                    code = await self.process.wait()
        if self._writer is not None:
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        return code

    async def how_it_died(self) -> str:
        """Wait for the process to be gone and say in words how it went."""
        assert self.process is not None  # noqa: S101 - only asked of a child that was started
        code: int | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEATH_LIMIT):
                code = await self.process.wait()
        return in_words(code)

    def forget(self) -> None:
        """Close the file of the last stack."""
        if self._crash is not None:
            self._crash.close()

    async def _read(self) -> wire.FromChild:
        if self._reader is None:
            raise EOFError
        while True:
            head = await self._reader.readexactly(wire.HEAD)
            body = await self._reader.readexactly(wire.body_length(head))
            message = wire.read_from_child(body)
            if not isinstance(message, wire.Logged):
                return message
            child_logs.say_again(message)


class ProcessExecutor:
    """Runs tasks in child processes."""

    patience: Mapping[Stop, float] = {
        Stop.HARD: 0.2,
        Stop.RELEASE: 1.0,
        Stop.CANCEL: 5.0,
        Stop.ABANDON: 1.0,
    }

    def __init__(
        self,
        *,
        spec: ChildSpec,
        runner: Runner,
        done: Callable[[Attempt, Verdict], None],
        limit: int,
        crew: Crew,
    ) -> None:
        """Make an executor without a child; children come with the work.

        Args:
            spec: What the children are like.
            runner: Judges what the children cannot tell any more.
            done: Takes verdicts.
            limit: The most children.
            crew: Keeps the children's asyncio tasks.
        """
        self._crew = crew
        self._spec = spec
        self._runner = runner
        self._done = done
        self._limit = limit
        self._ready: deque[Attempt] = deque()
        self._children: dict[_Child, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._idle: list[_Child] = []
        self._busy = 0
        self._closed = False

    @property
    def children(self) -> tuple[int, ...]:
        """Process ids of the children."""
        return tuple(c.process.pid for c in self._children if c.process is not None)

    @property
    def serving(self) -> int:
        """How many children are in the middle of a job."""
        return sum(child.attempt is not None for child in self._children)

    def has_room(self) -> bool:
        """See `Executor.has_room`."""
        return self._busy < self._limit

    def start(self, attempt: Attempt) -> None:
        """See `Executor.start`."""
        self._busy += 1
        self._ready.append(attempt)
        self._call_children()

    def interrupt(self, attempt: Attempt, stop: Stop) -> None:
        """See `Executor.interrupt`."""
        child = attempt.handle
        if child is None or child.attempt is not attempt:
            return
        if stop is Stop.HARD:
            child.dump()
        else:
            child.interrupt(stop)

    def kill(self, attempt: Attempt) -> None:
        """See `Executor.kill`."""
        child = attempt.handle
        if child is None or child.attempt is not attempt:
            child = None
            if attempt in self._ready:
                self._ready.remove(attempt)
        else:
            child.kill()
            self._give_up(child)
        stack = None if child is None else child.last_stack()
        self._end(attempt, self._runner.stopped(attempt, stack=stack))

    def watch_memory(self) -> None:
        """Kill the children that use more memory than their job may."""
        for child in list(self._children):
            attempt = child.attempt
            if attempt is None or attempt.ended:
                continue
            used = child.memory_used()
            if used > child.limit and attempt.ask(Stop.MEMORY):
                attempt.detail = (
                    f"the job used {used / 2**20:,.0f} MB of memory; its limit is "
                    f"{child.limit / 2**20:,.0f} MB, and its process was killed"
                )
                self.kill(attempt)

    async def aclose(self) -> None:
        """See `Executor.aclose`."""
        self._closed = True
        for child in self._idle:
            if child.wake is not None and not child.wake.done():
                child.wake.set_result(None)
        for child in list(self._children):
            child.kill()
        lives = [*self._children.values(), *self._ending]
        if lives:
            await asyncio.wait(lives)

    def _end(self, attempt: Attempt, verdict: Verdict) -> None:
        if not attempt.ended:
            self._busy -= 1
            self._done(attempt, verdict)

    def _call_children(self) -> None:
        """Let somebody come for each job that waits."""
        for _ in range(min(len(self._ready), len(self._idle))):
            child = self._idle.pop()
            if child.wake is not None and not child.wake.done():
                child.wake.set_result(None)
        while len(self._children) < self._busy and not self._closed:
            child = _Child(self._spec)
            self._children[child] = self._crew.spawn(self._live(child), "stoker-child")

    def _give_up(self, child: _Child) -> None:
        """Count on the child no more: the next job gets a fresh one."""
        life = self._children.pop(child, None)
        if life is not None:
            self._ending.add(life)

    async def _live(self, child: _Child) -> None:
        """The life of one child: start, job after job, death."""
        try:
            if await self._opened(child):
                while await self._next(child):
                    if not await self._one(child):
                        break
        finally:
            self._give_up(child)
            self._call_children()
            try:
                await child.close()
            finally:
                child.forget()
                self._ending.discard(asyncio.current_task())

    async def _opened(self, child: _Child) -> bool:
        try:
            await child.open()
        except (StokerError, OSError, EOFError, TimeoutError, wire.BrokenFrame) as error:
            self._cannot_open(child, str(error) or type(error).__name__)
            return False
        except Exception as error:
            log.exception("starting a child process broke")
            self._cannot_open(child, repr(error))
            return False
        return True

    def _cannot_open(self, child: _Child, why: str) -> None:
        """Put off the job that the child was started for, or it would be started for ever."""
        log.error("a child process could not be started: %s", why)
        self._give_up(child)
        if self._ready:
            attempt = self._ready.popleft()
            info = ErrorInfo(code=BROKEN, message=f"no child process could be started: {why}")
            self._end(attempt, self._runner.postponed(info, attempt.leased))

    async def _next(self, child: _Child) -> bool:
        """Wait for work; False when there was none for too long."""
        while not (self._ready or self._closed):
            child.wake = asyncio.get_running_loop().create_future()
            self._idle.append(child)
            try:
                async with asyncio.timeout(IDLE_LIMIT):
                    await child.wake
            except TimeoutError:
                break
            finally:
                child.wake = None
                if child in self._idle:
                    self._idle.remove(child)
        return bool(self._ready) and not self._closed

    async def _one(self, child: _Child) -> bool:
        """Run one job; whether the child is fit for the next."""
        if not child.is_fit_for(self._ready[0]):
            return False
        attempt = self._ready.popleft()
        if attempt.stop is not None:
            self._end(attempt, self._runner.stopped(attempt))
            return True
        attempt.handle = child
        child.attempt = attempt
        try:
            verdict = await child.run(attempt)
        except (EOFError, OSError, wire.BrokenFrame):
            if not attempt.ended:
                await self._mourn(child, attempt)
            return False
        finally:
            child.attempt = None
        if attempt.ended or child.last_stack() is not None:
            self._give_up(child)
        self._end(attempt, verdict)
        return child in self._children

    async def _mourn(self, child: _Child, attempt: Attempt) -> None:
        """Say how a child died in the middle of a job."""
        child.kill()
        self._give_up(child)
        if child.begun < child.number and child.begun > 0:
            # It had died while it was idle, unnoticed; a fresh child has no such excuse.
            attempt.handle = None
            self._ready.appendleft(attempt)
            return
        how = await child.how_it_died()
        self._end(attempt, self._runner.died(attempt, how, stack=child.last_stack()))


def resident_bytes(pid: int) -> int:
    """Return the bytes of memory that a process holds; 0 if nobody can tell."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_bytes().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def machine_memory() -> int:
    """Return the bytes of memory that this machine, or this container, has."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        size = min(size, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return size


def in_words(code: int | None) -> str:
    """Say how a process ended: by which signal, or with which exit code."""
    if code is None:
        return "does not end although it was killed"
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"was killed by {name}"
    return f"exited with code {code} in the middle of it"


def _environment() -> dict[str, str]:
    """Return this process's environment without the store's address and every secret of ours."""
    variables = os.environ  # noqa: TID251 - handed on, not read
    return {k: v for k, v in variables.items() if not k.startswith("STOKER_")}
