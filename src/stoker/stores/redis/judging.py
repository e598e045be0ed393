"""What the facts about a Redis server mean for a store in it. Pure: facts in, findings out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stoker.core.finding import (
    ROOM,
    Finding,
    is_local,
    judge_clock,
    judge_connections,
    judge_durability,
    judge_encryption,
    judge_layout,
    note,
    ok,
    problem,
    warning,
)
from stoker.stores.redis.address import Address
from stoker.stores.redis.opening import CAN_LOSE, LAYOUT, OLDEST, durability

CONNECTIONS_EACH = 2
"""Of each process: one for its verbs, one that listens."""
_FULL = 0.95
"""The share of ``maxmemory`` from which on submits are about to be refused."""
_USERS = "see deploy/redis/users.acl"
_PERSIST = "CONFIG SET appendonly yes, and in the server's configuration file"
_LUA = "CVE-2025-49844: whoever may call functions or scripts can take over the server"
_LUA_FIXED: Mapping[str, tuple[tuple[int, int, int], ...]] = {
    "redis": ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2)),
    "valkey": ((7, 2, 11), (8, 0, 6), (8, 1, 4)),
}
"""The first version of each line with the fault in Lua mended."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a server says about itself and about the user who asks."""

    info: Mapping[str, str]
    settings: Mapping[str, str]
    """As far as the user may see them."""
    user: str
    """Empty where it is not shown."""
    powers: list[str]
    refused: list[str]
    """Commands that Stoker needs and this user may not call."""
    layout: bytes | None
    encrypted: bool
    checked: bool
    skew: float

    @property
    def engine(self) -> str:
        """``redis`` or ``valkey``."""
        return "valkey" if "valkey_version" in self.info else "redis"

    @property
    def version(self) -> str:
        """Of the engine."""
        return self.info.get(f"{self.engine}_version", "0")

    def number(self, name: str) -> int:
        """Return a number of the server's; 0 where it says none."""
        text = self.info.get(name, "")
        return int(text) if text.isdigit() else 0


def judge(facts: Facts, *, address: Address, processes: int) -> list[Finding]:
    """Return everything worth saying about a server, ordered from reaching it to running on it."""
    host = str(address.arguments.get("host", ""))
    return [
        *_server(facts),
        judge_encryption(
            encrypted=facts.encrypted,
            checked=facts.checked,
            host=host,
            fix="use rediss:// with ?ssl_ca_certs=FILE",
        ),
        *_role(facts),
        *_memory(facts),
        *_durability(facts),
        *_layout(facts, address),
        *_permissions(facts, host),
        *_connections(facts, processes),
        judge_clock(facts.skew),
    ]


def _server(facts: Facts) -> Iterator[Finding]:
    what = f"{facts.engine} {facts.version}"
    # Valkey names the version of Redis that it stands for.
    if _numbers(facts.info.get("redis_version", "0"))[:2] < OLDEST:
        yield problem(
            "server",
            found=f"{what}; expected Redis 7.0 or newer, or Valkey",
            risk="Stoker's functions do not run there",
            fix="upgrade the server",
        )
    elif _has_lua_fault(facts.engine, _numbers(facts.version)):
        yield note(
            "server",
            found=f"{what}, unless whoever packaged it mended it, has a known fault",
            risk=_LUA,
            fix="install the newest version of its line; let only Stoker's users call functions",
        )
    else:
        yield ok("server", found=what)


def _has_lua_fault(engine: str, version: tuple[int, ...]) -> bool:
    fixed = _LUA_FIXED[engine]
    same_line = [first for first in fixed if first[:2] == version[:2]]
    return version < same_line[0] if same_line else version < fixed[-1]


def _role(facts: Facts) -> Iterator[Finding]:
    replicas = facts.number("connected_slaves")
    if facts.info.get("role") == "slave":
        yield problem(
            "primary",
            found="it is a replica",
            risk="nothing can be written",
            fix="name the primary",
        )
    elif not replicas:
        yield note(
            "replicas",
            found="no replica",
            risk="everything since the last backup, if the server's disk is lost",
            fix="set up a replica, and copy the append-only files away now and then",
        )
    elif facts.settings.get("min-replicas-to-write", "0") == "0":
        yield warning(
            "replicas",
            found=f"{replicas} replicas, and the server takes writes without any of them",
            risk="a fail-over loses what the primary had accepted and not yet sent",
            fix="CONFIG SET min-replicas-to-write 1, which makes that less, not nothing",
        )


def _memory(facts: Facts) -> Iterator[Finding]:
    policy = facts.info.get("maxmemory_policy", "")
    if policy != "noeviction":
        yield problem(
            "eviction",
            found=f"maxmemory-policy is {policy}",
            risk="when its memory is full, the server throws jobs away",
            fix="CONFIG SET maxmemory-policy noeviction, and in the server's configuration file",
        )
    limit, used = facts.number("maxmemory"), facts.number("used_memory")
    if not limit:
        yield note(
            "memory",
            found=f"{used:,} bytes in use, and no limit",
            risk="the system kills the server when the machine's memory is full",
            fix="CONFIG SET maxmemory BYTES, some way below the machine's memory",
        )
    elif used > limit * ROOM:
        judge_full = problem if used > limit * _FULL else warning
        yield judge_full(
            "memory",
            found=f"{used:,} of {limit:,} bytes in use",
            risk="submits are refused when it is full",
            fix="raise maxmemory, or delete ended jobs: stoker jobs purge",
        )
    else:
        yield ok("memory", found=f"{used:,} of {limit:,} bytes in use")


def _durability(facts: Facts) -> Iterator[Finding]:
    level = durability(
        appendonly=facts.info.get("aof_enabled") == "1",
        fsync=facts.settings.get("appendfsync", "unknown"),
    )
    fix = _PERSIST if level == "none" else "CONFIG SET appendfsync always"
    yield judge_durability(level, CAN_LOSE[level], fix=fix)
    if facts.settings.get("no-appendfsync-on-rewrite") == "yes" and level != "none":
        yield warning(
            "no-appendfsync-on-rewrite",
            found="no-appendfsync-on-rewrite is on",
            risk="half a minute of accepted jobs, by a crash while the file is rewritten",
            fix="CONFIG SET no-appendfsync-on-rewrite no",
        )
    for name in ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status"):
        if facts.info.get(name, "ok") != "ok":
            yield problem(
                "disk",
                found=f"{name} is {facts.info[name]}",
                risk="the server refuses writes, or loses them when it stops",
                fix="free some space, and see the server's log",
            )


def _layout(facts: Facts, address: Address) -> Iterator[Finding]:
    text = facts.layout
    if text is not None and not text.isdigit():
        yield problem(
            "layout",
            found=f"the namespace {address.namespace!r} holds something else",
            risk="the store refuses to be opened",
            fix="choose another one with ?namespace=NAME",
        )
        return
    yield judge_layout(
        current=None if text is None else int(text),
        latest=LAYOUT,
        may_make="FCALL" not in facts.refused,
        place=f"the namespace {address.namespace!r}",
    )


def _permissions(facts: Facts, host: str) -> Iterator[Finding]:
    user = f"the user {facts.user}" if facts.user else "this user"
    if facts.refused:
        yield problem(
            "permissions",
            found=f"{user} may not call {', '.join(facts.refused)}",
            risk="commands fail when they need it",
            fix=f"grant what Stoker needs: {_USERS}",
        )
    elif "no password" in facts.powers and not is_local(host):
        yield problem(
            "permissions",
            found=f"{user} needs no password",
            risk="whoever reaches the server owns all jobs, and perhaps the machine",
            fix=f"give Stoker a user of its own and switch the default one off: {_USERS}",
        )
    elif facts.powers:
        yield note(
            "permissions",
            found=f"{user} is more than it needs to be: {', '.join(facts.powers)}",
            risk="whoever gets hold of the URL owns the whole server, not only the jobs",
            fix=f"give Stoker a user of its own: {_USERS}",
        )
    else:
        yield ok("permissions", found=f"{user} may do what Stoker needs")


def _connections(facts: Facts, processes: int) -> Iterator[Finding]:
    limit = facts.settings.get("maxclients") or facts.info.get("maxclients") or ""
    if limit.isdigit():
        yield judge_connections(
            needed=processes * CONNECTIONS_EACH,
            used=facts.number("connected_clients"),
            limit=int(limit),
            processes=processes,
            fix="CONFIG SET maxclients N",
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
