"""The API keys of the store, remembered for a second.

Requests with keys cost about one look at the store a second, however many there are of both: the
look that one key needs is a look at all that are in use. What this server itself changes it knows
at once; a key that was revoked elsewhere opens nothing a second later.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice

import msgspec

from stoker.app.stoker import Run
from stoker.core.clock import Clock
from stoker.core.errors import BackendError
from stoker.core.keys import KEY_PREFIX, KeyInfo, id_of, proves
from stoker.core.records import MAX_PAGE
from stoker.core.store import Store

FRESH = 1.0
"""Seconds for which a look at a key is believed."""
USED_EVERY = 60.0
"""Seconds between two notes that a key was used."""
KEPT = 10_000
"""Keys that are remembered; the one unused for longest goes first."""
IN_USE = 2.0
"""Seconds since it was last asked for, after which a key is not in use any more."""
Look = asyncio.Task[dict[str, KeyInfo]]
"""A look at some keys: those that are there, by their ids."""


class _Seen(msgspec.Struct, frozen=True):
    """A key that was looked at."""

    looked_at: float
    asked_at: float
    key: KeyInfo


class Keyring:
    """Knows which keys are valid."""

    def __init__(self, run: Run, *, clock: Clock) -> None:
        """Begin without knowing any.

        Args:
            run: Runs work on the store.
            clock: Time.
        """
        self._run = run
        self._clock = clock
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._looks: dict[str, Look] = {}
        self._used: dict[str, float] = {}
        self._are_any = False
        self._looked = float("-inf")

    async def prove(self, text: str, *, prefix: str = KEY_PREFIX) -> KeyInfo | None:
        """Return the valid key, or log-in, whose text this is; None if there is none."""
        key_id = id_of(text, prefix=prefix)
        if key_id is None:
            return None
        key = await self._find(key_id)
        if not proves(text, key) or key is None or not await self._is_valid(key):
            return None
        await self._note_use(key.spec.login_of or key.spec.id)
        return key

    def remembers(self, text: str, *, prefix: str = KEY_PREFIX) -> bool:
        """Whether a text is that of a key that was seen of late, without a look at the store."""
        known = self._seen.get(id_of(text, prefix=prefix) or "")
        return proves(text, None if known is None else known.key)

    async def is_valid(self, key_id: str) -> bool:
        """Whether a key, or a log-in and its key, may still be used."""
        key = await self._find(key_id)
        return key is not None and await self._is_valid(key)

    async def are_any(self) -> bool:
        """Whether the store has keys, valid or not. Once it had one, that is never asked again."""
        now = self._clock.monotonic()
        if not self._are_any and now - self._looked >= FRESH:
            self._are_any = bool(await self._run(_keys))
            self._looked = now
        return self._are_any

    def forget(self) -> None:
        """Look anew at the next request: keys were made or revoked here."""
        self._seen.clear()
        # What is being looked up may be from before the change: nobody keeps it.
        self._looks.clear()
        self._looked = float("-inf")

    async def _is_valid(self, key: KeyInfo) -> bool:
        if not key.is_valid(self._clock.now()):
            return False
        return key.spec.login_of is None or await self.is_valid(key.spec.login_of)

    async def _find(self, key_id: str) -> KeyInfo | None:
        now = self._clock.monotonic()
        known = self._seen.get(key_id)
        if known is not None:
            self._seen[key_id] = msgspec.structs.replace(known, asked_at=now)
            self._seen.move_to_end(key_id)
            if now - known.looked_at < FRESH:
                return known.key
        look = self._looks.get(key_id) or self._begin_look(key_id, now)
        return (await asyncio.shield(look)).get(key_id)

    def _begin_look(self, key_id: str, now: float) -> Look:
        """Look at a key, and at all others that are in use.

        One look for all who ask meanwhile, whichever key they have; none ends it for the others.
        """
        ids = [key_id, *islice(self._in_use(key_id, now), MAX_PAGE - 1)]
        look = asyncio.create_task(self._look(ids, now))  # noqa: TID251 - whoever asks awaits it
        self._looks.update(dict.fromkeys(ids, look))
        look.add_done_callback(_hear)
        return look

    def _in_use(self, but: str, now: float) -> Iterator[str]:
        for key_id, known in reversed(self._seen.items()):
            if now - known.asked_at > IN_USE:
                return
            if key_id != but and key_id not in self._looks and known.looked_at < now:
                yield key_id

    async def _look(self, ids: list[str], now: float) -> dict[str, KeyInfo]:
        this = asyncio.current_task()
        try:
            keys: list[KeyInfo] = await self._run(lambda store: store.keys(ids))
            found = {key.spec.id: key for key in keys}
            for key_id in ids:
                if self._looks.get(key_id) is this:
                    self._keep(key_id, now, found.get(key_id))
            return found
        finally:
            for key_id in ids:
                if self._looks.get(key_id) is this:
                    del self._looks[key_id]

    def _keep(self, key_id: str, now: float, found: KeyInfo | None) -> None:
        if found is None:
            self._seen.pop(key_id, None)
            return
        before = self._seen.get(key_id)
        asked_at = now if before is None else before.asked_at
        self._seen[key_id] = _Seen(looked_at=now, asked_at=asked_at, key=found)
        if len(self._seen) > KEPT:
            forgotten, _ = self._seen.popitem(last=False)
            self._used.pop(forgotten, None)

    async def _note_use(self, key_id: str) -> None:
        now = self._clock.monotonic()
        if now - self._used.get(key_id, float("-inf")) < USED_EVERY:
            return
        self._used[key_id] = now
        # A store that cannot write now still answers who asks.
        with contextlib.suppress(BackendError):
            await self._run(lambda store: store.put_keys(used=[key_id]))


def _hear(look: Look) -> None:
    """Take the error of a look that nobody waits for any more: whoever asks next looks again."""
    if not look.cancelled():
        look.exception()


async def _keys(store: Store) -> list[KeyInfo]:
    return await store.keys()
