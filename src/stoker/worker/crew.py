"""The asyncio tasks of the executors: kept, awaited, and never silent when they break.

A `TaskGroup` does not fit them: it waits for all of its tasks, and a handler that swallows every
cancellation would keep the worker from ending.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Crew:
    """Keeps tasks; the first bug in one of them surfaces in `watch`."""

    def __init__(self) -> None:
        """Make an empty crew."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._broken: asyncio.Future[None] | None = None
        self._error: BaseException | None = None

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task."""
        task = asyncio.create_task(work, name=name)  # noqa: TID251 - see the module's text
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    async def watch(self) -> None:
        """Wait until a task breaks, and raise what it raised."""
        self._broken = asyncio.get_running_loop().create_future()
        if self._error is not None:
            raise self._error
        await self._broken

    async def dismiss(self, timeout: float) -> int:
        """Cancel all tasks and wait for them; return how many go on nevertheless.

        Those are struck off asyncio's list, or whoever runs the loop would wait for them for ever.
        """
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            _, tasks = await asyncio.wait(tasks, timeout=timeout)
        for task in tasks:
            asyncio._unregister_task(task)  # noqa: SLF001 - documented in "Extending asyncio"
        return len(tasks)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        self._error = error
        if self._broken is not None and not self._broken.done():
            self._broken.set_exception(error)
