"""Looks at an SQLite file as `stoker doctor` does. Changes nothing, and makes no file.

It needs no store that can be opened: a layout that is too old, or a folder that cannot be written
to, is just what it is there to find.
"""

import asyncio
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import apsw

from stoker.core.errors import NotAStore
from stoker.core.finding import Finding, judge_durability, judge_layout, note, ok, problem, warning
from stoker.stores.sqlite import schema
from stoker.stores.sqlite.connection import NETWORK, filesystem
from stoker.stores.sqlite.faults import translate

MIN_SQLITE = (3, 51, 3)
"""The first SQLite without the bug that can corrupt a database when its log is reset."""
LITTLE_SPACE = 1 << 30
NO_SPACE = 100 << 20
LONG_LOG = 256 << 20
"""Bytes of the log from which on somebody must have been reading for very long."""
FLEETING = frozenset({"tmpfs", "ramfs", "overlay"})
_MEGABYTE = 1 << 20


async def examine(path: str, *, durability: str, can_lose: str) -> list[Finding]:
    """Look at SQLite, the file and the disk that it is on.

    Args:
        path: The file; it need not exist.
        durability: The level that the URL asks for.
        can_lose: What can be lost with it.

    Raises:
        StokerError: The file cannot be read.
    """
    return await asyncio.to_thread(lambda: list(_findings(path, durability, can_lose)))


def _findings(path: str, durability: str, can_lose: str) -> Iterator[Finding]:
    file = Path(path).absolute()
    folder = next((parent for parent in file.parents if parent.is_dir()), Path("/"))
    yield judge_version(apsw.sqlite_lib_version())
    yield judge_place(folder, filesystem(folder))
    yield judge_space(folder, shutil.disk_usage(folder).free)
    yield from _permissions(file, folder)
    fix = "leave ?durability=fast out of the URL"
    yield judge_durability(durability, can_lose, fix=fix)
    if file.exists():
        yield from _inside(file)
    else:
        yield judge_layout(
            current=None,
            latest=schema.latest(),
            may_make=folder == file.parent and os.access(folder, os.W_OK),
            place=str(file),
        )


def judge_version(version: str) -> Finding:
    """Judge the version of the SQLite library."""
    if tuple(int(part) for part in version.split(".")) >= MIN_SQLITE:
        return ok("sqlite", found=f"SQLite {version}")
    return problem(
        "sqlite",
        found=f"SQLite {version} has the fault of the log's reset, mended in 3.51.3",
        risk="the whole file can be corrupted when several processes write",
        fix="pip install 'apsw>=3.51.3'",
    )


def judge_place(folder: Path, kind: str) -> Finding:
    """Judge the kind of file system that the file is on; empty where nobody knows it."""
    if kind in NETWORK:
        return problem(
            "file system",
            found=f"{folder} is on a network file system ({kind})",
            risk="its locks do not work there, and the file is corrupted",
            fix="put the file on a local disk, or use postgresql:// or redis://",
        )
    if kind in FLEETING:
        return warning(
            "file system",
            found=f"{folder} is on {kind}",
            risk="everything, when the machine or the container goes",
            fix="put the file on a disk or a volume",
        )
    return ok("file system", found=f"{folder} is on {kind or 'a local disk'}")


def judge_space(folder: Path, free: int) -> Finding:
    """Judge the bytes that are free on the disk."""
    found = f"{free // _MEGABYTE:,} MB free in {folder}"
    if free >= LITTLE_SPACE:
        return ok("disk space", found=found)
    judge = problem if free < NO_SPACE else warning
    return judge("disk space", found=found, risk="a full disk stops submits", fix="make room")


def _permissions(file: Path, folder: Path) -> Iterator[Finding]:
    target = file if file.exists() else folder
    if not os.access(target, os.W_OK) or not os.access(folder, os.W_OK):
        yield problem(
            "permissions",
            found=f"{target} cannot be written by this user",
            risk="the store refuses to be opened",
            fix=f"chown or chmod {folder} and what is in it",
        )
        return
    mode = target.stat().st_mode
    if file.exists() and mode & (stat.S_IWOTH | stat.S_IROTH):
        does = "read and change" if mode & stat.S_IWOTH else "read"
        judge = warning if mode & stat.S_IWOTH else note
        yield judge(
            "permissions",
            found=f"every user of this machine may {does} {file}",
            risk="payloads and results are not only Stoker's",
            fix=f"chmod o= {file} and what lies beside it, or keep it in a folder of its own",
        )
    else:
        yield ok("permissions", found="this user may read and write")


def _inside(file: Path) -> Iterator[Finding]:
    try:
        db = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    except apsw.Error as error:
        raise translate(error, str(file)) from error
    try:
        yield _layout(db, file)
        yield from _log(db, file)
    except apsw.Error as error:
        raise translate(error, str(file)) from error
    finally:
        db.close()


def _layout(db: apsw.Connection, file: Path) -> Finding:
    try:
        current = schema.version(db, str(file))
    except NotAStore as error:
        fix = "choose another path for the store"
        return problem("layout", found=error.message, risk="", fix=fix, code=error.code)
    return judge_layout(
        current=current or None,
        latest=schema.latest(),
        may_make=os.access(file, os.W_OK),
        place=str(file),
    )


def _log(db: apsw.Connection, file: Path) -> Iterator[Finding]:
    mode = db.pragma("journal_mode")
    if mode != "wal" and db.pragma("user_version"):
        yield warning(
            "journal mode",
            found=f"the journal mode is {mode}; expected wal",
            risk="readers and writers keep each other waiting",
            fix="close every program that uses the file; the next opening switches it back",
        )
    log = file.with_name(f"{file.name}-wal")
    size = log.stat().st_size if log.exists() else 0
    if size > LONG_LOG:
        yield warning(
            "log size",
            found=f"{log} has {size // _MEGABYTE:,} MB",
            risk="reads get slower and the disk fills: somebody has been reading for very long",
            fix="find the program that keeps the file open, and end it",
        )
