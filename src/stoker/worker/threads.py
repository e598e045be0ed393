"""Runs plain functions in threads of its own.

Python cannot kill a thread. It can raise an exception in one, at its next line of Python: that
stops an endless loop and tells a task its soft limit. A thread that sits in a blocking C call
hears nothing until the call returns. At its hard limit such a thread is given up: its outcome is
recorded, its slot goes to a fresh thread, it is counted as stuck, and the worker is asked to be
replaced.

How an exception is raised, and why so: the loop plants it (``PyThreadState_SetAsyncExc``), lets
go of the interpreter for a few milliseconds, and takes it back if the thread has not raised it by
then; it tries again later. Nothing is ever left pending, because a pending exception could hit
the thread's next job, slows down every thread of the process while it waits, and makes CPython
3.11 hang under a tracer such as coverage.
"""

import asyncio
import ctypes
import logging
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from queue import SimpleQueue

from stoker.core.errors import Cancelled
from stoker.worker.attempt import Attempt, Interrupted, SoftLimit, Stop, Verdict
from stoker.worker.runner import Runner
from stoker.worker.tracebacks import OWN_FILES, stack_of

log = logging.getLogger(__name__)

_plant = ctypes.pythonapi.PyThreadState_SetAsyncExc
_plant.argtypes = (ctypes.c_ulong, ctypes.py_object)
_plant.restype = ctypes.c_int
_take_back = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)(
    ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
)

_NAP = 0.001
_NAPS = 5
"""How many naps of so many seconds a thread gets to raise what was planted."""
_SWITCH = 0.000_1
"""Seconds between two turns of threads meanwhile."""
_PATIENT = 0.05
"""Seconds to the second try; each pause is twice the one before."""
_MOST_PATIENT = 1.0
_DELICATE_PAUSE = 0.005
"""Seconds to the next try when a thread is in a delicate place."""
_DELICATE_TRIES = 20
_DELICATE = tuple(f"{os.sep}{name}" for name in ("logging/__init__.py", "threading.py", "queue.py"))
"""Files whose code holds locks that the whole process needs: an exception that is raised there may
leave one locked for ever."""


class _CalledOff(Cancelled):
    """Raised inside a task whose job was cancelled."""

    def __init__(self) -> None:
        super().__init__()


_RAISED: Mapping[Stop, type[BaseException]] = {Stop.SOFT: SoftLimit, Stop.CANCEL: _CalledOff}
"""What a task is told by; every other reason is `Interrupted`."""


class _Settle(BaseException):
    """Raised in the loop's own thread: see `_Thread.poke`."""


class _Thread:
    """One thread and the attempt in it.

    There is no lock between it and the loop: an exception that is raised from outside may come
    between any two steps, and a lock taken at that moment would never be given back. Instead each
    side first says what it is about to do (``poking``, ``attempt``) and then looks at the other.
    """

    def __init__(self) -> None:
        self.attempt: Attempt | None = None
        self.poking = False
        self.given_up = False
        self.ident = 0

    def work(self, attempt: Attempt, runner: Runner) -> Verdict:
        """Run one attempt on this thread."""
        found: list[Verdict] = []
        try:
            try:
                self.attempt = attempt
                found.append(runner.run_sync(attempt))
            finally:
                self._shut()
        except BaseException as error:  # noqa: BLE001 - raised between two lines of our own
            self._shut()
            if not found:
                found.append(runner.judge(error, attempt))
        return found[0]

    def is_delicate(self) -> bool:
        """Whether the thread is at a place where nothing should be raised just now."""
        frame = sys._current_frames().get(self.ident)  # noqa: SLF001 - documented
        file = "" if frame is None else frame.f_code.co_filename
        return file.startswith(OWN_FILES) or file.endswith(_DELICATE)

    def poke(self, attempt: Attempt, exception: type[BaseException]) -> bool:
        """Raise an exception in the attempt; whether it was. Called on the loop."""
        raised: list[bool] = []
        once = _noted(exception, raised)
        self.poking = True
        if self.attempt is attempt:
            # Other threads may be busy: let this one have its turn soon.
            usual = sys.getswitchinterval()
            sys.setswitchinterval(_SWITCH)
            _plant(self.ident, once)
            # No Python function may be called from here on: see the module's text on tracers.
            for _ in range(_NAPS):
                select.select((), (), (), _NAP)
                if raised:
                    break
            _take_back(self.ident, None)
            sys.setswitchinterval(usual)
            # CPython forgets to lower its flag when an exception is taken back, and lowers it
            # when one is raised: so this thread raises one in itself.
            try:
                _plant(threading.get_ident(), _Settle)
                while True:
                    pass
            except _Settle:
                pass
        self.poking = False
        return bool(raised)

    def _shut(self) -> None:
        """Let nothing more be raised into this thread."""
        while True:
            try:
                self.attempt = None
                while self.poking:
                    select.select((), (), (), 0)
            except (SoftLimit, Cancelled, Interrupted):
                continue
            return


def _noted(exception: type[BaseException], raised: list[bool]) -> type[BaseException]:
    """Return a subclass that notes when it is raised, which is when its instance is made."""

    def note(self: BaseException) -> None:
        raised.append(True)
        exception.__init__(self)

    return type(exception.__name__, (exception,), {"__init__": note, "__module__": __name__})


class ThreadExecutor:
    """Runs plain functions in threads."""

    # A cancel or a lost lease gives no thread up: that costs the whole worker.
    patience: Mapping[Stop, float] = {Stop.HARD: 1.0, Stop.RELEASE: 1.0}

    def __init__(
        self,
        *,
        runner: Runner,
        done: Callable[[Attempt, Verdict], None],
        on_stuck: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Make an executor without a thread; threads come with the work.

        Args:
            runner: Runs one attempt.
            done: Takes its verdict, on the loop.
            on_stuck: Told, on the loop, that a thread was given up.
            loop: The worker's loop.
        """
        self._runner = runner
        self._done = done
        self._on_stuck = on_stuck
        self._loop = loop
        self._inbox: SimpleQueue[Attempt | None] = SimpleQueue()
        self._threads: set[_Thread] = set()
        self._busy = 0
        self._made = 0
        self._outbox: deque[tuple[_Thread, Attempt, Verdict | None]] = deque()
        self._posted = False
        self._telling: dict[Attempt, Stop] = {}
        self._gone = asyncio.Event()
        self.stuck = 0

    def has_room(self) -> bool:
        """See `Executor.has_room`."""
        return True

    def start(self, attempt: Attempt) -> None:
        """See `Executor.start`."""
        self._busy += 1
        if self._busy > len(self._threads):
            self._add_thread()
        self._inbox.put(attempt)

    def interrupt(self, attempt: Attempt, stop: Stop) -> None:
        """See `Executor.interrupt`."""
        self._telling[attempt] = stop
        self._tell(attempt, stop, _PATIENT, _DELICATE_TRIES)

    def _tell(self, attempt: Attempt, stop: Stop, pause: float, delicate: int) -> None:
        thread: _Thread | None = attempt.handle
        if attempt.ended or thread is None or self._telling.get(attempt) is not stop:
            return
        if delicate and thread.is_delicate():
            self._loop.call_later(_DELICATE_PAUSE, self._tell, attempt, stop, pause, delicate - 1)
        elif not thread.poke(attempt, _RAISED.get(stop, Interrupted)):
            longer = min(2 * pause, _MOST_PATIENT)
            self._loop.call_later(pause, self._tell, attempt, stop, longer, _DELICATE_TRIES)

    def kill(self, attempt: Attempt) -> None:
        """See `Executor.kill`."""
        thread = attempt.handle
        stack = None
        if thread is not None and thread.attempt is not attempt:
            # It has just ended; its verdict is on its way, and comes too late.
            thread = None
        if thread is not None:
            thread.given_up = True
            stack = stack_of(sys._current_frames().get(thread.ident))  # noqa: SLF001 - documented
            self._threads.discard(thread)
            self._busy -= 1
            self.stuck += 1
            log.error(
                "job %s (%s) hangs in its thread, which cannot be killed; the worker will be "
                "replaced\n%s",
                attempt.leased.id,
                attempt.leased.task,
                stack,
            )
        self._telling.pop(attempt, None)
        self._done(attempt, self._runner.stopped(attempt, stack=stack))
        if thread is not None:
            self._on_stuck()

    async def aclose(self) -> None:
        """See `Executor.aclose`."""
        for _ in self._threads:
            self._inbox.put(None)
        try:
            async with asyncio.timeout(self.patience[Stop.RELEASE]):
                while self._threads:
                    self._gone.clear()
                    await self._gone.wait()
        except TimeoutError:
            log.warning("%d threads still run; they end with the process", len(self._threads))

    def _add_thread(self) -> None:
        self._made += 1
        thread = _Thread()
        self._threads.add(thread)
        # A daemon, or a stuck thread would keep the process from ending.
        threading.Thread(
            target=self._live, args=(thread,), name=f"stoker-task-{self._made}", daemon=True
        ).start()

    def _live(self, thread: _Thread) -> None:
        thread.ident = threading.get_ident()
        while not thread.given_up:
            attempt = self._inbox.get()
            if attempt is None:
                break
            attempt.handle = thread
            verdict = None if attempt.ended else thread.work(attempt, self._runner)
            self._outbox.append((thread, attempt, verdict))
            self._post()
        self._call_loop(self._forget, thread)

    def _post(self) -> None:
        # Written after the append and read before the drain: nothing stays behind.
        if not self._posted:
            self._posted = True
            self._call_loop(self._collect)

    def _call_loop(self, function: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            # The loop was closed: the worker is gone, and nobody waits for this verdict.
            log.debug("a task ended after its worker did")

    def _collect(self) -> None:
        self._posted = False
        while self._outbox:
            thread, attempt, verdict = self._outbox.popleft()
            if not thread.given_up:
                self._busy -= 1
            self._telling.pop(attempt, None)
            if verdict is not None and not attempt.ended:
                self._done(attempt, verdict)

    def _forget(self, thread: _Thread) -> None:
        if thread.given_up:
            self.stuck -= 1
        self._threads.discard(thread)
        self._gone.set()
