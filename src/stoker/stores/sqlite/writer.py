"""The one thread that writes, and its group commits.

Whatever queued while the last commit was away goes into the next one, up to where sharing it gains
nothing more. A command is a function on a `Transaction`; it runs behind a savepoint of its own, so
that one that fails leaves no trace and its neighbours are not harmed. The answers go back after the
commit, all with one call into the event loop.

A command is answered with

* its result, when it and the commit succeeded;
* its own error, when it failed (its neighbours were committed);
* `Unavailable` or `StoreFull`, when the transaction was undone: nothing happened;
* `OutcomeUnknown`, when the commit itself broke.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import apsw

from stoker.core.clock import Clock
from stoker.core.errors import NotOpen, Unavailable
from stoker.stores.sqlite.faults import translate
from stoker.stores.sqlite.ledger import Ledger
from stoker.stores.sqlite.lock import WriteLock
from stoker.stores.sqlite.transaction import Again, Transaction

T = TypeVar("T")
PATIENCE = 30.0
"""Seconds that a command waits for its turn before it gives up."""
_LONGEST_GROUP = 0.05
"""Seconds of work after which a commit takes no more commands: other processes wait too."""
_LIGHT = 0.001
"""Seconds of work up to which a command shares its commit with others in any case. While commands
work longer than that, and longer than a commit takes, sharing one would save less than it makes
whoever was served first wait for the others, when he could have gone on beside them."""

Work = Callable[[Transaction], T]
Answer = list[Any]
"""``[command, value, good]``"""


class Command:
    """One function to run, and the future that waits for it."""

    __slots__ = ("_taken", "alone", "future", "work")

    def __init__(
        self, work: Callable[[Any], Any], future: asyncio.Future[Any], *, alone: bool
    ) -> None:
        """Bind a function to the future of its caller.

        Args:
            work: Takes a `Transaction`, or the connection if it runs alone.
            future: Of whoever asked.
            alone: It makes transactions of its own, and no other command runs with it.
        """
        self.work = work
        self.alone = alone
        self.future = future
        self._taken = [None]

    def take(self) -> bool:
        """Claim the command: by the writer to run it, or by its caller to give it up."""
        try:
            self._taken.pop()
        except IndexError:
            return False
        return True

    def answer(self, value: Any, *, good: bool) -> None:
        """Hand over the result or the error. In the event loop."""
        if self.future.done():
            return
        if good:
            self.future.set_result(value)
        else:
            self.future.set_exception(value)


class Writer:
    """Runs commands on its own thread and connection."""

    def __init__(
        self,
        db: apsw.Connection,
        lock: WriteLock,
        clock: Clock,
        *,
        path: str,
        committed: Callable[[Ledger], None],
    ) -> None:
        """Take over a connection; call `start`.

        Args:
            db: The connection that writes. The writer closes it.
            lock: The fair lock. The writer closes it.
            clock: For the moment of each command.
            path: For messages.
            committed: Told, in the writer's thread, what each commit changed.
        """
        self._db = db
        self._lock = lock
        self._clock = clock
        self._path = path
        self._committed = committed
        self._inbox: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._pending: Command | None = None
        self._closing = False
        self._commit_took = 0.0
        self._thread = threading.Thread(
            target=self._serve, name="stoker-sqlite-writer", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def run(self, work: Work[T]) -> T:
        """Run a function in a transaction and return its result once that is committed.

        Raises:
            NotOpen: The writer was closed.
            Unavailable: The lock was not to be had in `PATIENCE` seconds; nothing was done.
        """
        result: T = await self._ask(work, alone=False)
        return result

    async def run_alone(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run a function that makes transactions of its own, under the lock."""
        result: T = await self._ask(work, alone=True)
        return result

    async def _ask(self, work: Callable[[Any], Any], *, alone: bool) -> Any:
        if self._closing:
            raise NotOpen("the store is closed; use it inside 'async with'")
        loop = asyncio.get_running_loop()
        command = Command(work, loop.create_future(), alone=alone)
        impatience = loop.call_later(PATIENCE, self._give_up, command)
        self._inbox.put(command)
        try:
            return await command.future
        except asyncio.CancelledError:
            command.take()
            raise
        finally:
            impatience.cancel()

    async def close(self) -> None:
        """Finish what is queued, then close the connection and end the thread."""
        if self._closing:
            return
        self._closing = True
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join, PATIENCE)

    def _give_up(self, command: Command) -> None:
        if command.take():
            error = Unavailable(
                f"the write lock of the store {self._path!r} was not free for {PATIENCE:.0f} "
                "seconds; nothing was written. Another process holds it: see who has "
                f"'{self._path}-lock' open",
                path=self._path,
            )
            command.answer(error, good=False)

    def _serve(self) -> None:
        going = True
        while going:
            first = self._pending or self._inbox.get()
            self._pending = None
            going = first is not None and self._flush(first)
        self._db.close()
        self._lock.close()

    def _flush(self, first: Command) -> bool:
        """Commit one group; return False when the writer was told to stop."""
        group = _Group(first)
        books: Ledger | None = None
        try:
            with self._lock.held():
                if first.alone:
                    self._run_alone(group)
                else:
                    books = self._commit(group)
        except OSError as error:
            group.fail(Unavailable(f"the lock of the store {self._path!r} failed: {error}"))
        try:
            if books is not None:
                self._committed(books)
        finally:
            _hand_over(group.answers)
        return group.going

    def _run_alone(self, group: "_Group") -> None:
        command = group.first
        if not command.take():
            return
        answer = group.add(command)
        try:
            answer[1] = command.work(self._db)
        except apsw.Error as error:
            self._roll_back()
            answer[1:] = translate(error, self._path), False
        except Exception as error:  # noqa: BLE001 - the border: a defect reaches its caller, and only him
            self._roll_back()
            answer[1:] = error, False

    def _commit(self, group: "_Group") -> Ledger | None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            transaction = Transaction(self._db, self._clock, fresh=True)
            self._run_all(transaction, group)
            transaction.write_books()
        except apsw.Error as error:
            self._roll_back()
            group.fail(translate(error, self._path))
            return None
        except Exception as error:  # noqa: BLE001 - the border: a defect must not end the thread
            self._roll_back()
            group.fail(error)
            return None
        began = self._clock.monotonic()
        try:
            self._db.execute("COMMIT")
        except apsw.Error as error:
            self._roll_back()
            group.fail(translate(error, self._path, committing=True))
            return None
        self._commit_took = self._clock.monotonic() - began
        return transaction.total

    def _run_all(self, transaction: Transaction, group: "_Group") -> None:
        began = self._clock.monotonic()
        each = max(_LIGHT, self._commit_took)
        command: Command | None = group.first
        while command is not None:
            if command.take():
                answer = group.add(command)
                answer[1:] = self._run_one(transaction, command)
                worked = self._clock.monotonic() - began
                if worked > min(_LONGEST_GROUP, each * len(group.answers)):
                    return
            try:
                command = self._inbox.get_nowait()
            except queue.Empty:
                return
            if command is not None and command.alone:
                self._pending = command
                return
        group.going = False

    def _run_one(self, transaction: Transaction, command: Command) -> tuple[Any, bool]:
        transaction.begin()
        try:
            result = _work(transaction, command)
        except apsw.Error as error:
            if not self._db.in_transaction:
                raise  # SQLite undid the whole transaction: nobody of the group was served.
            transaction.undo()
            return translate(error, self._path), False
        except Exception as error:  # noqa: BLE001 - the border: a defect reaches its caller, and only him
            transaction.undo()
            return error, False
        transaction.keep()
        return result, True

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            with contextlib.suppress(apsw.Error):
                self._db.execute("ROLLBACK")


class _Group:
    """The commands of one commit with their answers."""

    def __init__(self, first: Command) -> None:
        self.first = first
        self.answers: list[Answer] = []
        self.going = True

    def add(self, command: Command) -> Answer:
        answer: Answer = [command, None, True]
        self.answers.append(answer)
        return answer

    def fail(self, fault: Exception) -> None:
        if self.first.take():
            self.add(self.first)
        for answer in self.answers:
            answer[1:] = fault, False


def _work(transaction: Transaction, command: Command) -> Any:
    with contextlib.suppress(Again):
        return command.work(transaction)
    transaction.undo()
    transaction.begin()
    return command.work(transaction)


def _hand_over(answers: list[Answer]) -> None:
    loops: dict[asyncio.AbstractEventLoop, list[Answer]] = {}
    for answer in answers:
        loops.setdefault(answer[0].future.get_loop(), []).append(answer)
    for loop, mine in loops.items():
        # A loop that was closed by a caller that did not wait gets no answer.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_answer_all, mine)


def _answer_all(answers: list[Answer]) -> None:
    for command, value, good in answers:
        command.answer(value, good=good)
