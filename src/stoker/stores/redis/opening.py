"""What is looked at before a server is trusted: version, eviction, durability, layout."""

from dataclasses import dataclass

from stoker.core.errors import BackendError, SchemaMismatch, Unsupported
from stoker.core.records import Migration, SchemaStatus, StoreInfo
from stoker.stores.redis.address import Address
from stoker.stores.redis.faults import read_only
from stoker.stores.redis.functions import VERSION, library, version_of
from stoker.stores.redis.keys import KEYS, root
from stoker.stores.redis.wire import Wire

LAYOUT = 1
"""The version of the table of keys and of the records in them."""
OLDEST = (7, 0)
_FAILOVER = (
    "; a failover to a replica can lose what the primary had not yet sent to it, acknowledged "
    "writes included"
)
CAN_LOSE = {
    "full": "nothing that was acknowledged, as long as the disk keeps its word",
    "fast": "about the last second before a crash of the server, the machine or its power "
    "(appendfsync everysec)",
    "none": "everything since the last snapshot, or everything, when the server stops "
    "(appendonly is off)",
}


@dataclass(frozen=True)
class Server:
    """What a server says about itself."""

    engine: str
    version: str
    policy: str
    appendonly: bool
    fsync: str
    replica: bool

    @property
    def durability(self) -> str:
        """The level's name."""
        return durability(appendonly=self.appendonly, fsync=self.fsync)


def durability(*, appendonly: bool, fsync: str) -> str:
    """Return the name of what a server promises."""
    if not appendonly:
        return "none"
    return "full" if fsync == "always" else "fast"


async def inspect(wire: Wire, address: Address) -> Server:
    """Ask the server, and refuse one that would lose jobs or cannot run the functions.

    Raises:
        Unsupported: Too old, or it may evict keys.
        ReadOnlyStore: A replica.
    """
    facts = parse_info(await wire.command("INFO"))
    engine = "valkey" if "valkey_version" in facts else "redis"
    server = Server(
        engine=engine,
        version=facts.get(f"{engine}_version", "0"),
        policy=facts.get("maxmemory_policy", ""),
        appendonly=facts.get("aof_enabled") == "1",
        fsync=await _fsync(wire),
        replica=facts.get("role") == "slave",
    )
    _refuse_old(facts.get("redis_version", "0"), address)
    if server.replica:
        raise read_only(address.url)
    if server.policy != "noeviction":
        raise Unsupported(
            f"{address.url} has maxmemory-policy {server.policy!r}, with which it would throw jobs "
            "away when its memory is full; expected 'noeviction'. Set it: "
            "CONFIG SET maxmemory-policy noeviction, and in the server's configuration file",
            url=address.url,
        )
    return server


async def prepare(wire: Wire, address: Address, fresh: str) -> str:
    """Make the layout if there is none, and load the functions if they are missing.

    Args:
        wire: To the server.
        address: Where the store is there.
        fresh: The id that a store without one gets.

    Returns:
        The store's id.

    Raises:
        SchemaMismatch: The layout is newer than this Stoker knows.
    """
    await wire.command("SET", own_key(address, "LAYOUT"), LAYOUT, "NX", writes=True)
    await refuse_newer(wire, address)
    name, text = library()
    names = await _libraries(wire)
    if name not in names:
        await wire.command("FUNCTION", "LOAD", "REPLACE", text, writes=True)
    for other in names:
        version = version_of(other)
        # One of the same version and another text is of a build that never was released.
        if version is not None and version <= VERSION and other != name:
            await _delete(wire, other)
    key = own_key(address, "IDENTITY")
    await wire.command("SET", key, fresh, "NX", writes=True)
    identity: bytes = await wire.command("GET", key)
    return identity.decode()


async def refuse_newer(wire: Wire, address: Address) -> None:
    """Refuse a layout that this Stoker does not know.

    Raises:
        SchemaMismatch: It is newer.
    """
    found = await wire.command("GET", own_key(address, "LAYOUT"))
    if not found.isdigit() or int(found) > LAYOUT:
        raise SchemaMismatch(
            f"the namespace {address.namespace!r} of {address.url} has layout {found.decode()}, "
            f"and this Stoker knows {LAYOUT}; bring this Stoker up to date",
            url=address.url,
        )


async def status(wire: Wire, address: Address, to: int | None) -> SchemaStatus:
    """Return the layout's state; there is one version, so there is never a step to do.

    Raises:
        SchemaMismatch: Another version was asked for, or is there.
    """
    await refuse_newer(wire, address)
    if to not in {None, LAYOUT}:
        raise SchemaMismatch(
            f"version {to} was asked for; the layout of a Redis store has version {LAYOUT} only",
            url=address.url,
        )
    return SchemaStatus(
        current=LAYOUT, latest=LAYOUT, applied=(Migration(number=LAYOUT, name="initial"),)
    )


def describe(server: Server, address: Address, identity: str) -> StoreInfo:
    """Return what the store is and promises."""
    return StoreInfo(
        id=identity,
        engine=server.engine,
        version=server.version,
        url=address.url,
        durability=server.durability,
        can_lose=CAN_LOSE[server.durability] + _FAILOVER,
        details={
            "namespace": address.namespace,
            "maxmemory_policy": server.policy,
            "appendonly": server.appendonly,
            "appendfsync": server.fsync,
            "library": library()[0],
        },
    )


def own_key(address: Address, name: str) -> str:
    """Return one of a namespace's own keys, by its name in the table."""
    return f"{root(address.namespace)}:{KEYS[name].name}"


def _refuse_old(version: str, address: Address) -> None:
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST:
        raise Unsupported(
            f"{address.url} is Redis {version}; expected {OLDEST[0]}.{OLDEST[1]} or newer, or "
            "Valkey: Stoker's functions run inside the server",
            url=address.url,
        )


async def _fsync(wire: Wire) -> str:
    try:
        found = await wire.command("CONFIG", "GET", "appendfsync")
    except (BackendError, Unsupported):
        # Some hosts forbid CONFIG. What nobody can see is not promised.
        return "unknown"
    return found[1].decode() if found else "unknown"


async def _libraries(wire: Wire) -> list[str]:
    found = await wire.command("FUNCTION", "LIST", "LIBRARYNAME", "stoker_*")
    names: list[str] = []
    for row in found:
        pairs = dict(zip(row[::2], row[1::2], strict=True))
        names.append(pairs[b"library_name"].decode())
    return names


async def _delete(wire: Wire, name: str) -> None:
    try:
        await wire.command("FUNCTION", "DELETE", name, writes=True)
    except BackendError:
        # Somebody else was faster. Whoever still needs it loads it again.
        return


def parse_info(info: bytes) -> dict[str, str]:
    """Return what the answer to ``INFO`` says, by name."""
    lines = info.decode(errors="replace").splitlines()
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name: value.strip() for name, _, value in pairs}
