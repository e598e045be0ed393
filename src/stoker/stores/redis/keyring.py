"""API keys to the arguments of ``put_keys``, and back."""

from collections.abc import Sequence
from typing import Any

import msgspec

from stoker.core.duration import when
from stoker.core.keys import KeyInfo, KeySpec
from stoker.stores.redis.records import pack, unpack

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(KeySpec).decode


def put_arguments(
    keys: Sequence[KeySpec], revoke: Sequence[str], used: Sequence[str], actor: str
) -> bytes:
    """Return what the function takes."""
    rows = [
        (key.id, key.name, key.login_of or False, _encode(key).decode(), key.expires_in or False)
        for key in keys
    ]
    return pack((actor, rows, list(dict.fromkeys(revoke)), list(used)))


def key_of(packed: bytes) -> KeyInfo:
    """Return a key as the store keeps it."""
    text, _, _, created, expires, used, revoked = unpack(packed)
    return KeyInfo(
        spec=_decode(text),
        created_at=when(created),
        expires_at=_moment(expires),
        last_used_at=_moment(used),
        revoked_at=_moment(revoked),
    )


def _moment(value: Any) -> Any:
    return None if value is False else when(value)
