"""One worker process: spawn it, signal it, say how it ended."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from stoker.fleet.tether import NOT_STARTED

logger = logging.getLogger(__name__)

Sink = Callable[[str, bytes], None]
"""Takes the name of a worker and one line of its output, without the line's end."""

_TETHER = str(Path(__file__).with_name("tether.py"))
_LONGEST_LINE = 65_536
_LAST_WORDS = 1.0


class Process:
    """A child of this process, in a process group of its own, that ends when this one does.

    Attributes:
        name: The worker's name.
        pid: Its process id; the same after the worker replaced itself by `os.execv`.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        """Take a running child; see `spawn`."""
        self.name = name
        self.pid = process.pid
        self._process = process
        self._output: asyncio.StreamReader | None = None
        self._transport: asyncio.ReadTransport | None = None

    @classmethod
    async def spawn(
        cls,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        capture: bool = False,
    ) -> Self:
        """Start a worker.

        Args:
            name: For people.
            command: Program and arguments; no shell reads them.
            env: The whole environment; None: this process's own.
            capture: Whether `forward` shall get its output; else it writes where this process
                does.

        Raises:
            OSError: No process could be made.
        """
        reading, writing = os.pipe() if capture else (None, None)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", _TETHER, str(os.getpid()), *command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                env=env,
            )
        except BaseException:
            if reading is not None:
                os.close(reading)
            raise
        finally:
            if writing is not None:
                os.close(writing)
        child = cls(name, process)
        if reading is not None:
            await child._listen(reading)
        return child

    async def wait(self) -> int:
        """Wait until it ended; return its exit code, negative for the signal that killed it.

        What it left behind in its process group is killed first: its jobs are about to run
        somewhere else.
        """
        code = await self._process.wait()
        self._signal_group(signal.SIGKILL)
        return code

    def drain(self) -> None:
        """Ask it to finish what it holds and to end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """Ask it to end in another way than `drain` does: asked both ways, it stops at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)

    def retire(self) -> None:
        """Ask it to end when what it holds has ended, however long that takes."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGUSR1)

    def kill(self) -> None:
        """End it and everything that it started, now."""
        # Not both: to signal a process, `subprocess` looks first whether it has ended, and so takes
        # the exit code away from asyncio if the first signal was quick.
        if self._process.returncode is None and not self._signal_group(signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def forward(self, sink: Sink) -> None:
        """Hand each line of its output to a sink, until it has ended and said its last words."""
        output, transport = self._output, self._transport
        if output is None or transport is None:
            return
        try:
            async with asyncio.TaskGroup() as group:
                pump = group.create_task(self._pump(output, sink))
                await self._process.wait()
                # A grandchild may hold the pipe open for ever.
                await asyncio.wait({pump}, timeout=_LAST_WORDS)
                pump.cancel()
        finally:
            transport.close()

    async def _listen(self, reading: int) -> None:
        # A pipe of our own: one that asyncio made would delay `wait` for as long as anybody who
        # inherited it holds it.
        loop = asyncio.get_running_loop()
        self._output = asyncio.StreamReader(limit=_LONGEST_LINE)
        protocol = asyncio.StreamReaderProtocol(self._output)
        self._transport, _ = await loop.connect_read_pipe(
            lambda: protocol, os.fdopen(reading, "rb", buffering=0)
        )

    async def _pump(self, output: asyncio.StreamReader, sink: Sink) -> None:
        rest = b""
        sink = _forgiving(sink)
        while chunk := await output.read(_LONGEST_LINE):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                sink(self.name, line)
        if rest:
            sink(self.name, rest)

    def _signal_group(self, number: signal.Signals) -> bool:
        """Signal the child and what it started; False if there is no such group."""
        # In its first milliseconds the child has no group of its own; then there is none to find.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
            return True
        return False


def _forgiving(sink: Sink) -> Sink:
    """Go on without a sink that broke: a terminal that was closed must not end the workers."""
    is_broken = False

    def take(name: str, line: bytes) -> None:
        nonlocal is_broken
        if not is_broken:
            try:
                sink(name, line)
            except OSError as error:
                is_broken = True
                logger.warning("the output of %s goes nowhere from now on: %s", name, error)

    return take


def describe_exit(code: int) -> str:
    """Say how a worker ended."""
    if code == 0:
        return "drained"
    if code == NOT_STARTED:
        return "could not be started"
    if code > 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"
