"""A thread that ends the process when its event loop hangs.

A loop that runs no callbacks cannot beat, cannot keep limits and cannot drain: whatever blocks it
(an ``async`` task with a blocking call in it) holds all jobs of the worker. The thread writes all
stacks to stderr and ends the process; its supervisor starts a new one, and the jobs come back.

A process that was frozen (SIGSTOP, a paused container) slept as a whole, and its loop may be in
perfect health: what this thread overslept is not counted against it.

A call that holds the interpreter's lock (a regular expression that explodes) stops this thread,
too. For a process that belongs to the worker alone, a timer inside `faulthandler` that needs no
lock stands behind it.
"""

import faulthandler
import os
import threading
from collections.abc import Callable

from stoker.core.clock import Clock

EXIT_CODE = 70
"""How the process ends (EX_SOFTWARE of sysexits.h)."""
LOOK_EVERY = 0.5
ASLEEP = 0.5
"""Share of the limit between two looks that means that the whole process stood still."""
_STDERR = 2


class Watchdog:
    """Watches one event loop."""

    def __init__(
        self,
        *,
        clock: Clock,
        limit: Callable[[], float],
        backstop: bool = False,
        end: Callable[[int], None] = os._exit,
    ) -> None:
        """Make a watchdog that sleeps.

        Args:
            clock: Time.
            limit: Gives the seconds without a sign of life that are too many; called on the
                watchdog's thread.
            backstop: Whether `faulthandler`, of which a process has one, may be used.
            end: Ends the process.
        """
        self._clock = clock
        self._limit = limit
        self._backstop = backstop
        self._end = end
        self._over = threading.Event()
        self._seen: float | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        # At once: the very first job may take the interpreter's lock and never give it back.
        self._wind_up()
        self._thread = threading.Thread(target=self._watch, name="stoker-watchdog", daemon=True)
        self._thread.start()

    def touch(self) -> None:
        """Show that the loop lives, and expect the next sign from now on."""
        self._seen = self._clock.monotonic()

    def rest(self) -> None:
        """Expect no signs: nothing runs."""
        self._seen = None

    def stop(self) -> None:
        """End the thread."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        if self._backstop:
            faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        looked_at = awake_since = self._clock.monotonic()
        while not self._over.wait(LOOK_EVERY):
            seen = self._seen
            self._wind_up()
            limit = self._limit()
            now = self._clock.monotonic()
            if now - looked_at > limit * ASLEEP:
                awake_since = now
            looked_at = now
            if seen is not None and now - max(seen, awake_since) > limit:
                faulthandler.dump_traceback(file=_STDERR, all_threads=True)
                self._end(EXIT_CODE)
                return

    def _wind_up(self) -> None:
        if self._backstop:
            faulthandler.dump_traceback_later(self._limit() + LOOK_EVERY * 10, exit=True)
