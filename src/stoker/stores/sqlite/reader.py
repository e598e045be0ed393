"""Threads that answer questions, each on a connection of its own that cannot write.

Each question sees one moment of the store: it runs in a read transaction.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import apsw

from stoker.core.errors import NotOpen
from stoker.stores.sqlite.faults import translate

T = TypeVar("T")
Question = Callable[[apsw.Connection], T]


class Reader:
    """One thread and one connection."""

    def __init__(self, db: apsw.Connection, path: str) -> None:
        """Take over a connection; call `start`."""
        self._db = db
        self._path = path
        self._inbox: queue.SimpleQueue[tuple[Question[Any], asyncio.Future[Any]] | None]
        self._inbox = queue.SimpleQueue()
        self._closing = False
        self._thread = threading.Thread(
            target=self._serve, name="stoker-sqlite-reader", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def run(self, question: Question[T]) -> T:
        """Answer a question.

        Raises:
            NotOpen: The reader was closed.
        """
        if self._closing:
            raise NotOpen("the store is closed; use it inside 'async with'")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._inbox.put((question, future))
        return await future

    async def close(self) -> None:
        """Answer what was asked, then close the connection and end the thread."""
        if not self._closing:
            self._closing = True
            self._inbox.put(None)
            await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        while (asked := self._inbox.get()) is not None:
            question, future = asked
            if future.cancelled():
                continue
            value, good = self._answer(question)
            # A loop that was closed by a caller that did not wait gets no answer.
            with contextlib.suppress(RuntimeError):
                future.get_loop().call_soon_threadsafe(_hand_over, future, value, good)
        self._db.close()

    def _answer(self, question: Question[T]) -> tuple[Any, bool]:
        try:
            self._db.execute("BEGIN")
            value = question(self._db)
            self._db.execute("COMMIT")
        except apsw.Error as error:
            self._end()
            return translate(error, self._path), False
        except Exception as error:  # noqa: BLE001 - the border: a defect reaches its caller, and only him
            self._end()
            return error, False
        return value, True

    def _end(self) -> None:
        if self._db.in_transaction:
            with contextlib.suppress(apsw.Error):
                self._db.execute("ROLLBACK")


def _hand_over(future: asyncio.Future[Any], value: Any, good: bool) -> None:  # noqa: FBT001 - for a callback
    if future.done():
        return
    if good:
        future.set_result(value)
    else:
        future.set_exception(value)
