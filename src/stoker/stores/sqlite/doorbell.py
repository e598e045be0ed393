"""How processes wake each other: one byte, or a few names, through a Unix socket each.

Whoever waits binds a datagram socket in a folder that belongs to the database and to this user;
whoever committed something sends a message to each socket there. Nothing depends on a message:
it may be lost, repeated or late, and a process that does not see the folder still notices by
looking (see `bell`).

A message is a list of names, one a line; an empty one means "anything". The sockets of those who
wait for jobs in queues are named ``q-...``, of those who watch jobs ``j-...``.
"""

import contextlib
import itertools
import os
import socket
import stat
import tempfile
from collections.abc import Collection
from pathlib import Path

_LONGEST = 4_096
"""Bytes of a message; more names than that are sent as "anything"."""
_LONGEST_PATH = 100
"""Bytes that a socket's path may have."""
_numbers = itertools.count(1)


def folder_of(database: str) -> Path | None:
    """Return the folder for a database's sockets, making it; None where it cannot be trusted."""
    try:
        found = Path(database).stat()
        user = Path(tempfile.gettempdir()) / f"stoker-{os.geteuid()}"
        folder = user / f"{found.st_dev:x}-{found.st_ino:x}"
        for each in (user, folder):
            each.mkdir(mode=0o700, exist_ok=True)
            if not _is_ours(each):
                return None
    except OSError:
        return None
    return folder if len(os.fsencode(folder)) + 24 <= _LONGEST_PATH else None


class Doorbell:
    """The sockets of one handle, and the way to those of the others."""

    def __init__(self, database: str) -> None:
        """Find the folder; where there is none, nothing rings and nobody listens."""
        self._folder = folder_of(database)
        self._own: dict[str, Path] = {}
        self._sender: socket.socket | None = None

    def listen(self, kind: str) -> socket.socket | None:
        """Bind a socket to be rung at; None where that cannot be."""
        if self._folder is None:
            return None
        path = self._folder / f"{kind}-{os.getpid()}-{next(_numbers)}"
        ear = _datagrams()
        try:
            path.unlink(missing_ok=True)  # Left by a process of the same number that was killed.
            ear.bind(os.fspath(path))
        except OSError:
            ear.close()
            return None
        self._own[path.name] = path
        return ear

    def ring(self, kind: str, names: Collection[str]) -> None:
        """Send names to all others that listen for this kind."""
        if self._folder is None or not names:
            return
        try:
            listening = os.listdir(self._folder)  # noqa: PTH208 - names are enough, and cheap
        except OSError:
            return
        message: bytes | None = None
        for name in listening:
            if name.startswith(kind) and name not in self._own:
                if message is None:
                    message = _message(names)
                self._send(self._folder / name, message)

    def close(self) -> None:
        """Take the own sockets away. The thread that rings must have ended."""
        for path in self._own.values():
            with contextlib.suppress(OSError):
                path.unlink()
        self._own.clear()
        if self._sender is not None:
            self._sender.close()
            self._sender = None
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._folder.rmdir()

    def _send(self, path: Path, message: bytes) -> None:
        if self._sender is None:
            self._sender = _datagrams()
        try:
            self._sender.sendto(message, os.fspath(path))
        except ConnectionRefusedError:
            # Its process was killed.
            with contextlib.suppress(OSError):
                path.unlink()
        except OSError:
            # Gone meanwhile, or full: then it will wake anyway.
            return


def names_in(message: bytes) -> frozenset[str] | None:
    """Return the names that a message holds; None for "anything"."""
    return frozenset(message.decode(errors="replace").split("\n")) if message else None


def _message(names: Collection[str]) -> bytes:
    if sum(map(len, names)) < _LONGEST and not any("\n" in name for name in names):
        message = "\n".join(names).encode(errors="replace")
        if len(message) <= _LONGEST:
            return message
    return b""


def _datagrams() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)


def _is_ours(folder: Path) -> bool:
    found = folder.lstat()
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.geteuid()
        and not stat.S_IMODE(found.st_mode) & 0o077
    )
