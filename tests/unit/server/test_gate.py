"""Who is let in: keys in headers, nobody without one, and how often (S6, S7, S12, S16)."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from stoker.app.stoker import Stoker
from stoker.core.errors import Unavailable
from stoker.core.keys import digest_of
from stoker.core.store import Store
from stoker.server import gate as gates
from stoker.server.access import Declared, Need, check_declared
from stoker.server.gate import address_of
from stoker.server.gateway.desk import FAILURES
from stoker.server.http import make_server_app
from stoker.server.keyring import FRESH, USED_EVERY, Keyring
from stoker.server.limits import network_of
from stoker.settings import ServerSettings, Settings
from stoker.testing import FakeClock
from tests.unit.server.asking import Answer, Asking
from tests.unit.server.keyed import asking_with, new_key

T = TypeVar("T")
SCOPES = ("read", "submit", "operate", "admin", "worker")
BROUGHT = {
    "read": {"read"},
    "submit": {"submit"},
    "operate": {"operate", "read"},
    "worker": {"worker"},
    "admin": set(SCOPES),
}
STREAMS = {"/api/v1/live"}
"""Routes whose answer does not end by itself; who may not see them is answered at once."""


def settings(**server: object) -> Settings:
    return Settings(store="memory://", server=ServerSettings(**server))  # type: ignore[arg-type]


async def drive(asking: Asking, route: Declared) -> Answer:
    path = route.path.replace("{path}", "hello")
    for name in ("job_id", "name", "worker", "workflow_id", "key"):
        path = path.replace(f"{{{name}}}", "none")
    method = "POST" if route.method == "*" else route.method
    # As it stands: pages of the dashboard and routes of the API have the same words in them.
    given: dict[str, Any] = {} if method == "GET" else {"json": {}}
    return Answer(await asking.http.request(method, path, **given))


async def test_without_a_key_everybody_on_this_machine_is_let_in_until_there_is_one(
    app: Stoker, ask: Asking, fake_clock: FakeClock
) -> None:
    (await ask.get("/jobs")).ok()
    await new_key(app, "first", "read")
    fake_clock.advance(FRESH)
    refused = await ask.get("/jobs")
    assert "Authorization: Bearer" in refused.refused(401, "unauthenticated")["message"]
    assert refused.headers["www-authenticate"] == "Bearer"
    (await ask.get("/health")).ok()


async def test_once_there_was_a_key_nobody_is_let_in_although_it_was_revoked(
    app: Stoker, ask: Asking, fake_clock: FakeClock
) -> None:
    key = await new_key(app, "first", "read")
    await app.arun(lambda store: store.put_keys(revoke=[key.id]))
    fake_clock.advance(FRESH)
    (await ask.get("/jobs")).refused(401, "unauthenticated")


@pytest.mark.parametrize(
    ("require_key", "where", "keys", "status"),
    [
        ("auto", "here", 0, 200),
        ("auto", "here", 1, 401),
        ("auto", "elsewhere", 0, 401),
        ("always", "here", 0, 401),
        ("never", "here", 1, 200),
        ("never", "elsewhere", 1, 401),
    ],
)
async def test_the_setting_says_whether_this_machine_needs_a_key(
    require_key: str, where: str, keys: int, status: int
) -> None:
    async with Stoker(settings=settings(require_key=require_key)) as app:
        for number in range(keys):
            await new_key(app, f"key{number}", "read")
        asking = Asking(make_server_app(app, anonymous=where == "here"))
        assert (await asking.get("/jobs")).status == status


async def test_a_key_is_shown_in_either_header_and_one_that_is_wrong_is_never_overlooked(
    app: Stoker, ask: Asking
) -> None:
    key = await new_key(app, "reader", "read")
    for headers in ({"authorization": f"bearer {key.key}"}, {"x-api-key": key.key}):
        (await ask.raw("GET", "/jobs", headers=headers)).ok()
    wrong = key.key[:-1] + ("0" if key.key[-1] != "0" else "1")
    for shown in (wrong, key.id, digest_of(key.key), "stk_", "x", key.key + " x"):
        answer = await ask.raw("GET", "/jobs", headers={"x-api-key": shown})
        answer.refused(401, "unauthenticated")


async def test_every_route_is_for_the_scopes_that_it_declares_and_for_no_others(
    app: Stoker, ask: Asking
) -> None:
    keys = {scope: await new_key(app, scope, scope) for scope in SCOPES}
    routes = check_declared(make_server_app(app))
    assert len(routes) > 50
    callers: list[tuple[str | None, Any]] = [*keys.items(), (None, None)]
    for scope, key in callers:
        # A new application each time: none of its buckets is empty.
        async with asking_with(Asking(make_server_app(app)), key) as asking:
            for route in routes:
                allowed = route.need is Need.OPEN or (
                    scope is not None
                    and (route.need is Need.KNOWN or str(route.need) in BROUGHT[scope])
                )
                if allowed and route.path in STREAMS:
                    continue
                answer = await drive(asking, route)
                place = (scope, route.method, route.path, answer.text[:200])
                if scope is None and not allowed:
                    assert answer.status == 401, place
                elif not allowed:
                    assert answer.status == 403, place
                else:
                    wrong_body = route.path == "/login"
                    assert answer.status != 403, place
                    assert answer.status != 401 or wrong_body, place
                    assert answer.status < 500, place


async def test_a_key_that_lacks_the_scope_is_told_which(app: Stoker, ask: Asking) -> None:
    async with asking_with(ask, await new_key(app, "reader", "read")) as reader:
        error = (await reader.post("/queues/default/pause")).refused(403, "forbidden")
        assert "'reader' may do read; this takes the scope operate" in error["message"]
        assert error["details"] == {"scope": "operate"}


async def test_a_revoked_or_expired_key_opens_nothing(
    app: Stoker, ask: Asking, fake_clock: FakeClock
) -> None:
    gone = await new_key(app, "gone", "read")
    brief = await new_key(app, "brief", "read", expires_in=60.0)
    async with asking_with(ask, gone) as one, asking_with(ask, brief) as two:
        (await one.get("/jobs")).ok()
        (await two.get("/jobs")).ok()
        await app.arun(lambda store: store.put_keys(revoke=[gone.id]))
        fake_clock.advance(FRESH)
        (await one.get("/jobs")).refused(401, "unauthenticated")
        (await two.get("/jobs")).ok()
        fake_clock.advance(60)
        (await two.get("/jobs")).refused(401, "unauthenticated")


async def test_a_key_revoked_over_http_opens_nothing_from_then_on(app: Stoker, ask: Asking) -> None:
    admin, other = await new_key(app, "root", "admin"), await new_key(app, "other", "read")
    async with asking_with(ask, admin) as root, asking_with(ask, other) as one:
        (await one.get("/jobs")).ok()
        (await root.delete(f"/api-keys/{other.id}")).ok()
        (await one.get("/jobs")).refused(401, "unauthenticated")


async def test_use_is_noted_once_a_minute_and_not_with_each_request(
    app: Stoker, ask: Asking, fake_clock: FakeClock
) -> None:
    key = await new_key(app, "reader", "read")

    async def used() -> float | None:
        [info] = await app.arun(lambda store: store.keys([key.id]))
        return None if info.last_used_at is None else info.last_used_at.timestamp()

    async with asking_with(ask, key) as reader:
        assert await used() is None
        began = fake_clock.now()
        (await reader.get("/jobs")).ok()
        assert await used() == pytest.approx(began)
        fake_clock.advance(USED_EVERY - 1)
        (await reader.get("/jobs")).ok()
        assert await used() == pytest.approx(began)
        fake_clock.advance(1)
        (await reader.get("/jobs")).ok()
        assert await used() == pytest.approx(fake_clock.now())


async def test_wrong_keys_slow_their_address_down_and_nobody_who_was_seen(
    app: Stoker, ask: Asking, fake_clock: FakeClock
) -> None:
    key = await new_key(app, "reader", "read")
    async with asking_with(ask, key) as reader, asking_with(ask, "stk_wrong") as guesser:
        (await reader.get("/jobs")).ok()
        for _ in range(FAILURES):
            (await guesser.get("/jobs")).refused(401, "unauthenticated")
        refused = await guesser.get("/jobs")
        refused.refused(429, "rate_limited")
        assert refused.headers["retry-after"] == "2"
        (await reader.get("/jobs")).ok()
        fake_clock.advance(2)
        (await guesser.get("/jobs")).refused(401, "unauthenticated")
        (await guesser.get("/jobs")).refused(429, "rate_limited")


async def test_a_key_may_ask_so_often_and_no_other_key_pays_for_it(fake_clock: FakeClock) -> None:
    async with Stoker(settings=settings(key_rate=5), clock=fake_clock) as app:
        ask = Asking(make_server_app(app))
        one, two = await new_key(app, "one", "read"), await new_key(app, "two", "read")
        async with asking_with(ask, one) as busy, asking_with(ask, two) as calm:
            for _ in range(10):
                (await busy.get("/jobs")).ok()
            refused = await busy.get("/jobs")
            refused.refused(429, "rate_limited")
            assert refused.headers["retry-after"] == "1"
            (await calm.get("/jobs")).ok()
            fake_clock.advance(1)
            (await busy.get("/jobs")).ok()


async def test_an_address_without_a_key_may_ask_so_often(fake_clock: FakeClock) -> None:
    async with Stoker(settings=settings(address_rate=5), clock=fake_clock) as app:
        ask = Asking(make_server_app(app))
        for _ in range(20):
            # On this machine, where nobody has to show a key, nobody counts.
            (await ask.get("/health")).ok()
        await new_key(app, "one", "read")
        fake_clock.advance(FRESH)
        for _ in range(10):
            (await ask.get("/health")).ok()
        (await ask.get("/health")).refused(429, "rate_limited")
        (await ask.get("/jobs")).refused(429, "rate_limited")


def test_an_owner_of_a_whole_network_is_one_address() -> None:
    assert network_of("192.0.2.7") == "192.0.2.7"
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2") == "2001:db8::/64"
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("testclient") == "testclient"
    assert address_of.__module__ == gates.__name__


async def test_the_trail_names_the_key(app: Stoker, ask: Asking) -> None:
    async with asking_with(ask, await new_key(app, "ops", "operate", "submit")) as ops:
        job = (await ops.post("/jobs", {"task": "shout", "payload": {"text": "x"}})).ok(201)
        await ops.post(f"/jobs/{job['id']}/cancel")
        [event] = (await ops.get("/events", kind="job_cancelled")).ok()["events"]
        assert event["actor"] == "key:ops"


async def test_a_client_of_the_configuration_is_known_to_both_doors(fake_clock: FakeClock) -> None:
    from stoker.settings import GatewaySettings, Secret

    token = "a token of thirty-two characters"
    gateway = GatewaySettings(token=Secret(token), worker_token=Secret(token + "!"))
    configured = Settings(store="memory://", gateway=gateway)
    async with Stoker(settings=configured, clock=fake_clock) as app:
        ask = Asking(make_server_app(app, anonymous=False))
        async with asking_with(ask, token) as full, asking_with(ask, token + "!") as worker:
            assert (await full.get("/me")).ok()["name"] == "full"
            (await full.get("/jobs")).ok()
            (await worker.get("/jobs")).refused(403, "forbidden")
            hello = {"protocol": 1, "max_frame": 1_000_000}
            assert (await worker.send("POST", "/gateway/v1/hello", hello)).status == 200


async def test_no_key_stands_in_a_log_line_or_an_answer(
    app: Stoker, ask: Asking, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = await new_key(app, "root", "admin")
    texts = []
    async with asking_with(ask, key) as root, asking_with(ask, key.key + "x") as wrong:
        for asking in (root, wrong):
            for path in ("/jobs", "/api-keys", "/me", "/events", "/metrics", "/nowhere", "/docs"):
                answer = await asking.get(path)
                texts += [answer.text, str(answer.headers)]
    secret = key.key.rpartition("_")[2]
    assert not any(secret in text for text in [*texts, caplog.text])


class SlowKeys:
    """Runs work on a store; looks at keys wait until they may."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.looks = 0
        self.looked = asyncio.Event()
        self.may = asyncio.Event()

    async def run(self, work: Callable[[Store], Awaitable[T]]) -> T:
        self.looks += 1
        found = await work(self.store)
        self.looked.set()
        await self.may.wait()
        return found


async def test_many_who_ask_with_one_key_cost_one_look_at_the_store(
    app: Stoker, fake_clock: FakeClock
) -> None:
    key = await new_key(app, "busy", "read")
    slow = SlowKeys(await app.arun(_same))
    ring = Keyring(slow.run, clock=fake_clock)
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(ring.is_valid(key.id)) for _ in range(50)]
        await asyncio.sleep(0)
        asked[0].cancel()
        slow.may.set()
    assert asked[0].cancelled()
    assert all(one.result() for one in asked[1:])
    assert slow.looks == 1


async def test_a_look_from_before_a_revocation_is_not_believed_after_it(
    app: Stoker, fake_clock: FakeClock
) -> None:
    key = await new_key(app, "gone", "read")
    slow = SlowKeys(await app.arun(_same))
    ring = Keyring(slow.run, clock=fake_clock)
    async with asyncio.TaskGroup() as group:
        early = group.create_task(ring.is_valid(key.id))
        await slow.looked.wait()
        await app.arun(lambda store: store.put_keys(revoke=[key.id]))
        ring.forget()
        slow.may.set()
    assert early.result()
    assert not await ring.is_valid(key.id)


async def test_a_look_that_failed_is_taken_again(app: Stoker, fake_clock: FakeClock) -> None:
    key = await new_key(app, "tried", "read")
    store = await app.arun(_same)
    troubles = [Unavailable("the store is away")]

    async def run(work: Callable[[Store], Awaitable[T]]) -> T:
        if troubles:
            raise troubles.pop()
        return await work(store)

    ring = Keyring(run, clock=fake_clock)
    with pytest.raises(Unavailable):
        await ring.is_valid(key.id)
    assert await ring.is_valid(key.id)


async def _same(store: Store) -> Store:
    return store
