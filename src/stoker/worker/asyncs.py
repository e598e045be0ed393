"""Runs ``async`` tasks on the worker's own event loop, in a fixed set of long-lived slots.

A slot is one asyncio task that runs one job after the other: a job that never waits costs no
asyncio task, no timer and no turn of the loop of its own. An attempt is stopped by cancelling its
slot, which passes the cancellation on; a handler that swallows it loses the slot to a fresh one.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

from stoker.core.clock import Clock
from stoker.worker.attempt import Attempt, Stop, Verdict
from stoker.worker.crew import Crew
from stoker.worker.tracebacks import stack_of_coroutine

Run = Callable[[Attempt], Awaitable[Verdict]]
Done = Callable[[Attempt, Verdict], None]
Stopped = Callable[[Attempt, str | None], Verdict]

BURST = 0.02
"""Seconds after which a slot that never had to wait lets the rest of the loop run."""

log = logging.getLogger(__name__)


class _Slot:
    """One long-lived asyncio task."""

    __slots__ = ("attempt", "retired", "task", "waiter", "woke")

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.attempt: Attempt | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.retired = False
        self.woke = 0.0


class AsyncExecutor:
    """Runs coroutine functions on the loop."""

    patience: Mapping[Stop, float] = {
        Stop.HARD: 1.0,
        Stop.RELEASE: 1.0,
        Stop.CANCEL: 10.0,
        Stop.ABANDON: 1.0,
    }

    def __init__(self, *, run: Run, done: Done, stopped: Stopped, clock: Clock, crew: Crew) -> None:
        """Make an executor without a slot; slots come with the work.

        Args:
            run: Runs one attempt to its verdict.
            done: Takes the verdict.
            stopped: Makes the verdict of an attempt that had to be killed; the text is where it
                was.
            clock: Time.
            crew: Keeps the slots' asyncio tasks.
        """
        self._crew = crew
        self._run = run
        self._done = done
        self._stopped = stopped
        self._clock = clock
        self._ready: deque[Attempt] = deque()
        self._idle: list[_Slot] = []
        self._slots: set[_Slot] = set()
        self._zombies: set[_Slot] = set()
        # Slots that are awake and will look for work before they sleep.
        self._hungry = 0
        self._closed = False

    @property
    def swallowed(self) -> int:
        """How many handlers were told to stop, did not, and still run."""
        return len(self._zombies)

    def has_room(self) -> bool:
        """See `Executor.has_room`."""
        return True

    def start(self, attempt: Attempt) -> None:
        """See `Executor.start`."""
        self._ready.append(attempt)
        if len(self._ready) > self._hungry:
            self._hungry += 1
            self._wake_one()

    def interrupt(self, attempt: Attempt, stop: Stop) -> None:  # noqa: ARG002 - all are cancelled
        """See `Executor.interrupt`."""
        slot = attempt.handle
        if slot is not None and slot.attempt is attempt and slot.task is not None:
            slot.task.cancel()

    def kill(self, attempt: Attempt) -> None:
        """See `Executor.kill`."""
        slot = attempt.handle
        if slot is None or slot.attempt is not attempt:
            if attempt in self._ready:
                self._ready.remove(attempt)
            self._done(attempt, self._stopped(attempt, None))
            return
        slot.retired = True
        self._slots.discard(slot)
        self._zombies.add(slot)
        stack = stack_of_coroutine(attempt.coroutine)
        log.warning(
            "job %s (%s) goes on though it was told to stop; its slot was replaced\n%s",
            attempt.leased.id,
            attempt.leased.task,
            stack,
        )
        self._done(attempt, self._stopped(attempt, stack))

    async def aclose(self) -> None:
        """See `Executor.aclose`. The crew ends the slots."""
        self._closed = True
        for slot in self._idle:
            if slot.waiter is not None and not slot.waiter.done():
                slot.waiter.set_result(None)

    def _wake_one(self) -> None:
        if not self._idle:
            slot = _Slot()
            self._slots.add(slot)
            slot.task = self._crew.spawn(self._live(slot), "stoker-slot")
            return
        slot = self._idle.pop()
        if slot.waiter is not None and not slot.waiter.done():
            slot.waiter.set_result(None)

    async def _live(self, slot: _Slot) -> None:
        try:
            slot.woke = self._clock.monotonic()
            while not (slot.retired or self._closed):
                if self._ready:
                    await self._one(slot)
                else:
                    await self._rest(slot)
        finally:
            self._slots.discard(slot)
            self._zombies.discard(slot)

    async def _one(self, slot: _Slot) -> None:
        attempt = self._ready.popleft()
        self._hungry -= 1
        attempt.handle = slot
        slot.attempt = attempt
        verdict = await self._run(attempt)
        slot.attempt = None
        if slot.task is not None and slot.task.cancelling():
            await _calm(slot.task)
        if slot.retired or self._closed:
            return
        self._hungry += 1
        if not attempt.ended:
            self._done(attempt, verdict)
        if attempt.ended_at - slot.woke > BURST:
            await asyncio.sleep(0)
            slot.woke = attempt.ended_at

    async def _rest(self, slot: _Slot) -> None:
        self._hungry -= 1
        slot.waiter = asyncio.get_running_loop().create_future()
        self._idle.append(slot)
        await slot.waiter
        slot.waiter = None
        slot.woke = self._clock.monotonic()


async def _calm(task: asyncio.Task[None]) -> None:
    """Use up a cancellation that its job did not, or it would hit the next job of the slot."""
    while task.cancelling():
        task.uncancel()
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        while task.cancelling():
            task.uncancel()
