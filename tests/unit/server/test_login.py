"""Logging in to the page: the cookie, the token of each change, and how it ends (S12)."""

import logging

import pytest

from stoker.app.stoker import Stoker
from stoker.server.gate import CSRF_HEADER, LOGINS
from stoker.server.gateway.desk import FAILURES
from stoker.server.http import make_server_app
from stoker.server.keyring import FRESH
from stoker.testing import FakeClock
from stoker.testing.conformance.hand import Hand
from tests.unit.server.asking import Asking
from tests.unit.server.keyed import asking_with, change, log_in, new_key

PAUSE = "/queues/default/pause"


async def test_a_log_in_gives_a_cookie_that_no_script_and_no_other_site_can_use(
    app: Stoker, ask: Asking
) -> None:
    key = await new_key(app, "eve", "operate", queues=("default",))
    answer = await ask.post("/login", {"key": key.key})
    me = answer.ok()
    assert (me["name"], me["scopes"], me["queues"]) == ("eve", ["operate", "read"], ["default"])
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("stoker_login=stl_")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/" in cookie
    assert "Max-Age=43200" in cookie
    assert "Secure" not in cookie
    assert key.key.rpartition("_")[2] not in cookie
    assert (await ask.get("/me")).ok() == me


async def test_with_tls_the_cookie_is_for_tls_and_this_host_only(app: Stoker) -> None:
    ask = Asking(make_server_app(app))
    ask.http.base_url = "https://localhost:8000"
    key = await new_key(app, "eve", "read")
    async with ask.http:
        cookie = (await ask.post("/login", {"key": key.key})).headers["set-cookie"]
        assert cookie.startswith("__Host-stoker_login=")
        assert "Secure" in cookie
        (await ask.get("/jobs")).ok()


async def test_a_change_needs_the_token_as_well_as_the_cookie(
    app: Stoker, ask: Asking, hand: Hand
) -> None:
    await hand.put()
    me = await log_in(ask, await new_key(app, "eve", "operate"))
    for headers in ({}, {CSRF_HEADER: ""}, {CSRF_HEADER: "x"}, {CSRF_HEADER: me["csrf"][:-1]}):
        answer = await ask.raw("POST", PAUSE, headers=headers)
        assert "X-CSRF-Token" in answer.refused(403, "forbidden")["message"]
    assert (await ask.get("/queues/default")).ok()["paused"] is False
    (await change(ask, PAUSE, **{CSRF_HEADER: me["csrf"]})).ok()


async def test_another_log_ins_token_is_worth_nothing(app: Stoker, ask: Asking, hand: Hand) -> None:
    await hand.put()
    key = await new_key(app, "eve", "operate")
    async with asking_with(ask, None) as other:
        foreign = await log_in(other, key)
        await log_in(ask, key)
        (await change(ask, PAUSE, **{CSRF_HEADER: foreign["csrf"]})).refused(403, "forbidden")


async def test_a_page_of_another_site_changes_and_reads_nothing_although_the_cookie_comes_along(
    app: Stoker, ask: Asking, hand: Hand
) -> None:
    await hand.put()
    me = await log_in(ask, await new_key(app, "eve", "operate"))
    foreign = {"origin": "https://evil.example", CSRF_HEADER: me["csrf"]}
    (await change(ask, PAUSE, **foreign)).refused(403, "origin_not_allowed")
    for path in ("/jobs", "/live", "/me"):
        answer = await ask.raw("GET", path, headers={"origin": "https://evil.example"})
        answer.refused(403, "origin_not_allowed")
        assert "access-control-allow-origin" not in answer.headers
    login = await ask.raw("POST", "/login", b"{}", headers={"origin": "https://evil.example"})
    login.refused(403, "origin_not_allowed")


async def test_a_form_of_another_kind_logs_nobody_in(app: Stoker, ask: Asking) -> None:
    key = await new_key(app, "eve", "operate")
    body = f'{{"key": "{key.key}"}}'.encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = await ask.raw("POST", "/login", body, content_type=kind)
        answer.refused(415, "unsupported_media_type")


async def test_logging_out_ends_the_log_in_for_good(app: Stoker, ask: Asking) -> None:
    me = await log_in(ask, await new_key(app, "eve", "read"))
    cookie = dict(ask.http.cookies)
    out = await ask.raw("POST", "/logout", headers={CSRF_HEADER: me["csrf"]})
    assert out.status == 204
    assert "Max-Age=0" in out.headers["set-cookie"]
    ask.http.cookies.update(cookie)
    (await ask.get("/jobs")).refused(401, "unauthenticated")


async def test_the_log_in_ends_with_its_key_at_once(app: Stoker, ask: Asking) -> None:
    eve, root = await new_key(app, "eve", "read"), await new_key(app, "root", "admin")
    await log_in(ask, eve)
    (await ask.get("/jobs")).ok()
    async with asking_with(ask, root) as admin:
        (await admin.delete("/api-keys/eve")).ok()
    (await ask.get("/jobs")).refused(401, "unauthenticated")


async def test_the_log_in_ends_with_its_key_revoked_elsewhere_and_with_its_time(
    app: Stoker, ask: Asking, fake_clock: FakeClock
) -> None:
    eve, bob = await new_key(app, "eve", "read"), await new_key(app, "bob", "read")
    async with asking_with(ask, None) as other:
        await log_in(ask, eve)
        await log_in(other, bob)
        await app.arun(lambda store: store.put_keys(revoke=[eve.id]))
        fake_clock.advance(FRESH)
        (await ask.get("/jobs")).refused(401, "unauthenticated")
        (await other.get("/jobs")).ok()
        fake_clock.advance(12 * 3600)
        (await other.get("/jobs")).refused(401, "unauthenticated")


async def test_a_log_in_outlives_the_server(app: Stoker, ask: Asking) -> None:
    await log_in(ask, await new_key(app, "eve", "read"))
    async with asking_with(Asking(make_server_app(app)), None) as again:
        again.http.cookies.update(dict(ask.http.cookies))
        (await again.get("/jobs")).ok()


async def test_a_cookie_is_no_key_and_a_key_no_cookie(app: Stoker, ask: Asking) -> None:
    key = await new_key(app, "eve", "read")
    await log_in(ask, key)
    login = ask.http.cookies["stoker_login"]
    async with asking_with(ask, login) as other:
        (await other.get("/jobs")).refused(401, "unauthenticated")
    async with asking_with(ask, None) as other:
        other.http.cookies["stoker_login"] = key.key
        (await other.get("/jobs")).refused(401, "unauthenticated")
        (await other.post("/login", {"key": login})).refused(401, "unauthenticated")


async def test_failed_log_ins_slow_their_address_down(
    app: Stoker, ask: Asking, fake_clock: FakeClock
) -> None:
    key = await new_key(app, "eve", "read")
    wrong = {"key": "stk_" + "0" * 16 + "_" + "0" * 64}
    for _ in range(FAILURES):
        (await ask.post("/login", wrong)).refused(401, "unauthenticated")
    (await ask.post("/login", wrong)).refused(429, "rate_limited")
    (await ask.post("/login", {"key": key.key})).refused(429, "rate_limited")
    fake_clock.advance(2)
    (await ask.post("/login", {"key": key.key})).ok()


async def test_one_key_logs_in_so_often_only(app: Stoker, ask: Asking) -> None:
    key = await new_key(app, "eve", "read")
    for _ in range(LOGINS):
        (await ask.post("/login", {"key": key.key})).ok()
    (await ask.post("/login", {"key": key.key})).refused(429, "rate_limited")


async def test_where_nobody_needs_a_key_one_is_nobody_in_particular(ask: Asking) -> None:
    me = (await ask.get("/me")).ok()
    assert (me["name"], me["anonymous"], me["csrf"]) == ("anonymous", True, None)
    assert me["scopes"] == ["admin", "operate", "read", "submit", "worker"]


async def test_logging_in_and_out_is_written_down_with_the_keys_name(
    app: Stoker, ask: Asking
) -> None:
    me = await log_in(ask, await new_key(app, "eve", "read"))
    await ask.raw("POST", "/logout", headers={CSRF_HEADER: me["csrf"]})
    async with asking_with(ask, await new_key(app, "root", "admin")) as root:
        events = (await root.get("/events", after=0)).ok()["events"]
    told = [(e["kind"], e["actor"]) for e in events if e["kind"].startswith("logged")]
    assert told == [("logged_in", "key:eve"), ("logged_out", "key:eve")]


async def test_neither_key_nor_cookie_is_logged(
    app: Stoker, ask: Asking, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = await new_key(app, "eve", "read")
    await log_in(ask, key)
    for path in ("/jobs", "/nowhere", "/jobs/none"):
        await ask.get(path)
    secrets = [key.key, ask.http.cookies["stoker_login"]]
    assert not any(secret.rpartition("_")[2] in caplog.text for secret in secrets)
