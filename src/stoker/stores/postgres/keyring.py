"""API keys: how they are sent, kept and shown."""

from collections.abc import Sequence
from typing import Any

import msgspec

from stoker.core.duration import optional_when, when
from stoker.core.keys import KeyInfo, KeySpec
from stoker.stores.postgres.phrases import clean, optional_clean

PUT = "SELECT @put_keys($1, $2, $3, $4, $5, $6, $7, $8, $9)"
SHOW = """
    SELECT spec, created_at, expires_at, last_used_at, revoked_at FROM @keys
    WHERE CASE WHEN $1 THEN login_of IS NULL ELSE id = ANY ($2::text[]) END
    ORDER BY created_at, id"""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(KeySpec).decode


def sent(
    now: float | None,
    actor: str,
    specs: Sequence[KeySpec],
    revoke: Sequence[str],
    used: Sequence[str],
) -> tuple[Any, ...]:
    """Return the arguments of the function ``put_keys``."""
    return (
        now,
        clean(actor),
        [clean(spec.id) for spec in specs],
        [clean(spec.name) for spec in specs],
        [optional_clean(spec.login_of) for spec in specs],
        [_encode(spec).decode() for spec in specs],
        [None if spec.expires_in is None else float(spec.expires_in) for spec in specs],
        [clean(key_id) for key_id in dict.fromkeys(revoke)],
        [clean(key_id) for key_id in used],
    )


def key(row: Sequence[Any]) -> KeyInfo:
    """Return a key from a row of `SHOW`."""
    spec, created_at, expires_at, last_used_at, revoked_at = row
    return KeyInfo(
        spec=_decode(spec),
        created_at=when(created_at),
        expires_at=optional_when(expires_at),
        last_used_at=optional_when(last_used_at),
        revoked_at=optional_when(revoked_at),
    )
