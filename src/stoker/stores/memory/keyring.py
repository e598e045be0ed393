"""API keys: made, revoked, used."""

from collections.abc import Sequence

import msgspec

from stoker.core.duration import when
from stoker.core.events import Kind
from stoker.core.keys import KeyInfo, KeySpec
from stoker.stores.memory.world import World


def put_keys(
    world: World, specs: Sequence[KeySpec], revoke: Sequence[str], used: Sequence[str], actor: str
) -> list[str]:
    """See `Store.put_keys`."""
    _forget_logins(world)
    done = [spec.id for spec in specs if _make(world, spec, actor)]
    done += [key_id for key_id in dict.fromkeys(revoke) if _revoke(world, key_id, actor)]
    for key_id in used:
        if key_id in world.keys:
            _change(world, key_id, last_used_at=when(world.now))
    return done


def keys(world: World, ids: Sequence[str]) -> list[KeyInfo]:
    """See `Store.keys`."""
    found = [
        info
        for key_id, info in world.keys.items()
        if (key_id in ids if ids else info.spec.login_of is None)
    ]
    return sorted(found, key=lambda info: (info.created_at, info.spec.id))


def _make(world: World, spec: KeySpec, actor: str) -> bool:
    if spec.id in world.keys:
        return False
    expires_at = None if spec.expires_in is None else when(world.now + spec.expires_in)
    world.keys[spec.id] = KeyInfo(spec=spec, created_at=when(world.now), expires_at=expires_at)
    kind = Kind.KEY_CREATED if spec.login_of is None else Kind.LOGGED_IN
    world.log(kind, actor, key=spec.login_of or spec.id, name=spec.name)
    return True


def _revoke(world: World, key_id: str, actor: str) -> bool:
    info = world.keys.get(key_id)
    if info is None or info.revoked_at is not None:
        return False
    if info.spec.login_of is not None:
        del world.keys[key_id]
        world.log(Kind.LOGGED_OUT, actor, key=info.spec.login_of, name=info.spec.name)
        return True
    _change(world, key_id, revoked_at=when(world.now))
    world.log(Kind.KEY_REVOKED, actor, key=key_id, name=info.spec.name)
    for login in [i for i, known in world.keys.items() if known.spec.login_of == key_id]:
        del world.keys[login]
    return True


def _change(world: World, key_id: str, **moments: object) -> None:
    world.keys[key_id] = msgspec.structs.replace(world.keys[key_id], **moments)


def _forget_logins(world: World) -> None:
    for key_id, info in list(world.keys.items()):
        if info.spec.login_of is not None and not info.is_valid(world.now):
            del world.keys[key_id]
