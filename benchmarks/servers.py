"""A server for a measurement: started on a free port, read from, stopped."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil  # type: ignore[import-untyped]

from benchmarks.workers import ROOT

STARTS_WITHIN = 30.0
HTTP = re.compile(rb"listens on http://127\.0\.0\.1:(\d+)")
GATEWAY = re.compile(rb"come in at tcp://127\.0\.0\.1:(\d+)")


@asynccontextmanager
async def serving(
    store: str, *options: str, says: re.Pattern[bytes] = HTTP
) -> AsyncIterator[tuple[psutil.Process, int]]:
    """Run a server; yield its process and its port once it has said that.

    Args:
        store: URL.
        options: More of its command line.
        says: The line of its log with the port, `HTTP` or `GATEWAY`.
    """
    command = [sys.executable, "-m", "stoker", "server", "--app", "benchmarks.tasks:app"]
    command += ["--store", store, "--port", "0", "--no-keeper", *options]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(STARTS_WITHIN):
            port = await _port_of(process, says)
        async with asyncio.TaskGroup() as group:
            # A log that nobody reads would stop the server once the pipe is full.
            reading = group.create_task(_swallow(process))
            yield psutil.Process(process.pid), port
            reading.cancel()
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STARTS_WITHIN):
            await process.wait()


def cpu(process: psutil.Process) -> float:
    """Return the seconds that a process has used of a core."""
    times = process.cpu_times()
    return float(times.user + times.system)


async def _port_of(process: asyncio.subprocess.Process, says: re.Pattern[bytes]) -> int:
    said = b""
    while process.stderr is not None and (line := await process.stderr.readline()):
        said += line
        if found := says.search(line):
            return int(found[1])
    raise RuntimeError(f"the server did not start:\n{said.decode(errors='replace')}")


async def _swallow(process: asyncio.subprocess.Process) -> None:
    while process.stderr is not None and await process.stderr.readline():
        pass
