"""API keys: who may ask a server, and for what.

A key is shown once, when it is made. What is kept is its SHA-256: 256 random bits cannot be
guessed from it, and need no slow hash. Its text form is ``stk_``, an id of 16 hexadecimal digits,
``_``, and a secret of 64: recognisable to scanners, and found by its id without a search.

Logging in to the page makes another key from one, a *log-in*: it begins with ``stl_``, can do what
its key can do, lives for some hours, and goes when its key goes.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

import msgspec

from stoker.core.clock import Clock
from stoker.core.errors import InvalidOption
from stoker.core.task import check_name

KEY_PREFIX = "stk"
LOGIN_PREFIX = "stl"
MAX_TENANT = 500
_TEXT = re.compile(rf"({KEY_PREFIX}|{LOGIN_PREFIX})_([0-9a-f]{{16}})_[0-9a-f]{{64}}")
_NOBODY = hashlib.sha256(b"").hexdigest()


class Scope(StrEnum):
    """What a key may do."""

    READ = "read"
    """See jobs, workflows, schedules, queues, workers, events and figures."""
    SUBMIT = "submit"
    """Submit jobs and workflows."""
    OPERATE = "operate"
    """Cancel, retry, delete, pause, schedule; and ``read``."""
    ADMIN = "admin"
    """Everything: keys as well."""
    WORKER = "worker"
    """Run jobs through the gateway."""


_INCLUDED = {
    Scope.OPERATE: frozenset({Scope.OPERATE, Scope.READ}),
    Scope.ADMIN: frozenset(Scope),
}


class KeySpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An API key as it is put into a store: everything but its secret.

    A field that a reader does not know may narrow what he would widen: refused.
    """

    id: str
    name: str
    """For people, and for the audit trail."""
    digest: str
    """SHA-256 of the whole text, in hexadecimal digits."""
    scopes: tuple[Scope, ...]
    queues: tuple[str, ...] = ()
    """The only queues it may touch; empty: all."""
    tenant: str | None = None
    """The only tenant whose jobs it may touch; None: all."""
    expires_in: float | None = None
    """Seconds for which it is valid; None: until it is revoked."""
    login_of: str | None = None
    """The id of the key that logged in, if this is a log-in."""


class KeyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as the store keeps it."""

    spec: KeySpec
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_valid(self, now: float) -> bool:
        """Whether it opens anything at a moment, in seconds since 1970."""
        in_time = self.expires_at is None or now < self.expires_at.timestamp()
        return in_time and self.revoked_at is None


def included(scopes: Iterable[Scope]) -> frozenset[Scope]:
    """Return scopes with those that they bring along."""
    found: set[Scope] = set()
    for scope in scopes:
        found |= _INCLUDED.get(scope, {scope})
    return frozenset(found)


def make_key(
    clock: Clock,
    *,
    name: str,
    scopes: Iterable[str],
    queues: Iterable[str] = (),
    tenant: str | None = None,
    expires_in: float | None = None,
) -> tuple[KeySpec, str]:
    """Make a new key; return what a store keeps of it, and its text, which nobody keeps.

    Args:
        clock: Chance.
        name: At most 200 letters, digits and ``_.:/-``.
        scopes: At least one of `Scope`.
        queues: The only queues it may touch.
        tenant: The only tenant it may touch.
        expires_in: Seconds for which it is valid.

    Raises:
        InvalidOption: One of them means nothing, or they contradict each other.
    """
    check_name(name, what="key")
    wanted = _scopes(scopes)
    lanes = tuple(dict.fromkeys(queues))
    for queue in lanes:
        check_name(queue, what="queue")
    if tenant is not None and (not 0 < len(tenant) <= MAX_TENANT or "\0" in tenant):
        raise InvalidOption(
            f"the tenant is {tenant[:80]!r}; expected a text of 1 to {MAX_TENANT} characters"
        )
    _check_bounds(wanted, lanes, tenant)
    if expires_in is not None and expires_in <= 0:
        raise InvalidOption(f"the key would be valid for {expires_in:g} seconds; expected more")
    key_id, text = _new_text(clock, KEY_PREFIX)
    spec = KeySpec(
        id=key_id,
        name=name,
        digest=digest_of(text),
        scopes=wanted,
        queues=lanes,
        tenant=tenant,
        expires_in=expires_in,
    )
    return spec, text


def make_login(clock: Clock, key: KeySpec, *, expires_in: float) -> tuple[KeySpec, str]:
    """Make a log-in with a key; return what a store keeps of it, and its text."""
    login_id, text = _new_text(clock, LOGIN_PREFIX)
    spec = msgspec.structs.replace(
        key, id=login_id, digest=digest_of(text), expires_in=expires_in, login_of=key.id
    )
    return spec, text


def id_of(text: str, *, prefix: str = KEY_PREFIX) -> str | None:
    """Return the id inside a key's text; None if it has not the form of one."""
    found = _TEXT.fullmatch(text)
    return found[2] if found is not None and found[1] == prefix else None


def digest_of(text: str) -> str:
    """Return what is kept of a key's text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def proves(text: str, key: KeyInfo | None) -> bool:
    """Whether a text is that of a key, in a time that tells nothing of either."""
    expected = _NOBODY if key is None else key.spec.digest
    return hmac.compare_digest(digest_of(text), expected) and key is not None


def _new_text(clock: Clock, prefix: str) -> tuple[str, str]:
    key_id = clock.new_nonce()[:16]
    return key_id, f"{prefix}_{key_id}_{clock.new_nonce()}{clock.new_nonce()}"


def _scopes(given: Iterable[str]) -> tuple[Scope, ...]:
    found = []
    for text in dict.fromkeys(given):
        try:
            found.append(Scope(text))
        except ValueError:
            raise InvalidOption(
                f"{str(text)[:100]!r} is no scope; expected {', '.join(Scope)}"
            ) from None
    if not found:
        raise InvalidOption(f"a key needs at least one scope of {', '.join(Scope)}")
    return tuple(found)


def _check_bounds(scopes: tuple[Scope, ...], queues: tuple[str, ...], tenant: str | None) -> None:
    if Scope.ADMIN in scopes and (queues or tenant is not None):
        raise InvalidOption(
            "a key with the scope admin has no bounds; give it no queues and no tenant, or "
            "operate instead"
        )
    if Scope.WORKER in scopes and tenant is not None:
        raise InvalidOption(
            "a worker takes whatever its queues hold, of every tenant; bind the key to queues "
            "instead of a tenant"
        )
