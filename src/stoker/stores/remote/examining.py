"""Asks a Stoker server what `stoker doctor` wants to know of the store behind it."""

from collections.abc import Iterator
from importlib.metadata import version

from stoker.core.clock import Clock
from stoker.core.errors import Forbidden
from stoker.core.finding import (
    Finding,
    judge_clock,
    judge_durability,
    judge_encryption,
    note,
    ok,
)
from stoker.core.records import StoreInfo
from stoker.settings import Secret
from stoker.stores.remote.address import read_address
from stoker.stores.remote.store import RemoteStore


async def examine(url: str, *, clock: Clock, token: Secret | None) -> list[Finding]:
    """Look at the server, at this client as the server knows it, and at what is behind.

    Args:
        url: Of the remote store.
        clock: This machine's, to compare with the store's.
        token: What to show when the URL names none.

    Raises:
        StokerError: The server cannot be reached, or does not let us in.
    """
    address = read_address(url, token=token)
    async with RemoteStore(url, clock=clock, token=token) as store:
        found = [
            *judge_server(store.info, version("stoker")),
            judge_encryption(
                encrypted=address.is_tls,
                checked=address.is_tls,
                host=address.host,
                fix="give the server a certificate (gateway.certificate), and use tls:// here",
            ),
            *judge_scope(store.info),
            judge_durability(
                store.info.durability,
                store.info.can_lose,
                fix="change the store behind the server: run stoker doctor there",
            ),
        ]
        return found + await _clock(store, clock)


def judge_server(info: StoreInfo, ours: str) -> Iterator[Finding]:
    """Judge the versions on both sides."""
    behind = f"{info.details['engine']} {info.details['engine_version']}"
    found = f"Stoker {info.version} before {behind}"
    if info.version == ours:
        yield ok("server", found=found)
    else:
        yield note(
            "server",
            found=f"{found}, and here is {ours}",
            risk="what only the newer one knows is missing on the way",
            fix="bring both to one version, the server first",
        )


def judge_scope(info: StoreInfo) -> Iterator[Finding]:
    """Judge what the server lets this client do."""
    identity, scope = info.details["identity"], info.details["scope"]
    if scope == "full":
        yield note(
            "permissions",
            found=f"the server knows this client as {identity!r}, who may do everything",
            risk="whoever gets hold of its token can delete every job",
            fix="for a worker, a token of scope worker is enough: gateway.worker_token, or "
            "[gateway.clients.NAME]",
        )
    else:
        yield ok("permissions", found=f"the server knows this client as {identity!r}: {scope}")


async def _clock(store: RemoteStore, clock: Clock) -> list[Finding]:
    before = clock.now()
    try:
        counts = await store.counts()
    except Forbidden:
        # A client who may only run jobs may not count them, and so cannot see the time.
        return []
    return [judge_clock(counts.now.timestamp() - (before + clock.now()) / 2)]
