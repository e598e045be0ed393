"""How the file is opened: what is refused, what is set, and what is never done.

Never: memory-mapped files, a connection that crosses a fork, a change to a file that is not a
store, a network filesystem (SQLite's log needs memory that all its users share).
"""

import os
from pathlib import Path
from typing import Any

import apsw

from stoker.core.errors import Unsupported
from stoker.stores.sqlite.faults import cannot_open, translate

BUSY_TIMEOUT = 15_000
"""Milliseconds to wait for programs that write without our lock."""
CHECKPOINT_PAGES = 4_000
"""Pages in the log after which a commit copies them into the file."""
_LOG_LIMIT = 64 * 1024 * 1024
_SYNCHRONOUS = {"full": "FULL", "fast": "NORMAL"}
NETWORK = frozenset({
    "9p", "afs", "ceph", "cifs", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "glusterfs",
    "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs",
})  # fmt: skip


def open_writer(path: str, durability: str) -> apsw.Connection:
    """Open the connection that writes, making an empty file if there is none.

    Raises:
        Unavailable, NotAStore, ReadOnlyStore: As `faults.translate` says.
        Unsupported: The file lies on a network filesystem.
    """
    _refuse_network(path)
    db = _connect(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    try:
        _refuse_read_only(db)
        db.pragma("synchronous", _SYNCHRONOUS[durability])
        db.wal_autocheckpoint(CHECKPOINT_PAGES)
    except apsw.Error as error:
        db.close()
        raise translate(error, path) from error
    except BaseException:
        db.close()
        raise
    return db


def open_reader(path: str) -> apsw.Connection:
    """Open a connection that only reads."""
    db = _connect(path, apsw.SQLITE_OPEN_READWRITE)
    try:
        db.wal_autocheckpoint(0)
        db.pragma("query_only", 1)
    except apsw.Error as error:
        db.close()
        raise translate(error, path) from error
    return db


def use_log(db: apsw.Connection) -> None:
    """Switch the file to a write-ahead log; done once it is known to be ours."""
    db.pragma("journal_mode", "wal")
    db.pragma("journal_size_limit", _LOG_LIMIT)


def _connect(path: str, flags: int) -> apsw.Connection:
    try:
        db = apsw.Connection(path, flags=flags, statementcachesize=256)
    except apsw.Error as error:
        raise translate(error, path) from error
    try:
        db.set_busy_timeout(BUSY_TIMEOUT)
        db.create_scalar_function("folded", _folded, 1, deterministic=True)
        db.pragma("cache_size", -32_000)
        db.pragma("temp_store", "memory")
        # The first look at the file: here SQLite finds out what it is.
        db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
    except apsw.CantOpenError as error:
        db.close()
        raise cannot_open(path) from error
    except apsw.Error as error:
        db.close()
        raise translate(error, path) from error
    return db


def _refuse_read_only(db: apsw.Connection) -> None:
    # SQLite opens a file that it may not write for reading, without a word.
    if db.readonly("main"):
        raise apsw.ReadOnlyError


def _folded(*texts: Any) -> str:
    return str(texts[0]).casefold()


def _refuse_network(path: str) -> None:
    kind = filesystem(Path(path).absolute().parent)
    if kind in NETWORK:
        raise Unsupported(
            f"the store {path!r} lies on a network filesystem ({kind}), where SQLite would lose "
            "data; put it on a local disk, or use a store with a server of its own",
            path=path,
            filesystem=kind,
        )


def filesystem(folder: Path) -> str:
    """Return the type of the filesystem, empty where Linux does not tell."""
    try:
        device = folder.stat().st_dev
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        if fields.split(" ", 3)[2:3] == [wanted]:
            return rest.partition(" ")[0]
    return ""
