"""API keys: made, revoked, used."""

from collections.abc import Sequence

import apsw
import msgspec

from stoker.core.duration import optional_when, when
from stoker.core.events import Kind
from stoker.core.keys import KeyInfo, KeySpec
from stoker.stores.sqlite.transaction import Transaction, to_json

_MAKE = """
    INSERT INTO keys (id, login_of, spec, created_at, expires_at)
    VALUES (?1, ?2, ?3, ?4, ?4 + ?5) ON CONFLICT DO NOTHING"""
_FIND = "SELECT spec FROM keys WHERE id = ? AND revoked_at IS NULL"
_REVOKE = "UPDATE keys SET revoked_at = ? WHERE id = ?"
_DELETE = "DELETE FROM keys WHERE id = ?"
_FORGET_LOGINS = "DELETE FROM keys WHERE login_of = ?"
_FORGET_ENDED = "DELETE FROM keys WHERE login_of IS NOT NULL AND expires_at <= ?"
_USE = "UPDATE keys SET last_used_at = ? WHERE id IN (SELECT value FROM json_each(?))"
_SHOW = """
    SELECT spec, created_at, expires_at, last_used_at, revoked_at FROM keys
    WHERE {which} ORDER BY created_at, id"""
_SOME = _SHOW.replace("{which}", "id IN (SELECT value FROM json_each(?))")
_ALL = _SHOW.replace("{which}", "login_of IS NULL")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(KeySpec).decode


def put_keys(
    tx: Transaction,
    specs: Sequence[KeySpec],
    revoke: Sequence[str],
    used: Sequence[str],
    actor: str,
) -> list[str]:
    """See `Store.put_keys`."""
    tx.run(_FORGET_ENDED, tx.now)
    done = [spec.id for spec in specs if _make(tx, spec, actor)]
    done += [key_id for key_id in dict.fromkeys(revoke) if _revoke(tx, key_id, actor)]
    if used:
        tx.run(_USE, tx.now, to_json(list(used)))
    return done


def keys(db: apsw.Connection, ids: Sequence[str]) -> list[KeyInfo]:
    """See `Store.keys`."""
    rows = db.execute(_SOME, (to_json(list(ids)),)) if ids else db.execute(_ALL)
    return [
        KeyInfo(
            spec=_decode(spec),
            created_at=when(created_at),
            expires_at=optional_when(expires_at),
            last_used_at=optional_when(last_used_at),
            revoked_at=optional_when(revoked_at),
        )
        for spec, created_at, expires_at, last_used_at, revoked_at in rows
    ]


def _make(tx: Transaction, spec: KeySpec, actor: str) -> bool:
    text = _encode(spec).decode()
    if not tx.run(_MAKE, spec.id, spec.login_of, text, tx.now, spec.expires_in):
        return False
    kind = Kind.KEY_CREATED if spec.login_of is None else Kind.LOGGED_IN
    tx.log(kind, actor, key=spec.login_of or spec.id, name=spec.name)
    return True


def _revoke(tx: Transaction, key_id: str, actor: str) -> bool:
    text = tx.value(_FIND, key_id)
    if text is None:
        return False
    spec = _decode(text)
    if spec.login_of is not None:
        tx.run(_DELETE, key_id)
        tx.log(Kind.LOGGED_OUT, actor, key=spec.login_of, name=spec.name)
        return True
    tx.run(_REVOKE, tx.now, key_id)
    tx.run(_FORGET_LOGINS, key_id)
    tx.log(Kind.KEY_REVOKED, actor, key=key_id, name=spec.name)
    return True
