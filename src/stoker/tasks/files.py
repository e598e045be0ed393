"""The files that the standard tasks read and write.

Two promises are kept here. A task touches nothing outside the one folder of ``tasks.files``, if
that is set. And an output file is whole or absent: it is written under another name beside its
place and renamed at the end; what a killed process left behind goes when the next one writes the
same file.
"""

import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from stoker.core.errors import InvalidArguments

CHUNK = 256 * 1024
"""Bytes that the tasks read at once."""


class Folder:
    """The folder in which a task may read and write."""

    def __init__(self, root: str | None) -> None:
        """Open a folder.

        Args:
            root: The folder; None: the whole machine, names being relative to where the worker
                was started. It should be writable by workers only: who can plant a symbolic link
                between the check and the use decides where it leads.
        """
        self._root = None if root is None else Path(root).resolve()

    def source(self, name: str) -> Path:
        """Return the real path of a file to read.

        Raises:
            FileNotFoundError: There is none.
            InvalidArguments: It lies outside the folder, or is not a regular file.
        """
        path = self._inside(name)
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(
                f"the file {name!r} does not exist on this worker (looked for {path}); give the "
                f"name of an existing file, absolute or relative to {self._root or Path.cwd()}"
            ) from None
        if not stat.S_ISREG(mode):
            raise InvalidArguments(f"{name!r} is {_kind(mode)}; expected a regular file")
        return path

    def target(self, name: str, *, source: Path | None = None) -> Path:
        """Return the real path of a file to write; its folder is made, the file is not.

        Args:
            name: An existing file is replaced, so that a job which runs again writes it again.
            source: What the task reads, which it must not overwrite.

        Raises:
            InvalidArguments: It lies outside the folder, is the source, or is not a regular file.
        """
        path = self._inside(name)
        if path.exists() and not path.is_file():
            raise InvalidArguments(
                f"{name!r} is {_kind(path.stat().st_mode)}; expected a file name"
            )
        if source is not None and path == source:
            raise InvalidArguments(
                f"{name!r} is both the input and the output; give another name as output="
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def beside(self, source: Path, name: str) -> Path:
        """Return the path for an output that nobody named: ``name`` beside its source."""
        return self.target(str(source.with_name(name)), source=source)

    def _inside(self, name: str) -> Path:
        if not name:
            raise InvalidArguments("the file name is empty; give the name of a file")
        try:
            path = (self._root or Path.cwd()).joinpath(name).resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise InvalidArguments(f"{name[:200]!r} is no file name: {error}") from None
        if self._root is not None and not path.is_relative_to(self._root):
            raise InvalidArguments(
                f"{name!r} lies outside {self._root}, the one folder in which tasks may read and "
                "write here; use a name inside it, or change tasks.files"
            )
        return path


class Measured:
    """Counts and hashes what is written to a file on its way."""

    def __init__(self, sink: BinaryIO) -> None:
        """Write to ``sink``."""
        self._sink = sink
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Write, count and hash."""
        self._sink.write(data)
        self._hash.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        """SHA-256 of all that was written, in hexadecimal."""
        return self._hash.hexdigest()


@contextmanager
def part_file(target: Path) -> Iterator[BinaryIO]:
    """Lend a file beside ``target`` that is gone afterwards, unless it was renamed.

    It is locked while its owner lives; parts of ``target`` whose owner was killed are removed
    first.
    """
    _sweep(target)
    with _create(target) as handle:
        try:
            yield handle
        finally:
            Path(handle.name).unlink(missing_ok=True)


@contextmanager
def writing(target: Path) -> Iterator[BinaryIO]:
    """Lend a file that becomes ``target``, durably, when the block ends without an error."""
    with part_file(target) as handle:
        yield handle
        publish(handle, target)


def publish(part: BinaryIO, target: Path) -> None:
    """Put a part in its place: on disk first, then under its name, then the name on disk."""
    part.flush()
    os.fsync(part.fileno())
    Path(part.name).replace(target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_chunks(handle: BinaryIO, size: int = CHUNK) -> Iterator[bytes]:
    """Iterate over a file in chunks."""
    while chunk := handle.read(size):
        yield chunk


def _create(target: Path) -> BinaryIO:
    while True:
        path = target.with_name(f"{_prefix(target)}{secrets.token_hex(6)}.part")
        # Not a tempfile: the finished file must have the rights that the umask gives.
        handle = path.open("x+b")
        _lock(handle)
        if path.exists():
            return handle
        # Between its making and its lock another writer took it for a dead one's.
        handle.close()


def _sweep(target: Path) -> None:
    for path in target.parent.glob(f"{_prefix(target)}*.part"):
        with suppress(OSError), path.open("r+b") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _lock(handle: BinaryIO) -> None:
    # Some network file systems have no locks. There, nobody can sweep either.
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX)


def _prefix(target: Path) -> str:
    # Hashed: a name of 255 bytes leaves no room for anything around it.
    return f".stoker-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}-"


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "no regular file")
