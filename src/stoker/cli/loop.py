"""The event loop of the commands that run long, and the signals that end them."""

import asyncio
import contextlib
import importlib.util
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on uvloop if the extra ``fast`` is installed."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_supervised(work))


def ready() -> None:
    """Tell the supervisor, if there is one, that this process does what it is for."""
    notifier = _notifier.get()
    if notifier is not None:
        notifier.tell("READY=1")


async def _supervised(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine, and tell the supervisor as long as the loop turns."""
    from stoker.settings import supervision

    found = supervision()
    notifier = Notifier(found.socket)
    _notifier.set(notifier)
    # It ends with the work, below; a group would wrap the errors of the work.
    beating = asyncio.create_task(_beat(notifier, found.watchdog))  # noqa: TID251
    try:
        return await work
    finally:
        notifier.tell("STOPPING=1")
        beating.cancel()
        await asyncio.wait([beating])


async def _beat(notifier: "Notifier", patience: float | None) -> None:
    while patience is not None:
        notifier.tell("WATCHDOG=1")
        # Half the time that the supervisor has patience, as its manual asks for.
        await asyncio.sleep(patience / 2)


class Notifier:
    """Speaks to a supervisor such as systemd: `sd_notify(3)`."""

    def __init__(self, address: str | None) -> None:
        """Take the supervisor's address; None: there is nobody to tell."""
        self._address = address

    def tell(self, word: str) -> None:
        """Send a word. A supervisor that does not listen is no reason to stop working."""
        if self._address is None:
            return
        place = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line,
        ):
            line.setblocking(False)  # noqa: FBT003 - the socket's own word
            line.connect(place)
            line.send(word.encode())


_notifier: ContextVar[Notifier | None] = ContextVar("notifier", default=None)


@contextlib.contextmanager
def on_stop(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at each SIGTERM and Ctrl-C inside the block, instead of dying of it."""
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
