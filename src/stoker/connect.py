"""URL to store: the only module that names a concrete store.

An engine is imported when its scheme is used, so nobody pays for a driver he does not need, and a
missing one says which command installs it.
"""

from urllib.parse import parse_qsl, unquote, urlsplit

from stoker.core.clock import Clock, SystemClock
from stoker.core.errors import InvalidConfig, MissingExtra, NotOpen, Unsupported
from stoker.core.finding import Finding
from stoker.core.records import SchemaStatus
from stoker.core.store import Store
from stoker.core.transactions import Transactions
from stoker.settings import Secret, masked

STORES = (
    "memory",
    "sqlite",
    "postgresql",
    "redis",
    "rediss",
    "valkey",
    "tcp",
    "tls",
    "http",
    "https",
)
"""The schemes that `open_store` takes."""


def open_store(url: str, *, clock: Clock | None = None, token: Secret | None = None) -> Store:
    """Return the store behind a URL, not yet opened: use it with ``async with``.

    Args:
        url: ``memory://`` (one process, for tests), ``sqlite:///jobs.db`` (relative path),
            ``sqlite:////var/lib/jobs.db`` (absolute path), with ``?durability=fast`` if losing
            the last moments at a power failure is acceptable;
            ``postgresql://user:password@host/database``, with ``?schema=NAME`` for another schema
            than ``stoker``.
            ``redis://:password@host:6379/0``, ``rediss://`` for TLS or ``valkey://``, with
            ``?namespace=NAME`` for another namespace than ``stoker``.
            ``tcp://host:8001``, ``tls://host?ca=FILE``, ``http://host:8000`` or ``https://host``
            for a store behind a Stoker server, with ``?token_file=FILE`` if it asks for a token.
        clock: Time and chance; the system's if not given.
        token: Shown to a Stoker server when the URL names none.

    Raises:
        InvalidConfig: Not a URL of a store.
    """
    clock = clock or SystemClock()
    scheme = urlsplit(url).scheme
    if scheme == "memory":
        from stoker.stores.memory import MemoryStore

        return MemoryStore(clock=clock)
    if scheme == "sqlite":
        from stoker.stores.sqlite import SQLiteStore

        path, durability = _sqlite_parts(url)
        return SQLiteStore(path, durability=durability, clock=clock)
    if scheme in {"postgresql", "postgres"}:
        return _postgres(url, clock)
    if scheme in {"redis", "rediss", "valkey"}:
        return _redis(url, clock)
    if scheme in {"tcp", "tls", "http", "https"}:
        from stoker.stores.remote import RemoteStore

        return RemoteStore(url, clock=clock, token=token)
    raise InvalidConfig(
        f"the store is {masked(url)!r}; expected a URL that begins with one of "
        + ", ".join(f"{name}://" for name in STORES)
        + ", such as sqlite:///stoker.db",
        url=masked(url),
    )


async def migrate_store(
    url: str,
    *,
    clock: Clock | None = None,
    token: Secret | None = None,
    to: int | None = None,
    dry_run: bool = False,
) -> SchemaStatus:
    """Bring the layout behind a URL to a version; see `Store.migrate`.

    A layout that is too old keeps some stores from being opened, so the store is opened only if it
    cannot be migrated without.

    Raises:
        StokerError: It cannot be reached, or has no such version.
    """
    store = open_store(url, clock=clock, token=token)
    try:
        return await store.migrate(to=to, dry_run=dry_run)
    except NotOpen:
        async with store:
            return await store.migrate(to=to, dry_run=dry_run)


async def examine_store(
    url: str, *, clock: Clock | None = None, token: Secret | None = None, processes: int = 1
) -> list[Finding]:
    """Examine what a URL leads to, without needing a store that can be opened; change nothing.

    Args:
        url: See `open_store`.
        clock: This machine's; the system's if not given.
        token: Shown to a Stoker server when the URL names none.
        processes: Stoker's processes that will share the engine.

    Raises:
        StokerError: It cannot be reached or looked at; the message says why.
    """
    store = open_store(url, clock=clock, token=token)
    clock = clock or SystemClock()
    match urlsplit(url).scheme:
        case "memory":
            from stoker.stores.memory.examining import examine

            return examine()
        case "sqlite":
            from stoker.stores.sqlite.examining import examine as examine_file

            path, durability = _sqlite_parts(url)
            return await examine_file(path, durability=durability, can_lose=store.info.can_lose)
        case "postgresql" | "postgres":
            from stoker.stores.postgres.examining import examine as examine_postgres

            return await examine_postgres(url, clock=clock, processes=processes)
        case "redis" | "rediss" | "valkey":
            from stoker.stores.redis.examining import examine as examine_redis

            return await examine_redis(url, clock=clock, processes=processes)
        case _:
            from stoker.stores.remote.examining import examine as examine_remote

            return await examine_remote(url, clock=clock, token=token)


def open_transactions(url: str) -> Transactions:
    """Return what a store does inside transactions, without opening the store.

    For the child process of a worker: it holds no connection until a task begins a transaction.

    Raises:
        InvalidConfig: The store behind that URL has no transactions.
    """
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        from stoker.stores.sqlite.transactions import Transactions as FileTransactions

        return FileTransactions(*_sqlite_parts(url), SystemClock())
    if scheme in {"postgresql", "postgres"}:
        from stoker.stores.postgres.address import parse
        from stoker.stores.postgres.transactions import Transactions as SchemaTransactions

        return SchemaTransactions(parse(url))
    raise InvalidConfig(f"the store {masked(url)!r} has no transactions", url=masked(url))


def check_broker(url: str | None) -> None:
    """Refuse a broker: none is built into this version, and ignoring the wish would be a lie.

    Raises:
        Unsupported: A broker was named.
    """
    if url:
        raise Unsupported(
            f"the broker is {masked(url)!r}, and this version of Stoker has no broker; leave it "
            "out: workers are woken by the store itself"
        )


def _postgres(url: str, clock: Clock) -> Store:
    try:
        from stoker.stores.postgres import PostgresStore
    except ImportError as error:
        raise MissingExtra(
            f"the store is {masked(url)!r}, and the driver for PostgreSQL is not installed "
            f"({error}); install it with: pip install 'stoker[postgres]'",
            url=masked(url),
        ) from None
    return PostgresStore(url, clock=clock)


def _redis(url: str, clock: Clock) -> Store:
    try:
        from stoker.stores.redis import RedisStore
    except ImportError as error:
        raise MissingExtra(
            f"the store is {masked(url)!r}, and the driver for Redis is not installed ({error}); "
            "install it with: pip install 'stoker[redis]'",
            url=masked(url),
        ) from None
    return RedisStore(url, clock=clock)


def _sqlite_parts(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    path = unquote(parts.path[1:])
    options = dict(parse_qsl(parts.query))
    durability = options.pop("durability", "full")
    if parts.netloc or not path or options or durability not in {"full", "fast"}:
        raise InvalidConfig(
            f"the store is {url!r}; expected sqlite:///relative/path.db or "
            "sqlite:////absolute/path.db, optionally with ?durability=full or ?durability=fast",
            url=url,
        )
    return path, durability
