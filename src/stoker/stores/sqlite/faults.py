"""Driver errors to Stoker's: the only place that knows what an apsw exception means."""

import os
from pathlib import Path

import apsw

from stoker.core.errors import (
    BackendError,
    NotAStore,
    OutcomeUnknown,
    ReadOnlyStore,
    SchemaMismatch,
    StokerError,
    StoreFull,
    Unavailable,
)


def translate(error: apsw.Error, path: str, *, committing: bool = False) -> StokerError:
    """Return the error that says what a driver's error means for the caller.

    Args:
        error: What apsw raised.
        path: The database file, named in the message.
        committing: The error came from ``COMMIT``: an I/O error there leaves open what is on disk.
    """
    match error:
        case apsw.FullError():
            return StoreFull(
                f"there is no space left for the store {path!r}; nothing was written. Free some "
                "space, or delete ended jobs",
                path=path,
            )
        case apsw.ReadOnlyError() | apsw.PermissionsError():
            return read_only(path)
        case apsw.NotADBError() | apsw.FormatError():
            return not_a_database(path)
        case apsw.BusyError() | apsw.LockedError():
            return Unavailable(
                f"the store {path!r} was locked by another program for too long; nothing was "
                "written. Find out who keeps a transaction open on it",
                path=path,
            )
        case apsw.CantOpenError():
            return cannot_open(path)
        case apsw.CorruptError():
            return BackendError(
                f"the store {path!r} is damaged ({error}); restore it from a backup, or save what "
                "can be read with: sqlite3 FILE .recover",
                path=path,
            )
        case apsw.SQLError() | apsw.SchemaChangeError():
            return SchemaMismatch(
                f"the layout of the store {path!r} is not what this Stoker needs ({error}); "
                "bring it up to date with: stoker db migrate",
                path=path,
            )
        case _:
            pass
    if committing:
        return OutcomeUnknown(
            f"the commit to {path!r} failed ({error}); what it held may or may not be kept. "
            "Idempotent calls may be repeated",
            path=path,
        )
    return Unavailable(
        f"the store {path!r} failed ({type(error).__name__}: {error}); nothing was written",
        path=path,
    )


def read_only(path: str) -> ReadOnlyStore:
    """Return the error of a store that nobody may write to."""
    return ReadOnlyStore(
        f"the store {path!r} cannot be written: the file or its folder is read-only for this user. "
        "Grant write permission to both (SQLite keeps its log beside the file), or choose "
        "another place",
        path=path,
    )


def not_a_database(path: str) -> NotAStore:
    """Return the error of a file that is something else."""
    return NotAStore(
        f"{path!r} exists and is not an SQLite database; nothing in it was changed. Choose "
        "another path for the store",
        path=path,
    )


def cannot_open(path: str) -> StokerError:
    """Return the error of a file that could not be opened, with the reason that can be seen."""
    file = Path(path)
    folder = file.parent
    if not folder.is_dir():
        return Unavailable(
            f"the folder {str(folder)!r} of the store {path!r} does not exist; make it, or choose "
            "another path",
            path=path,
        )
    if file.is_dir():
        return NotAStore(
            f"{path!r} is a folder; expected a file, such as {str(file / 'stoker.db')!r}", path=path
        )
    target = file if file.exists() else folder
    if not os.access(target, os.W_OK) or not os.access(folder, os.W_OK):
        return read_only(path)
    return Unavailable(f"the store {path!r} cannot be opened", path=path)
