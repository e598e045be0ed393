"""URL to store: the only module that names a concrete store.

An engine is imported when its scheme is used, so nobody pays for a driver he does not need, and a
missing one says which command installs it.
"""

from urllib.parse import parse_qsl, unquote, urlsplit

from stoker.core.clock import Clock, SystemClock
from stoker.core.errors import InvalidConfig, Unsupported
from stoker.core.store import Store
from stoker.settings import masked

STORES = ("memory", "sqlite")
"""The schemes that `open_store` takes."""


def open_store(url: str, *, clock: Clock | None = None) -> Store:
    """Return the store behind a URL, not yet opened: use it with ``async with``.

    Args:
        url: ``memory://`` (one process, for tests), ``sqlite:///jobs.db`` (relative path),
            ``sqlite:////var/lib/jobs.db`` (absolute path), with ``?durability=fast`` if losing
            the last moments at a power failure is acceptable.
        clock: Time and chance; the system's if not given.

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
    raise InvalidConfig(
        f"the store is {masked(url)!r}; expected a URL that begins with one of "
        + ", ".join(f"{name}://" for name in STORES)
        + ", such as sqlite:///stoker.db",
        url=masked(url),
    )


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
