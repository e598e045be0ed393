"""What the facts about a PostgreSQL server mean for a store in it. Pure: facts in, findings out."""

from collections.abc import Iterator

import msgspec
from psycopg.conninfo import conninfo_to_dict

from stoker.core.finding import (
    Finding,
    judge_clock,
    judge_connections,
    judge_durability,
    judge_encryption,
    note,
    ok,
    problem,
    warning,
)
from stoker.stores.postgres.address import Address
from stoker.stores.postgres.handle import OLDEST_SERVER, promise

LONG_TRANSACTION = 3_600.0
"""Seconds after which an open transaction keeps too many dead rows from being removed."""
CONNECTIONS_EACH = 3
"""Sets of connections that each process has: for commands, for reads, for those who wait."""
_EXTRA_EACH = 1
"""And the one that listens."""
_FEW = 5
_BAD_VERSIONS = {
    (140_000, 140_003): "CREATE INDEX CONCURRENTLY and REINDEX CONCURRENTLY can leave a corrupt "
    "index",
}
"""First and last version to what is wrong with it."""
_ROLES = "see deploy/postgres/roles.sql"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says about itself and about the role that asks."""

    version: str
    number: int
    standby: bool
    closed: bool
    """``default_transaction_read_only``."""
    encoding: str
    isolation: str
    fsync: bool
    full_page_writes: bool
    commit: str
    standbys: str
    """Names of synchronous standbys."""
    checksums: bool
    vacuums: bool
    replicas: int
    """As far as the role may see them."""
    limit: int
    """The most connections that this role can have in this database."""
    used: int
    role: str
    powers: list[str]
    encrypted: bool
    pid: int
    """The process that serves us, as it says itself."""
    now: float
    oldest: float
    """Seconds for which the oldest transaction has been open."""
    pooled: bool = False
    """The process that serves us is another one than the one we were connected to."""
    shared: bool = False
    """The next transaction is served by another one again."""


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """What the role may do in the store's schema."""

    exists: bool
    """There is a schema of that name."""
    makes: bool
    """It may make schemas in this database."""
    owns: bool
    enters: bool
    lacks: list[str]
    """Rights on what is there that it does not have."""


def judge(
    facts: Facts,
    rights: Rights,
    layout: Finding | None,
    *,
    address: Address,
    skew: float,
    hears: bool,
    processes: int,
) -> list[Finding]:
    """Return everything worth saying about a server, ordered from reaching it to running on it."""
    known = conninfo_to_dict(address.conninfo)
    host = str(known.get("host") or known.get("hostaddr") or "")
    each = address.connections * CONNECTIONS_EACH + _EXTRA_EACH
    return [
        *_server(facts),
        judge_encryption(
            encrypted=facts.encrypted,
            checked=str(known.get("sslmode", "")) in {"verify-ca", "verify-full"},
            host=host,
            fix="add ?sslmode=verify-full&sslrootcert=FILE to the URL",
        ),
        *_fitness(facts),
        *_durability(facts),
        *([] if layout is None else [layout]),
        *_permissions(facts, rights),
        judge_connections(
            needed=processes * each,
            used=facts.used,
            limit=facts.limit,
            processes=processes,
            fix="raise max_connections (or the role's CONNECTION LIMIT), add ?connections=N to "
            "the URL for fewer a process, or put a pooler between with ?prepare=off",
        ),
        *_pooler(facts, address, hears=hears),
        *_upkeep(facts),
        judge_clock(skew),
    ]


def _server(facts: Facts) -> Iterator[Finding]:
    what = f"PostgreSQL {facts.version}"
    oldest = OLDEST_SERVER // 10_000
    bad = next((t for (a, z), t in _BAD_VERSIONS.items() if a <= facts.number <= z), "")
    if facts.number < OLDEST_SERVER:
        yield problem(
            "server",
            found=f"{what}; expected {oldest} or newer",
            risk="the store's functions do not work there",
            fix=f"upgrade the server to PostgreSQL {oldest} or newer",
        )
    elif bad:
        yield warning(
            "server",
            found=f"{what}, a version with a known fault",
            risk=bad,
            fix="install the newest minor version, and run REINDEX",
        )
    else:
        yield ok("server", found=what)


def _fitness(facts: Facts) -> Iterator[Finding]:
    """Judge what a store refuses to be opened with."""
    if facts.standby or facts.closed:
        yield problem(
            "primary",
            found="it is a standby" if facts.standby else "default_transaction_read_only is on",
            risk="nothing can be written",
            fix="name the primary, or several hosts with target_session_attrs=read-write"
            if facts.standby
            else f"ALTER ROLE {facts.role} RESET default_transaction_read_only",
        )
    if facts.encoding != "UTF8":
        yield problem(
            "encoding",
            found=f"the database is encoded in {facts.encoding}; expected UTF8",
            risk="texts cannot be stored",
            fix="createdb --encoding=UTF8 --template=template0",
        )
    if facts.isolation != "read committed":
        yield problem(
            "isolation",
            found=f"transactions of this role are {facts.isolation}; expected read committed",
            risk="the store refuses to be opened: commands would fail under load",
            fix=f"ALTER ROLE {facts.role} SET default_transaction_isolation = 'read committed'",
        )


def _durability(facts: Facts) -> Iterator[Finding]:
    safe = facts.fsync and facts.full_page_writes
    name, can_lose = promise(facts.commit, facts.standbys, safe=safe)
    for setting, is_on in (("fsync", facts.fsync), ("full_page_writes", facts.full_page_writes)):
        if not is_on:
            yield problem(
                setting,
                found=f"{setting} is off",
                risk="a power failure can destroy the whole database",
                fix=f"ALTER SYSTEM SET {setting} = on; SELECT pg_reload_conf()",
            )
    if facts.commit == "off":
        yield warning(
            "synchronous_commit",
            found="synchronous_commit is off",
            risk="jobs that were accepted in the last moments before a crash",
            fix="ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf()",
        )
    yield judge_durability(name, can_lose, fix="change the settings named above")
    yield from _copies(facts)


def _copies(facts: Facts) -> Iterator[Finding]:
    if facts.replicas and not facts.standbys:
        yield warning(
            "replicas",
            found=f"{facts.replicas} standbys, none of them synchronous",
            risk="a fail-over loses what the primary had accepted and not yet sent",
            fix="ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'; SELECT pg_reload_conf()",
        )
    elif not facts.replicas:
        yield note(
            "replicas",
            found="no standby that this role can see",
            risk="everything since the last backup, if the server's disk is lost",
            fix="set up streaming replication or continuous archiving, and try a restore",
        )
    if not facts.checksums:
        yield note(
            "checksums",
            found="data checksums are off",
            risk="damage by a failing disk is noticed late",
            fix="pg_checksums --enable, while the server is stopped",
        )


def _permissions(facts: Facts, rights: Rights) -> Iterator[Finding]:
    if rights.exists and (rights.lacks or not rights.enters):
        lacks = rights.lacks or ["USAGE on the schema"]
        some = ", ".join(lacks[:_FEW]) + (", ..." if len(lacks) > _FEW else "")
        yield problem(
            "permissions",
            found=f"the role {facts.role} lacks {some}",
            risk="commands fail when they need it",
            fix=f"grant what workers and servers need: {_ROLES}",
        )
    elif facts.powers:
        yield warning(
            "permissions",
            found=f"the role {facts.role} is more than it needs to be: {', '.join(facts.powers)}",
            risk="whoever gets hold of the URL owns the whole server, not only the jobs",
            fix=f"give workers and servers a role of their own: {_ROLES}",
        )
    else:
        layouts = "may change the layout" if rights.owns or rights.makes else "not the layout"
        found = f"the role {facts.role} reads and writes, and {layouts}"
        yield ok("permissions", found=found)


def _pooler(facts: Facts, address: Address, *, hears: bool) -> Iterator[Finding]:
    between = "a pooler is between" if facts.pooled else "no pooler is between"
    if facts.shared and address.prepare:
        yield problem(
            "pooler",
            found=f"{between}, and gives each transaction another connection",
            risk="no store can be opened: what one client sets or prepares would end up at another",
            fix="add ?prepare=off to the URL, or use pool_mode = session",
        )
    elif not hears:
        deaf = (
            "what LISTEN should hear does not arrive"
            if address.prepare
            else "nobody listens, because the URL says prepare=off"
        )
        yield note(
            "notifications",
            found=f"{between}, and {deaf}",
            risk="an idle worker finds a job a fifth of a second later; nothing is lost",
            fix="a URL of the server itself for workers, or pool_mode = session, without "
            "prepare=off",
        )
    else:
        yield ok("notifications", found=f"LISTEN hears; {between}")


def _upkeep(facts: Facts) -> Iterator[Finding]:
    if not facts.vacuums:
        yield warning(
            "autovacuum",
            found="autovacuum or track_counts is off",
            risk="dead rows pile up, and leasing gets slower from day to day",
            fix="ALTER SYSTEM SET autovacuum = on; ALTER SYSTEM SET track_counts = on; "
            "SELECT pg_reload_conf()",
        )
    if facts.oldest > LONG_TRANSACTION:
        yield warning(
            "long transactions",
            found=f"a transaction has been open for {facts.oldest / 3_600:.1f} h",
            risk="dead rows cannot be removed while it lasts, and leasing gets slower",
            fix="find it in pg_stat_activity (order by xact_start), and end it",
        )
