"""The layout: its versions, and the way from one to another.

The version stands in the table ``layout`` of the store's own schema. Each migration is one file
with an up and a down part, and runs in a transaction of its own, under a lock: of several programs
that start at once, one does the work and the others find it done. What `Migration.up` and ``down``
hold is complete, so that it may as well be pasted into another tool.
"""

from functools import cache
from importlib import resources

from psycopg.rows import TupleRow

from stoker.core.errors import NotAStore, SchemaMismatch, Unsupported
from stoker.core.records import Migration, SchemaStatus
from stoker.stores.postgres.address import Address
from stoker.stores.postgres.lines import Lines
from stoker.stores.postgres.pooling import Connection

_LOOK = """
    SELECT to_regclass($1) IS NOT NULL,
           EXISTS (SELECT 1 FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                   WHERE n.nspname = $2)"""
_EXISTS = "SELECT to_regnamespace($1) IS NOT NULL"
_VERSION = 'SELECT coalesce(max(number), 0) FROM "{schema}".layout'
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('stoker ' || $1), 5)"
_UP = """\
{make}SET LOCAL search_path TO "{schema}", pg_temp;

{statements}

INSERT INTO layout (number, name) VALUES ({number}, '{name}');"""
_DOWN = """\
SET LOCAL search_path TO "{schema}", pg_temp;

{forget}{statements}"""
_FORGET = "DELETE FROM layout WHERE number = {number};\n"
_MAKE = 'CREATE SCHEMA IF NOT EXISTS "{schema}";\n'


@cache
def migrations(schema: str) -> tuple[Migration, ...]:
    """Return all migrations that this version knows, in order, for a schema."""
    folder = resources.files("stoker.stores.postgres") / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return tuple(_read(schema, file.name, file.read_text(encoding="utf-8")) for file in files)


def latest(schema: str) -> int:
    """Return the version that this Stoker needs."""
    return migrations(schema)[-1].number


def status(schema: str, current: int) -> SchemaStatus:
    """Return what is applied and what is pending at a version."""
    known = migrations(schema)
    return SchemaStatus(
        current=current,
        latest=latest(schema),
        applied=tuple(m for m in known if m.number <= current),
        pending=tuple(m for m in known if m.number > current),
    )


async def version(line: Connection, schema: str) -> int | None:
    """Return the version of the layout, None where there is nothing at all.

    Raises:
        NotAStore: The schema holds something else.
    """
    row = await _first(line, _LOOK, f'"{schema}".layout', schema)
    if row[0]:
        return int((await _first(line, _VERSION.format(schema=schema)))[0])
    if row[1]:
        raise NotAStore(
            f"the schema {schema!r} holds other things and no Stoker store; nothing in it was "
            "changed. Name a schema of its own with ?schema=NAME",
            schema=schema,
        )
    return None


async def check(lines: Lines, address: Address) -> None:
    """Make the layout where there is nothing yet, and refuse one that is not the newest.

    Raises:
        SchemaMismatch: It is older, or newer.
        NotAStore: The schema holds something else.
    """
    schema = address.schema
    current = await lines.use(lambda line: version(line, schema))
    if current is None:
        current = await lines.use(lambda line: bring_to(line, schema, latest(schema)))
    refuse_newer(address, current)
    if current < latest(schema):
        raise SchemaMismatch(
            f"the schema {schema!r} in {address.place} has layout {current}, and this Stoker needs "
            f"{latest(schema)}; bring it up to date with: stoker db migrate",
            current=current,
            latest=latest(schema),
        )


def refuse_newer(address: Address, current: int) -> None:
    """Refuse a layout that this version does not know.

    Raises:
        SchemaMismatch: It is newer.
    """
    known = latest(address.schema)
    if current > known:
        raise SchemaMismatch(
            f"the schema {address.schema!r} in {address.place} has layout {current}, and this "
            f"Stoker knows up to {known}: a newer Stoker wrote it. Upgrade Stoker here",
            current=current,
            latest=known,
        )


async def bring_to(line: Connection, schema: str, target: int) -> int:
    """Bring the layout to a version, step by step; return the version.

    What is made from nothing is made in one transaction: whoever opens the store meanwhile must
    not find half of it, and take it for an old layout.

    Raises:
        Unsupported: There is no such version.
    """
    if not 0 <= target <= latest(schema):
        raise Unsupported(
            f"there is no layout {target}; known are 0 to {latest(schema)}", to=target
        )
    known = {migration.number: migration for migration in migrations(schema)}
    while True:
        async with line.transaction():
            await line.execute(_LOCK, (schema,))
            await line.execute("SET LOCAL statement_timeout = 0")
            current = await version(line, schema) or 0
            if current == target or current > latest(schema):
                return current
            if current < target:
                last = target if current == 0 else current + 1
                for number in range(current + 1, last + 1):
                    await _run(line, schema, known[number].up)
            else:
                await _run(line, schema, known[current].down)


async def _run(line: Connection, schema: str, statements: str) -> None:
    # Where the schema is there already, nobody needs the right to make one.
    make = _MAKE.format(schema=schema)
    if statements.startswith(make) and (await _first(line, _EXISTS, f'"{schema}"'))[0]:
        statements = statements.removeprefix(make)
    await line.execute(statements.encode())


async def _first(line: Connection, statement: str, *parameters: str) -> TupleRow:
    cursor = await line.execute(" ".join(statement.split()).encode(), parameters)
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError(f"no answer to {statement}")
    return row


def _read(schema: str, file: str, text: str) -> Migration:
    digits, _, title = file.removesuffix(".sql").partition("_")
    number = int(digits)
    head, _, rest = text.partition("\n-- up\n")
    up, _, down = rest.partition("\n-- down\n")
    if not (head and up and down):
        raise RuntimeError(f"the migration {file} lacks its parts '-- up' and '-- down'")
    # The first step down takes the table of the steps along.
    forget = _FORGET.format(number=number) if number > 1 else ""
    return Migration(
        number=number,
        name=title,
        up=_UP.format(
            make=_MAKE.format(schema=schema) if number == 1 else "",
            schema=schema,
            statements=up.strip(),
            number=number,
            name=title,
        ),
        down=_DOWN.format(schema=schema, forget=forget, statements=down.strip()),
    )
