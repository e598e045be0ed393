"""Asks a Redis or Valkey server what `stoker doctor` wants to know. Changes nothing.

What a user may do is found out by trying: commands of each kind that Stoker needs, on a key that
does not exist, where they have nothing to do. It takes no right to look at the access lists.
"""

from typing import Any

from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from stoker.core.clock import Clock
from stoker.core.finding import Finding
from stoker.stores.redis.address import Address, parse
from stoker.stores.redis.faults import cannot_connect, translate
from stoker.stores.redis.judging import Facts, judge
from stoker.stores.redis.keys import root
from stoker.stores.redis.opening import own_key, parse_info
from stoker.stores.redis.wire import disconnect

_FAULTS = (RedisError, OSError, TimeoutError)
_SETTINGS = ("appendfsync", "no-appendfsync-on-rewrite", "min-replicas-to-write", "maxclients")


async def examine(url: str, *, clock: Clock, processes: int) -> list[Finding]:
    """Look at the server, the user and the namespace of a store's URL.

    Args:
        url: Of the store.
        clock: This machine's, to compare with the server's.
        processes: Stoker's processes that will share the server.

    Raises:
        StokerError: The server cannot be reached, or does not let us in.
    """
    address = parse(url)
    try:
        connection = await address.connect(name="stoker-doctor")
    except _FAULTS as error:
        raise cannot_connect(error, address.url) from error
    try:
        facts = await _look(connection, address, clock)
    except _FAULTS as error:
        raise translate(error, address.url, sent=True, writes=False) from error
    finally:
        await disconnect(connection)
    return judge(facts, address=address, processes=processes)


async def _look(connection: Connection, address: Address, clock: Clock) -> Facts:
    before = clock.now()
    seconds, micros = await _ask(connection, "TIME")
    skew = int(seconds) + int(micros) / 1e6 - (before + clock.now()) / 2
    user = await _allowed(connection, "ACL", "WHOAMI")
    name = "" if user is None else user.decode()
    return Facts(
        info=parse_info(await _ask(connection, "INFO")),
        settings=await _settings(connection),
        user=name,
        powers=await _powers(connection, name),
        refused=await _refused(connection, address),
        layout=await _allowed(connection, "GET", own_key(address, "LAYOUT")),
        encrypted=isinstance(connection, SSLConnection),
        checked=str(address.arguments.get("ssl_cert_reqs", "required")) == "required",
        skew=skew,
    )


async def _settings(connection: Connection) -> dict[str, str]:
    """Return settings that this user may see; some hosts show none."""
    found: dict[str, str] = {}
    for name in _SETTINGS:
        pair = await _allowed(connection, "CONFIG", "GET", name)
        if pair:
            found[name] = pair[1].decode()
    return found


async def _powers(connection: Connection, user: str) -> list[str]:
    """Return in which ways a user may do more than Stoker needs; empty where that is not shown."""
    row = await _allowed(connection, "ACL", "GETUSER", user) if user else None
    if not row:
        return []
    facts = dict(zip((key.decode() for key in row[::2]), row[1::2], strict=True))
    flags = {flag.decode() for flag in facts.get("flags", ())}
    powers = ["no password"] if "nopass" in flags else []
    if b"+@all" in facts.get("commands", b"").split():
        powers.append("every command")
    if b"~*" in _text(facts.get("keys", b"")).split():
        powers.append("every key")
    return powers


def _text(keys: Any) -> bytes:
    # A list until Redis 6, a text since.
    return b" ".join(keys) if isinstance(keys, list) else bytes(keys)


async def _refused(connection: Connection, address: Address) -> list[str]:
    """Return the needed commands that this user may not call."""
    nothing = f"{root(address.namespace)}:nothing"
    harmless = [
        ("FCALL", "stoker_nothing", "1", nothing),
        ("FUNCTION", "LIST", "LIBRARYNAME", "stoker_nothing"),
        ("GET", nothing),
        ("EXISTS", nothing),
        ("DEL", nothing),
        ("EXPIRE", nothing, "1"),
        ("HDEL", nothing, "field"),
        ("ZREM", nothing, "member"),
        ("SREM", nothing, "member"),
        ("LREM", nothing, "0", "value"),
        ("XTRIM", nothing, "MAXLEN", "0"),
        ("PUBLISH", nothing, ""),
        ("PUBSUB", "NUMSUB", nothing),
    ]
    return [words[0] for words in harmless if not await _may(connection, *words)]


async def _may(connection: Connection, *words: str) -> bool:
    try:
        await _ask(connection, *words)
    except NoPermissionError:
        return False
    except ResponseError:
        # It was let through, and failed for another reason: the function does not exist, the
        # server is a replica.
        return True
    return True


async def _allowed(connection: Connection, *words: str) -> Any:
    """Return the answer to a question; None where this user may not ask it."""
    try:
        return await _ask(connection, *words)
    except ResponseError:
        return None


async def _ask(connection: Connection, *words: str) -> Any:
    await connection.send_command(*words, check_health=False)
    return await connection.read_response()
