"""API keys as people see them; making and revoking one, the same on HTTP and in the shell."""

from datetime import datetime
from typing import Any

import msgspec

from stoker.core.clock import Clock
from stoker.core.errors import KeyNotFound, Refused
from stoker.core.keys import KeyInfo, KeySpec, Scope, make_key
from stoker.core.store import Store


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """An API key without anything that would prove it."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    queues: tuple[str, ...]
    """The only queues it may touch; empty: all."""
    tenant: str | None
    """The only tenant it may touch; null: all."""
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    """To the minute."""
    revoked_at: datetime | None


class NewKey(KeyView, frozen=True, kw_only=True):
    """A key that was just made, with its text: the only time that anybody sees it."""

    key: str


def show_key(info: KeyInfo) -> KeyView:
    """Return a key as people see it."""
    return KeyView(**_fields(info))


async def create_key(store: Store, clock: Clock, *, actor: str, **wanted: Any) -> NewKey:
    """Make a key and keep it.

    Args:
        store: Where it is kept.
        clock: Chance.
        actor: Who asks.
        **wanted: See `stoker.core.keys.make_key`.

    Raises:
        InvalidOption: It means nothing.
        Refused: A key that was not revoked has that name. The audit trail names keys.
    """
    spec, text = make_key(clock, **wanted)
    for known in await store.keys():
        if known.spec.name == spec.name and known.revoked_at is None:
            raise Refused(
                f"a key is named {spec.name!r} already ({known.spec.id}); choose another name, or "
                "revoke that one first",
                id=known.spec.id,
            )
    await store.put_keys([spec], actor=actor)
    [info] = await store.keys([spec.id])
    return NewKey(**_fields(info), key=text)


async def revoke_key(store: Store, key: str, *, actor: str) -> KeyInfo:
    """Revoke a key, by its id or by its name; return what it was. Its log-ins end with it.

    Raises:
        KeyNotFound: There is no such key, or it was revoked already.
    """
    found = [info for info in await store.keys() if key in {info.spec.id, info.spec.name}]
    valid = [info for info in found if info.revoked_at is None]
    if not valid:
        was = "was revoked already" if found else "is not known"
        raise KeyNotFound(f"the key {key[:100]!r} {was}; stoker keys ls lists them", key=key[:100])
    spec: KeySpec = valid[0].spec
    await store.put_keys(revoke=[spec.id], actor=actor)
    [info] = await store.keys([spec.id])
    return info


def _fields(info: KeyInfo) -> dict[str, Any]:
    spec = info.spec
    return {
        "id": spec.id,
        "name": spec.name,
        "scopes": spec.scopes,
        "queues": spec.queues,
        "tenant": spec.tenant,
        "created_at": info.created_at,
        "expires_at": info.expires_at,
        "last_used_at": info.last_used_at,
        "revoked_at": info.revoked_at,
    }
