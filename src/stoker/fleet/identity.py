"""Which process it really is: a process id together with the moment the process began.

Process ids are used again. Whoever kept one in a file may find another process under it later,
and must neither wait for that one nor signal it.
"""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

_PROC = Path("/proc")
_LOOK_AGAIN = 0.05


class Identity:
    """One process, told apart from others that get the same id later.

    Attributes:
        pid: Its process id.
        mark: When it began, as its system says it; empty where that cannot be known.
    """

    def __init__(self, pid: int, mark: str) -> None:
        """Name a process that may or may not be alive."""
        self.pid = pid
        self.mark = mark

    @classmethod
    def of(cls, pid: int) -> "Identity":
        """Return the identity of the process that has this id now."""
        return cls(pid, _mark(pid) or "")

    def is_alive(self) -> bool:
        """Whether that very process runs. One that ended and was not collected does not."""
        if sys.platform == "linux":
            return self.pid > 0 and _mark(self.pid) == self.mark
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def send(self, number: signal.Signals) -> bool:
        """Send a signal to that very process; False if it is gone."""
        with contextlib.suppress(ProcessLookupError):
            if sys.platform != "linux":
                os.kill(self.pid, number)
                return True
            # The descriptor holds the process, so the check and the signal are about one process.
            descriptor = os.pidfd_open(self.pid)
            try:
                if self.is_alive():
                    signal.pidfd_send_signal(descriptor, number)
                    return True
            finally:
                os.close(descriptor)
        return False

    async def ended(self, timeout: float) -> bool:
        """Wait until that very process has ended; False after ``timeout`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await (self._ended_linux() if sys.platform == "linux" else self._ended())
                return True
        return False

    async def _ended_linux(self) -> None:
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(descriptor, gone.set)
        try:
            if self.is_alive():
                await gone.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def _ended(self) -> None:
        while self.is_alive():  # noqa: ASYNC110 - nothing else tells the end of a stranger here
            await asyncio.sleep(_LOOK_AGAIN)


def _mark(pid: int) -> str | None:
    """Return boot and start time of a living process; None if there is none."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    # The name stands in parentheses and may itself hold spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    state, started = fields[0], fields[19]
    return None if state in {"Z", "X"} else f"{boot}/{started}"
