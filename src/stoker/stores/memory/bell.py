"""Who waits for what, and how he is woken."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

SLICE = 0.05
"""Real seconds between two looks at the clock while a job is due later: an injected clock may
jump, and nobody tells."""


class Waiter:
    """One caller of `Store.wait`."""

    __slots__ = ("closed", "event", "rung")

    def __init__(self) -> None:
        """Make a waiter that nobody woke yet."""
        self.event = asyncio.Event()
        self.rung = False
        self.closed = False

    def wake(self) -> None:
        """End the wait: something happened."""
        self.rung = True
        self.event.set()

    def close(self) -> None:
        """End the wait: the handle is being closed."""
        self.closed = True
        self.event.set()


class Bell:
    """The waiters of a world, by queue and by job."""

    def __init__(self) -> None:
        """Make a bell that nobody listens to."""
        self._queues: dict[str, set[Waiter]] = {}
        self._jobs: dict[str, set[Waiter]] = {}

    def ring(self, queue: str) -> None:
        """A job became leasable in the queue."""
        for waiter in self._queues.get(queue, ()):
            waiter.wake()

    def stir(self, queue: str) -> None:
        """A job of the queue is due at some moment: whoever waits counts again."""
        for waiter in self._queues.get(queue, ()):
            waiter.event.set()

    def changed(self, job_id: str) -> None:
        """A job changed its state, progress or log."""
        if self._jobs:
            for waiter in self._jobs.get(job_id, ()):
                waiter.wake()

    async def wait(
        self,
        waiter: Waiter,
        queues: Sequence[str],
        ids: Sequence[str],
        *,
        timeout: float,
        due_in: Callable[[], float | None],
    ) -> bool:
        """Sleep until the waiter is woken, a job is due, or the time is over.

        Args:
            waiter: Fresh.
            queues: Names of queues to listen to.
            ids: Ids of jobs to listen to.
            timeout: Real seconds.
            due_in: Seconds until the next job of these queues is due; None: none is.
        """
        end = asyncio.get_running_loop().time() + timeout
        self._listen(waiter, queues, ids)
        try:
            while not (waiter.rung or waiter.closed):
                due = due_in()
                if due is not None and due <= 0:
                    return True
                left = end - asyncio.get_running_loop().time()
                if left <= 0:
                    return False
                await _nap(waiter, left if due is None else min(left, due, SLICE))
            return waiter.rung
        finally:
            self._forget(waiter, queues, ids)

    def _listen(self, waiter: Waiter, queues: Iterable[str], ids: Iterable[str]) -> None:
        for name in queues:
            self._queues.setdefault(name, set()).add(waiter)
        for job_id in ids:
            self._jobs.setdefault(job_id, set()).add(waiter)

    def _forget(self, waiter: Waiter, queues: Iterable[str], ids: Iterable[str]) -> None:
        for table, keys in ((self._queues, queues), (self._jobs, ids)):
            for key in set(keys):
                table[key].discard(waiter)
                if not table[key]:
                    del table[key]


async def _nap(waiter: Waiter, longest: float) -> None:
    try:
        async with asyncio.timeout(longest):
            await waiter.event.wait()
    except TimeoutError:
        return
    waiter.event.clear()
