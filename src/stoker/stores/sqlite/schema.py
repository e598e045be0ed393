"""The layout of the file: its versions, and the way from one to another.

The version stands in ``PRAGMA user_version``, and ``PRAGMA application_id`` says that the file is
a Stoker store: nobody else's database is ever touched. Each migration is one file with an up and
a down part, and runs in a transaction of its own.
"""

from functools import cache
from importlib import resources

import apsw

from stoker.core.errors import NotAStore, SchemaMismatch, Unsupported
from stoker.core.records import Migration, SchemaStatus

APPLICATION_ID = 0x53544B52
"""``STKR``: marks the file as a Stoker store."""
_IS_EMPTY = r"""
    SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema WHERE name NOT LIKE 'sqlite\_%' ESCAPE '\')"""
"""SQLite's own tables stay behind when the layout is taken back; they are nobody's program."""


@cache
def migrations() -> tuple[Migration, ...]:
    """Return all migrations that this version knows, in order."""
    folder = resources.files("stoker.stores.sqlite") / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return tuple(_read(file.name, file.read_text(encoding="utf-8")) for file in files)


def latest() -> int:
    """Return the version that this Stoker needs."""
    return migrations()[-1].number


def version(db: apsw.Connection, path: str) -> int:
    """Return the version of a file's layout, 0 for an empty file.

    Raises:
        NotAStore: It is somebody else's database.
    """
    # One moment for all three: somebody may be making the layout right now.
    with db:
        mark: int = db.execute("PRAGMA application_id").get
        found: int = db.execute("PRAGMA user_version").get
        is_empty = bool(db.execute(_IS_EMPTY).get)
    if mark == APPLICATION_ID:
        return found
    if mark == 0 and found == 0 and is_empty:
        return 0
    raise NotAStore(
        f"{path!r} is an SQLite database of another program, not a Stoker store; nothing in it was "
        "changed. Choose another path for the store",
        path=path,
    )


def status(current: int) -> SchemaStatus:
    """Return what is applied and what is pending at a version."""
    known = migrations()
    return SchemaStatus(
        current=current,
        latest=latest(),
        applied=tuple(m for m in known if m.number <= current),
        pending=tuple(m for m in known if m.number > current),
    )


def refuse_newer(current: int, path: str) -> None:
    """Refuse a layout that this version does not know.

    Raises:
        SchemaMismatch: It is newer.
    """
    if current > latest():
        raise SchemaMismatch(
            f"the store {path!r} has layout {current}, and this Stoker knows up to {latest()}: a "
            "newer Stoker wrote it. Upgrade Stoker here",
            current=current,
            latest=latest(),
        )


def bring_to(db: apsw.Connection, path: str, target: int) -> None:
    """Bring the layout to a version, step by step.

    Raises:
        SchemaMismatch: It is newer than this Stoker knows.
        Unsupported: There is no such version.
    """
    current = version(db, path)
    refuse_newer(current, path)
    if not 0 <= target <= latest():
        raise Unsupported(f"there is no layout {target}; known are 0 to {latest()}", to=target)
    known = {migration.number: migration for migration in migrations()}
    while current < target:
        current += 1
        _apply(db, known[current].up, current)
    while current > target:
        _apply(db, known[current].down, current - 1)
        current -= 1


def _apply(db: apsw.Connection, statements: str, after: int) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute(statements)
        db.pragma("application_id", APPLICATION_ID if after else 0)
        db.pragma("user_version", after)
        db.execute("COMMIT")
    except apsw.Error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _read(name: str, text: str) -> Migration:
    number, _, title = name.removesuffix(".sql").partition("_")
    head, _, rest = text.partition("\n-- up\n")
    up, _, down = rest.partition("\n-- down\n")
    if not (head and up and down):
        raise RuntimeError(f"the migration {name} lacks its parts '-- up' and '-- down'")
    return Migration(number=int(number), name=title, up=up.strip(), down=down.strip())
