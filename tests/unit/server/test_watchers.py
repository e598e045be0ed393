"""However many watch, and with however many keys: the store is asked as if one did."""

from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from stoker.app.stoker import Stoker
from stoker.core.job import JobRecord
from stoker.core.store import Store
from stoker.server.feed import Feed
from stoker.server.keyring import FRESH
from stoker.server.live import Streams
from stoker.server.watch import Watch
from stoker.stores.memory import MemoryStore
from stoker.testing import FakeClock, wait_until
from tests.unit.server.asking import Asking
from tests.unit.server.keyed import asking_with, log_in, new_key
from tests.unit.server.listening import listening

SOON = 0.02
LOOKS = 6


class Counted:
    """A store that writes down what it is asked, look by look; each look makes all keys old."""

    def __init__(self, inner: Store, clock: FakeClock) -> None:
        self.inner = inner
        self.clock = clock
        self.looks: list[Counter[str]] = []
        self.key_looks = 0

    async def get(self, ids: Sequence[str]) -> list[JobRecord | None]:
        self.looks.append(Counter())
        self.clock.advance(FRESH)
        return await self.inner.get(ids)

    def __getattr__(self, verb: str) -> Any:
        found = getattr(self.inner, verb)
        if verb == "info":
            return found

        async def counted(*args: Any, **named: Any) -> Any:
            if verb == "keys":
                # Whoever comes costs a look at his key, once.
                self.key_looks += len(self.looks) > 1
            elif self.looks:
                self.looks[-1][verb] += 1
            return await found(*args, **named)

        return counted


async def asked_by(app: Stoker, ask: Asking, clock: FakeClock, streams: int) -> Counted:
    """Return what the store was asked while so many log-ins watched for some looks."""
    cookies = []
    for _ in range(streams):
        key = await new_key(app, f"k{app.clock.new_nonce()}", "read")
        async with asking_with(ask, None) as page:
            await log_in(page, key)
            cookies.append(f"stoker_login={page.http.cookies['stoker_login']}")
    assert isinstance(app._store, MemoryStore)
    inner, counted = app._store, Counted(app._store, clock)
    watch = ask.api.state.watch = Watch(app, every=SOON)
    ask.api.state.streams = Streams()
    ask.api.state.feed = Feed(watch, ask.api.state.streams, birth="abc")
    app._store = counted
    async with AsyncExitStack() as stack:
        listeners = [
            await stack.enter_async_context(listening(ask, "/api/v1/live", cookie=cookie))
            for cookie in cookies
        ]
        await wait_until(
            lambda: all(len(one.events) >= LOOKS for one in listeners), "frames for all", timeout=30
        )
    app._store = inner
    assert all(one.names[:LOOKS] == ["overview"] * LOOKS for one in listeners)
    return counted


async def test_fifty_streams_ask_the_store_no_more_than_one(
    app: Stoker, ask: Asking, fake_clock: FakeClock
) -> None:
    one = await asked_by(app, ask, fake_clock, 1)
    fifty = await asked_by(app, ask, fake_clock, 50)
    # The last look may have been cut off; the first one asks for what is seldom asked.
    assert one.looks[1:LOOKS] == fifty.looks[1:LOOKS]
    assert fifty.looks[1] == {"counts": 1, "queues": 1, "sessions": 1}
    # All hundred keys and log-ins in one question, once they are a second old.
    assert 0 < fifty.key_looks <= len(fifty.looks) + 1


async def test_a_key_that_is_revoked_elsewhere_ends_its_stream_and_no_other(
    app: Stoker, ask: Asking, fake_clock: FakeClock
) -> None:
    gone, kept = await new_key(app, "gone", "read"), await new_key(app, "kept", "read")
    watch = ask.api.state.watch = Watch(app, every=SOON)
    ask.api.state.feed = Feed(watch, ask.api.state.streams, birth="abc")
    cookies = []
    for key in (gone, kept):
        async with asking_with(ask, None) as page:
            await log_in(page, key)
            cookies.append(f"stoker_login={page.http.cookies['stoker_login']}")
    async with (
        listening(ask, "/api/v1/live", cookie=cookies[0]) as one,
        listening(ask, "/api/v1/live", cookie=cookies[1]) as other,
    ):
        await wait_until(lambda: one.events and other.events, "a frame for both")
        await app.arun(lambda store: store.put_keys(revoke=[gone.id]))
        fake_clock.advance(FRESH)
        await wait_until(lambda: one.is_complete, "the end of one")
        seen = len(other.events)
        await wait_until(lambda: len(other.events) > seen, "another frame for the other")
    assert one.events[-1][1]["error"]["code"] == "unauthenticated"
    assert set(other.names) == {"overview"}
