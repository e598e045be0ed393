"""URL to store or broker: the only module that names a concrete one.

An engine is imported when its scheme is used, so nobody pays for a driver he does not need, and a
missing one says which command installs it.
"""

import asyncio
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec

from stoker.core.broker import MAX_IDS, Broker, Ring
from stoker.core.clock import Clock, SystemClock
from stoker.core.errors import InvalidConfig, MissingExtra, NotOpen
from stoker.core.finding import Finding, is_local, judge_encryption, ok, warning
from stoker.core.job import Priority
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
BROKERS = ("amqp", "amqps", "kafka", "kafkas")
"""The schemes that `open_broker` takes."""
CONNECT = 10.0
"""Seconds for which `examine_broker` waits for a connection."""
HEARD_WITHIN = 15.0
"""Seconds for which `examine_broker` waits for its own ring; Kafka takes some to form a group."""
PROBE = "stoker-doctor"
"""The queue that `examine_broker` rings for."""


def open_store(
    url: str,
    *,
    broker: str | None = None,
    clock: Clock | None = None,
    token: Secret | None = None,
) -> Store:
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
        broker: See `open_broker`. Its rings wake the store's workers besides the store's own bell.
        clock: Time and chance; the system's if not given.
        token: Shown to a Stoker server when the URL names none.

    Raises:
        InvalidConfig: Not a URL of a store, or of a broker.
        MissingExtra: A driver is not installed.
    """
    clock = clock or SystemClock()
    store = _open_store(url, clock, token)
    if not broker:
        return store
    from stoker.brokers.ringing import RingingStore

    return RingingStore(store, open_broker(broker, clock=clock))


def open_broker(url: str, *, clock: Clock | None = None) -> Broker:
    """Return the broker behind a URL, not yet opened.

    Args:
        url: ``amqp://user:password@host:5672/vhost`` for RabbitMQ, ``amqps://`` with ``?ca=FILE``
            for TLS, with ``?namespace=NAME`` for another namespace than ``stoker``.
            ``kafka://host:9092,host:9092`` for Kafka, ``kafkas://user:password@host`` for TLS.
        clock: Time and chance; the system's if not given.

    Raises:
        InvalidConfig: Not a URL of a broker.
        MissingExtra: The driver is not installed.
    """
    clock = clock or SystemClock()
    scheme = _split(url, "broker").scheme
    if scheme in {"amqp", "amqps"}:
        return _rabbitmq(url, clock)
    if scheme in {"kafka", "kafkas"}:
        return _kafka(url, clock)
    raise InvalidConfig(
        f"the broker is {masked(url)!r}; expected a URL that begins with one of "
        + ", ".join(f"{name}://" for name in BROKERS),
        url=masked(url),
    )


def _open_store(url: str, clock: Clock, token: Secret | None) -> Store:
    scheme = _split(url, "store").scheme
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
    match _split(url, "store").scheme:
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
    scheme = _split(url, "store").scheme
    if scheme == "sqlite":
        from stoker.stores.sqlite.transactions import Transactions as FileTransactions

        return FileTransactions(*_sqlite_parts(url), SystemClock())
    if scheme in {"postgresql", "postgres"}:
        from stoker.stores.postgres.address import parse
        from stoker.stores.postgres.transactions import Transactions as SchemaTransactions

        return SchemaTransactions(parse(url))
    raise InvalidConfig(f"the store {masked(url)!r} has no transactions", url=masked(url))


def judge_broker_way(url: str) -> Finding:
    """Judge what protects the way to a broker; a URL may name several hosts of it."""
    parts = urlsplit(url)
    hosts = [one.rpartition(":")[0] or one for one in parts.netloc.rpartition("@")[2].split(",")]
    far = next((host for host in hosts if not is_local(host)), "localhost")
    secure = parts.scheme.endswith("s")
    return msgspec.structs.replace(
        judge_encryption(
            encrypted=secure,
            checked=secure,
            host=far,
            fix=f"give the broker a certificate, and use {parts.scheme.rstrip('s')}s:// here",
        ),
        check="broker encryption",
    )


async def examine_broker(url: str, *, clock: Clock | None = None) -> list[Finding]:
    """Say whether a broker can be reached, and whether what is rung there is heard.

    One ring goes to a queue of its own, `PROBE`, that no worker listens to: it needs every right
    that workers and programs need.

    Raises:
        InvalidConfig, MissingExtra: See `open_broker`.
    """
    clock = clock or SystemClock()
    async with open_broker(url, clock=clock) as broker:
        end = asyncio.get_running_loop().time() + CONNECT
        while not (status := broker.status()).connected and not status.error:
            if asyncio.get_running_loop().time() > end:
                break
            await asyncio.sleep(0.05)
        if status.connected:
            reached = ok("broker", found=f"{masked(url)}, {status.server}")
            return [reached, judge_broker_way(url), await _probe(broker, clock)]
    return [
        warning(
            "broker",
            found=status.error or f"{masked(url)} did not answer within {CONNECT:g} s",
            risk="no job: workers look by themselves, up to one worker.poll later",
            fix="start it or correct --broker, STOKER_BROKER or 'broker' in the file",
        )
    ]


async def _probe(broker: Broker, clock: Clock) -> Finding:
    """Ring until it is heard: another examination at the same time may hear it first."""
    ring = Ring(clock.new_id(), PROBE, Priority.MEDIUM)
    fault = ""
    began = clock.monotonic()
    while (now := clock.monotonic()) - began < HEARD_WITHIN:
        broker.ring([ring])
        while clock.monotonic() - now < 1.0:
            heard = await broker.listen([PROBE], most=MAX_IDS, timeout=0.1)
            broker.done(heard)
            if any(delivery.ring == ring for delivery in heard):
                return ok("broker rings", found="what is rung is heard")
            status = broker.status()
            fault = status.error or status.fault or fault
    return warning(
        "broker rings",
        found=fault or f"a ring did not come back within {HEARD_WITHIN:g} s",
        risk="no job: workers look by themselves, up to one worker.poll later",
        fix="give the user the rights that the guide to brokers lists",
    )


def _rabbitmq(url: str, clock: Clock) -> Broker:
    try:
        from stoker.brokers.rabbitmq import RabbitBroker
    except ImportError as error:
        raise MissingExtra(
            f"the broker is {masked(url)!r}, and the driver for RabbitMQ is not installed "
            f"({error}); install it with: pip install 'stoker[rabbitmq]'",
            url=masked(url),
        ) from None
    return RabbitBroker(url, clock=clock)


def _kafka(url: str, clock: Clock) -> Broker:
    try:
        from stoker.brokers.kafka import KafkaBroker
    except ImportError as error:
        raise MissingExtra(
            f"the broker is {masked(url)!r}, and the driver for Kafka is not installed ({error}); "
            "install it with: pip install 'stoker[kafka]'",
            url=masked(url),
        ) from None
    return KafkaBroker(url, clock=clock)


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


def _split(url: str, what: str) -> SplitResult:
    """Take a URL apart.

    Raises:
        InvalidConfig: It is none, such as one with half a bracket.
    """
    try:
        return urlsplit(url)
    except ValueError as error:
        # It may hold a password, and what cannot be taken apart cannot be masked.
        raise InvalidConfig(f"the {what} is no URL: {error}", url=masked(url)) from None


def _sqlite_parts(url: str) -> tuple[str, str]:
    parts = _split(url, "store")
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
