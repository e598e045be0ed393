"""The fair write lock between processes.

SQLite's own lock is a try-again loop: of two busy processes the one that just released it mostly
gets it again. Here two kernel locks make a turnstile. A writer first takes ``next``, then
``main``, then lets go of ``next``: so at most one writer waits for ``main``, and whoever just
released ``main`` must queue for ``next`` behind those who came before.

The kernel frees both when their process dies. Other programs that write into the file without
these locks are still kept out by SQLite's lock; they only are not fair.
"""

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

_open: "weakref.WeakSet[WriteLock]" = weakref.WeakSet()


class WriteLock:
    """A turnstile on two files beside the database. One thread uses it."""

    def __init__(self, path: str) -> None:
        """Open the lock files ``PATH-lock`` and ``PATH-next``, making them if need be.

        Raises:
            OSError: They cannot be opened.
        """
        flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC
        self._main = os.open(f"{path}-lock", flags, 0o666)
        try:
            self._next = os.open(f"{path}-next", flags, 0o666)
        except OSError:
            os.close(self._main)
            raise
        _open.add(self)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; waits as long as it takes, in the order of arrival."""
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def acquire(self) -> None:
        """Take the lock."""
        fcntl.flock(self._next, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._main, fcntl.LOCK_EX)
        finally:
            fcntl.flock(self._next, fcntl.LOCK_UN)

    def release(self) -> None:
        """Let the next one in."""
        fcntl.flock(self._main, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the files. Safe to call twice."""
        _open.discard(self)
        for name in ("_main", "_next"):
            descriptor = getattr(self, name)
            setattr(self, name, -1)
            if descriptor >= 0:
                os.close(descriptor)


def _close_in_child() -> None:
    # A forked child shares the parent's locks: it would keep them after the parent was killed.
    for lock in list(_open):
        lock.close()


os.register_at_fork(after_in_child=_close_in_child)
