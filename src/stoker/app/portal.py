"""The bridge from blocking code to the event loop where the store lives.

Everything inside Stoker is async and written once. A blocking verb hands its coroutine to a loop
in a background thread and waits for the answer; there is no second copy of anything.
"""

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from stoker.core.errors import UsageError

T = TypeVar("T")


class Portal:
    """A loop that coroutines can be sent to from any thread.

    Either the loop of whoever opened the app with ``async with``, or one in a thread of its own,
    which ends with the process.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Use a running loop, or start one in a background thread."""
        self.pid = os.getpid()
        self._thread: threading.Thread | None = None
        self.loop = loop or self._start()

    def run(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine on the loop and wait for it.

        Raises:
            UsageError: Called on the loop itself, which would wait for itself for ever.
        """
        if _running_loop() is self.loop:
            work.close()
            raise UsageError(
                "a blocking call inside the event loop would stop it; use the async twin with an "
                "'a' before its name: asubmit, aresult, acancel"
            )
        future = self.post(work)
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise

    async def arun(self, work: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine that must run on the portal's loop."""
        if _running_loop() is self.loop:
            return await work
        return await asyncio.wrap_future(self.post(work))

    def post(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Send a coroutine to the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def close(self) -> None:
        """End the background thread, if there is one."""
        if self._thread is None or self.pid != os.getpid():
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=10)
        if not self._thread.is_alive():
            self.loop.close()

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, name="stoker", daemon=True)
        self._thread.start()
        return loop


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
