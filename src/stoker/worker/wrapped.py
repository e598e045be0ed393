"""An executor with middleware around it; used only when there is middleware.

Each attempt gets an asyncio task of its own in which the middleware runs. What it wraps may run
on the loop, in a thread or in a process; its verdict comes back through a future.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context

from stoker.worker.attempt import Attempt, Executor, Stop, Verdict
from stoker.worker.crew import Crew
from stoker.worker.middleware import Middleware, wrap
from stoker.worker.runner import Runner

Done = Callable[[Attempt, Verdict], None]


class WrappedExecutor:
    """Runs middleware around the attempts of another executor."""

    def __init__(
        self,
        make: Callable[[Done], Executor],
        *,
        chain: Sequence[Middleware],
        runner: Runner,
        done: Done,
        crew: Crew,
    ) -> None:
        """Wrap an executor.

        Args:
            make: Makes it, given whom it tells its verdicts.
            chain: The middleware, the outermost first.
            runner: Judges what middleware raises.
            done: Takes the verdicts.
            crew: Keeps the asyncio tasks.
        """
        self._crew = crew
        self._inner = make(self._answer)
        self.patience: Mapping[Stop, float] = self._inner.patience
        self._chain = chain
        self._runner = runner
        self._done = done
        self._tasks: dict[Attempt, asyncio.Task[None]] = {}
        self._answers: dict[Attempt, asyncio.Future[Verdict]] = {}

    def has_room(self) -> bool:
        """See `Executor.has_room`."""
        return self._inner.has_room()

    def start(self, attempt: Attempt) -> None:
        """See `Executor.start`."""
        self._tasks[attempt] = self._crew.spawn(self._run(attempt), "stoker-wrapped")

    def interrupt(self, attempt: Attempt, stop: Stop) -> None:
        """See `Executor.interrupt`."""
        if attempt in self._answers:
            self._inner.interrupt(attempt, stop)
        elif attempt in self._tasks:
            self._tasks[attempt].cancel()

    def kill(self, attempt: Attempt) -> None:
        """See `Executor.kill`."""
        verdict = self._runner.stopped(attempt)
        answer = self._answers.get(attempt)
        if answer is not None:
            self._inner.kill(attempt)
            if answer.done() and not answer.cancelled():
                verdict = answer.result()
        task = self._tasks.pop(attempt, None)
        if task is not None:
            task.cancel()
        if not attempt.ended:
            self._done(attempt, verdict)

    async def aclose(self) -> None:
        """See `Executor.aclose`. The crew ends the tasks."""
        await self._inner.aclose()

    async def _run(self, attempt: Attempt) -> None:
        try:
            job = self._runner.context(attempt)
            verdict = await wrap(self._chain, job, lambda: self._call(attempt))()
        except BaseException as error:  # noqa: BLE001 - the border of an attempt
            verdict = self._runner.judge(error, attempt)
        self._tasks.pop(attempt, None)
        if not attempt.ended:
            self._done(attempt, verdict)

    async def _call(self, attempt: Attempt) -> Verdict:
        attempt.context = copy_context()
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._answers[attempt] = answer
        try:
            self._inner.start(attempt)
            return await answer
        finally:
            del self._answers[attempt]

    def _answer(self, attempt: Attempt, verdict: Verdict) -> None:
        answer = self._answers.get(attempt)
        if answer is not None and not answer.done():
            answer.set_result(verdict)
