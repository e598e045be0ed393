"""Asks a PostgreSQL server what `stoker doctor` wants to know. Changes nothing.

It needs no store that can be opened: a layout that is too old, or a role that may not write, is
just what it is there to find.
"""

import asyncio

import msgspec

from stoker.core.clock import Clock
from stoker.core.errors import NotAStore
from stoker.core.finding import Finding, judge_layout, problem
from stoker.stores.postgres import schema
from stoker.stores.postgres.address import Address, parse
from stoker.stores.postgres.ear import Ear
from stoker.stores.postgres.judging import Facts, Rights, judge
from stoker.stores.postgres.lines import Lines
from stoker.stores.postgres.pooling import Connection, is_shared

HEARS_WITHIN = 3.0
"""Seconds that a message to oneself may take before LISTEN counts as deaf."""
_NOTIFY = "SELECT pg_notify($1, $2)"
_FACTS = """
    SELECT json_build_object(
        'version', current_setting('server_version'),
        'number', current_setting('server_version_num')::int,
        'standby', pg_is_in_recovery(),
        'closed', current_setting('default_transaction_read_only')::bool,
        'encoding', current_setting('server_encoding'),
        'isolation', current_setting('transaction_isolation'),
        'fsync', current_setting('fsync')::bool,
        'full_page_writes', current_setting('full_page_writes')::bool,
        'commit', current_setting('synchronous_commit'),
        'standbys', current_setting('synchronous_standby_names'),
        'checksums', current_setting('data_checksums')::bool,
        'vacuums', current_setting('autovacuum')::bool AND current_setting('track_counts')::bool,
        'replicas', (SELECT count(*) FROM pg_stat_replication),
        'limit', least(
            current_setting('max_connections')::int
                - current_setting('superuser_reserved_connections')::int,
            nullif(r.rolconnlimit, -1),
            (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database())),
        'used', (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
        'role', current_user,
        'powers', array_remove(ARRAY[
            CASE WHEN r.rolsuper THEN 'superuser' END,
            CASE WHEN r.rolcreatedb THEN 'createdb' END,
            CASE WHEN r.rolcreaterole THEN 'createrole' END,
            CASE WHEN r.rolreplication THEN 'replication' END,
            CASE WHEN r.rolbypassrls THEN 'bypassrls' END], NULL),
        'encrypted', coalesce((SELECT s.ssl FROM pg_stat_ssl AS s
                               WHERE s.pid = pg_backend_pid()), false),
        'pid', pg_backend_pid(),
        'now', extract(epoch FROM clock_timestamp()),
        'oldest', (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - a.xact_start)), 0)
                   FROM pg_stat_activity AS a
                   WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()))::text
    FROM pg_roles AS r WHERE r.rolname = current_user"""
_RIGHTS = """
    SELECT json_build_object(
        'exists', to_regnamespace(quote_ident($1)) IS NOT NULL,
        'makes', has_database_privilege(current_database(), 'CREATE'),
        'owns', coalesce((SELECT pg_has_role(n.nspowner, 'USAGE') FROM pg_namespace AS n
                          WHERE n.nspname = $1), false),
        'enters', coalesce((SELECT has_schema_privilege(n.oid, 'USAGE') FROM pg_namespace AS n
                            WHERE n.nspname = $1), false),
        'lacks', ARRAY(
            SELECT right_ || ' on ' || c.relname
            FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace,
                 unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS right_
            WHERE n.nspname = $1 AND c.relkind IN ('r', 'p')
              AND (right_ = 'SELECT' OR c.relname <> 'layout')
              AND NOT has_table_privilege(c.oid, right_)
            UNION ALL
            SELECT 'EXECUTE on ' || p.proname
            FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
            WHERE n.nspname = $1 AND NOT has_function_privilege(p.oid, 'EXECUTE')
            UNION ALL
            SELECT 'USAGE on ' || c.relname
            FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
            WHERE n.nspname = $1
              AND CASE WHEN c.relkind = 'S'
                       THEN NOT has_sequence_privilege(c.oid, 'USAGE') END))::text"""
_read_facts = msgspec.json.Decoder(Facts).decode
_read_rights = msgspec.json.Decoder(Rights).decode


async def examine(url: str, *, clock: Clock, processes: int) -> list[Finding]:
    """Look at the server, the role and the schema of a store's URL.

    Args:
        url: Of the store.
        clock: This machine's, to compare with the server's.
        processes: Stoker's processes that will share the server.

    Raises:
        StokerError: The server cannot be reached, or does not let us in.
    """
    address = parse(url)
    shared = await _is_shared(address, clock)
    careful = msgspec.structs.replace(address, prepare=address.prepare and not shared)
    lines = Lines(careful, clock.random)
    try:
        facts, rights, layout, skew = await lines.use(lambda line: _look(line, address, clock))
        facts = msgspec.structs.replace(facts, shared=shared)
        hears = careful.prepare and await _hears(address, lines)
    finally:
        await lines.close()
    return judge(
        facts, rights, layout, address=address, skew=skew, hears=hears, processes=processes
    )


async def _is_shared(address: Address, clock: Clock) -> bool:
    """Whether a pooler gives each transaction another connection, which is to be left as it is."""
    lines = Lines(msgspec.structs.replace(address, prepare=False), clock.random)
    try:
        return await lines.use(lambda line: is_shared(line, address))
    finally:
        await lines.close()


async def _look(
    line: Connection, address: Address, clock: Clock
) -> tuple[Facts, Rights, Finding | None, float]:
    before = clock.now()
    facts = _read_facts(await _ask(line, _FACTS))
    skew = facts.now - (before + clock.now()) / 2
    rights = _read_rights(await _ask(line, _RIGHTS, address.schema))
    facts = msgspec.structs.replace(facts, pooled=line.pgconn.backend_pid != facts.pid)
    return facts, rights, await _layout(line, address, rights), skew


async def _layout(line: Connection, address: Address, rights: Rights) -> Finding | None:
    """Judge the layout; None where this role cannot see it."""
    if rights.exists and (not rights.enters or "SELECT on layout" in rights.lacks):
        return None
    place = f"the schema {address.schema!r}"
    try:
        current = await schema.version(line, address.schema)
    except NotAStore as error:
        fix = "name a schema of its own with ?schema=NAME"
        return problem("layout", found=error.message, risk="", fix=fix, code=error.code)
    return judge_layout(
        current=current,
        latest=schema.latest(address.schema),
        may_make=rights.owns or (rights.makes and not rights.exists),
        place=place,
    )


async def _ask(line: Connection, statement: str, *parameters: str) -> bytes:
    cursor = await line.execute(" ".join(statement.split()).encode(), parameters)
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("the server answered a question about itself with no row")
    text: str = row[0]
    return text.encode()


async def _hears(address: Address, lines: Lines) -> bool:
    """Whether a message reaches whoever listens: what is between may pass none."""
    heard = asyncio.Event()

    async def say(message: str) -> None:
        await lines.call(_NOTIFY, (address.channel, message))

    ear = Ear(address, say=say, heard=lambda _: None, changed=heard.set)
    ear.start()
    try:
        async with asyncio.timeout(HEARS_WITHIN):
            await heard.wait()
    except TimeoutError:
        return False
    finally:
        await ear.close()
    return True
