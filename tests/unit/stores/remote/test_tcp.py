"""The way over TCP, against servers that are unlucky, slow, or something else."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stoker.core.duration import when
from stoker.core.errors import (
    FrameTooLarge,
    LeaseLost,
    NotAStore,
    NotOpen,
    OutcomeUnknown,
    PayloadTooLarge,
    StokerError,
    Unauthenticated,
    Unavailable,
)
from stoker.core.job import HeldJob, JobSpec, LogLine, SessionSpec
from stoker.core.records import JobQuery
from stoker.stores.remote import RemoteStore
from stoker.stores.remote import tcp as way
from stoker.stores.remote.address import Address
from stoker.testing import FakeClock, wait_until
from tests.servers.server import free_port
from tests.unit.stores.remote.script import Visitor, stage

ALIVE = {"alive": True, "cancel": [], "lost": [], "command": None}


def make(url: str, **options: str) -> RemoteStore:
    query = "&".join(f"{key}={value}" for key, value in options.items())
    return RemoteStore(f"{url}?{query}", clock=FakeClock())


def spec(number: int = 1) -> JobSpec:
    return JobSpec(id=f"j{number}", task="t")


async def echo(visitor: Visitor) -> None:
    """Answer each submit and queues rightly."""
    await visitor.welcome()
    while True:
        request = await visitor.hear()
        if request["verb"] == "submit":
            jobs = request["params"]["jobs"]
            answer: Any = [{"id": job["id"], "created": True, "state": "queued"} for job in jobs]
        else:
            answer = [] if request["verb"] == "queues" else None
        await visitor.say(id=request["id"], ok=answer)


async def break_off(visitor: Visitor) -> None:
    """Read one request and hang up without an answer."""
    await visitor.welcome()
    await visitor.hear()


async def mute(visitor: Visitor) -> None:
    """Answer the hello, and then nothing."""
    await visitor.welcome()
    await visitor.until_gone()


async def test_a_write_whose_answer_was_lost_may_have_been_done() -> None:
    async with stage(break_off) as url, make(url) as store:
        with pytest.raises(OutcomeUnknown, match="broke before the answer"):
            await store.submit([spec()])


async def test_a_read_whose_answer_was_lost_has_not_been_done() -> None:
    async with stage(break_off) as url, make(url) as store:
        with pytest.raises(Unavailable, match="broke before the answer"):
            await store.queues()


async def test_a_write_that_is_not_answered_in_time_may_have_been_done() -> None:
    async with stage(mute) as url, make(url, timeout="100ms") as store:
        with pytest.raises(OutcomeUnknown, match="within"):
            await store.submit([spec()])


async def test_a_call_after_a_broken_connection_opens_another_one() -> None:
    async with stage(break_off, echo) as url, make(url) as store:
        with pytest.raises(OutcomeUnknown):
            await store.submit([spec()])
        [answer] = await store.submit([spec()])
        assert answer.created


async def test_a_call_on_a_connection_that_was_just_cut_off_did_nothing() -> None:
    async with stage(mute, echo) as url, make(url) as store:
        # Nobody outside could cut it off at that very moment.
        link: Any = store._link
        line = link._line
        line._writer.transport.abort()
        with pytest.raises(Unavailable, match="cut off"):
            await line.ask("queues", b"{}", timeout=5.0)
        [answer] = await store.submit([spec()])
        assert answer.created


async def test_a_call_that_finds_no_server_did_nothing() -> None:
    async with stage(break_off) as url:
        store = await make(url).__aenter__()
        with pytest.raises(OutcomeUnknown):
            await store.submit([spec()])
    with pytest.raises(Unavailable, match="gateway-port"):
        await store.submit([spec()])
    await store.__aexit__(None, None, None)


async def test_calls_that_come_together_share_one_attempt_to_connect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with stage(break_off) as url:
        store = await make(url).__aenter__()
        with pytest.raises(OutcomeUnknown):
            await store.submit([spec()])
    attempts: list[int] = []
    dial = way.dial

    async def counted(*args: Any, **kwargs: Any) -> Any:
        attempts.append(1)
        return await dial(*args, **kwargs)

    monkeypatch.setattr(way, "dial", counted)
    calls = (store.submit([spec(n)]) for n in range(20))
    told = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in told} == {Unavailable}
    assert len(attempts) == 1
    await store.__aexit__(None, None, None)


async def test_the_pauses_between_attempts_grow_and_are_bounded() -> None:
    class Highest(FakeClock):
        def random(self) -> float:
            return 1.0

    loop = asyncio.get_running_loop()
    address = Address(scheme="tcp", host="127.0.0.1", port=free_port(), shown="tcp://127.0.0.1")
    link = way.TcpLink(address, Highest(), client="test")
    pauses: list[float] = []
    for _ in range(12):
        link._not_before = 0.0
        with pytest.raises(Unavailable):
            await link.open()
        pauses.append(link._not_before - loop.time())
    assert pauses[0] == pytest.approx(0.2, abs=0.15)
    assert pauses[1] > pauses[0]
    assert max(pauses) <= way.BACKOFF_CAP


async def test_answers_may_come_in_any_order() -> None:
    async def backwards(visitor: Visitor) -> None:
        await visitor.welcome()
        first, second = await visitor.hear(), await visitor.hear()
        for request in (second, first):
            job = request["params"]["jobs"][0]["id"]
            await visitor.say(id=request["id"], ok=[{"id": job, "created": True}])
        await visitor.until_gone()

    async with stage(backwards) as url, make(url) as store:
        one, two = await asyncio.gather(store.submit([spec(1)]), store.submit([spec(2)]))
        assert (one[0].id, two[0].id) == ("j1", "j2")


async def test_an_error_of_the_server_is_the_error_of_the_call() -> None:
    async def refuse(visitor: Visitor) -> None:
        await visitor.welcome()
        request = await visitor.hear()
        error = {"code": "lease_lost", "message": "gone", "details": {"session": "s"}}
        await visitor.say(id=request["id"], error=error)
        await visitor.until_gone()

    async with stage(refuse) as url, make(url) as store:
        with pytest.raises(LeaseLost, match="gone") as refused:
            await store.exchange("s", [], queues={}, want=1, nonce="n")
        assert refused.value.details == {"session": "s"}


async def test_an_answer_that_makes_no_sense_is_an_error_of_the_protocol() -> None:
    async def mumble(visitor: Visitor) -> None:
        await visitor.welcome()
        request = await visitor.hear()
        await visitor.say(id=request["id"], ok={"colour": "red"})
        await visitor.until_gone()

    async with stage(mumble) as url, make(url) as store:
        with pytest.raises(StokerError) as refused:
            await store.submit([spec()])
        assert refused.value.code == "protocol_error"


async def test_the_last_word_of_a_server_ends_the_calls_under_way() -> None:
    async def stop(visitor: Visitor) -> None:
        await visitor.welcome()
        await visitor.hear()
        await visitor.say(id=0, error={"code": "unavailable", "message": "the server stops"})
        await visitor.until_gone()

    async with stage(stop) as url, make(url) as store:
        with pytest.raises(OutcomeUnknown, match="the server stops"):
            await store.submit([spec()])


async def test_a_server_that_falls_silent_is_given_up() -> None:
    async def freeze(visitor: Visitor) -> None:
        await visitor.welcome(ping_every=0.02)
        await visitor.until_gone()

    async with stage(freeze) as url, make(url) as store:
        with pytest.raises(OutcomeUnknown, match="silent"):
            await store.submit([spec()])


async def test_an_idle_client_says_something_now_and_then() -> None:
    heard: list[str] = []

    async def listen(visitor: Visitor) -> None:
        await visitor.welcome(ping_every=0.02)
        while True:
            request = await visitor.hear()
            heard.append(request["verb"])
            await visitor.say(id=request["id"], ok=None)

    async with stage(listen) as url, make(url) as store:
        await wait_until(lambda: len(heard) >= 5, "it pings")
        assert set(heard) == {"ping"}
        assert store.info.engine == "remote"


async def test_a_cancelled_wait_is_forgotten_by_the_server() -> None:
    heard: list[dict[str, Any]] = []

    async def listen(visitor: Visitor) -> None:
        await visitor.welcome()
        while True:
            heard.append(await visitor.hear())

    async with stage(listen) as url, make(url) as store:
        wait = asyncio.get_running_loop().create_task(store.wait(["q"], timeout=30.0))
        await wait_until(lambda: len(heard) == 1, "it waits")
        wait.cancel()
        await asyncio.wait([wait])
        await wait_until(lambda: len(heard) == 2, "it says so")
    assert heard[1]["verb"] == "forget"
    assert heard[1]["params"] == {"id": heard[0]["id"]}


async def test_waits_leave_room_for_other_calls() -> None:
    waiting: list[int] = []

    async def patient(visitor: Visitor) -> None:
        await visitor.welcome(max_in_flight=4)
        while True:
            request = await visitor.hear()
            if request["verb"] == "wait":
                waiting.append(request["id"])
            else:
                await visitor.say(id=request["id"], ok=[])

    async with stage(patient) as url, make(url) as store, asyncio.TaskGroup() as group:
        waits = [group.create_task(store.wait(["q"], timeout=30.0)) for _ in range(5)]
        await wait_until(lambda: len(waiting) == 1, "one waits on the wire")
        assert await store.queues() == []
        assert len(waiting) == 1
        for wait in waits:
            wait.cancel()


async def test_closing_answers_waits_and_lets_other_calls_end() -> None:
    release = asyncio.Event()
    heard: list[str] = []

    async def slow(visitor: Visitor) -> None:
        await visitor.welcome()
        while True:
            request = await visitor.hear()
            heard.append(request["verb"])
            if request["verb"] == "submit":
                await release.wait()
                await visitor.say(id=request["id"], ok=[{"id": "j1", "created": True}])

    async with stage(slow) as url, asyncio.TaskGroup() as group:
        store = await make(url).__aenter__()
        wait = group.create_task(store.wait(["q"], timeout=30.0))
        submit = group.create_task(store.submit([spec()]))
        await wait_until(lambda: len(heard) == 2, "both are under way")
        closing = group.create_task(store.__aexit__(None, None, None))
        assert await wait is False
        assert not closing.done()
        release.set()
        assert (await submit)[0].created
        await closing
        with pytest.raises(NotOpen):
            await store.queues()


async def test_a_call_that_is_too_long_never_leaves() -> None:
    async with stage(echo) as url, make(url) as store:
        big = JobSpec(id="j", task="t", payload=b'{"x":"%b"}' % (b"x" * 100_000))
        with pytest.raises(PayloadTooLarge, match=r"gateway\.frame"):
            await store.submit([big])
        assert await store.queues() == []


async def test_a_beat_with_too_many_lines_becomes_several() -> None:
    beats: list[dict[str, Any]] = []

    async def listen(visitor: Visitor) -> None:
        await visitor.welcome(max_frame=65_536)
        while True:
            request = await visitor.hear()
            beats.append(request["params"])
            await visitor.say(id=request["id"], ok=ALIVE)

    clock = FakeClock()
    lines = [LogLine(when(clock.now()), f"{number} " + "x" * 1_000, 1) for number in range(100)]
    held = [
        HeldJob("a", 1, "n", 1.0, 0.5, logs=tuple(lines[:90])),
        HeldJob("b", 1, "n", logs=tuple(lines[90:])),
    ]
    async with stage(listen) as url, make(url) as store:
        reply = await store.beat(SessionSpec(id="s", name="w"), held, ttl=30.0)
    assert reply.alive
    assert len(beats) > 1
    assert all([job["id"] for job in beat["held"]] == ["a", "b"] for beat in beats)
    for index, expected in ((0, lines[:90]), (1, lines[90:])):
        told = [line["message"] for b in beats for line in b["held"][index].get("logs", [])]
        assert told == [line.message for line in expected]


async def test_jobs_that_do_not_fit_into_one_answer_are_asked_for_in_parts() -> None:
    asked: list[int] = []

    async def tight(visitor: Visitor) -> None:
        await visitor.welcome()
        while True:
            request = await visitor.hear()
            ids = request["params"]["ids"]
            asked.append(len(ids))
            if len(ids) > 2:
                error = {"code": "frame_too_large", "message": "ask for less"}
                await visitor.say(id=request["id"], error=error)
            else:
                await visitor.say(id=request["id"], ok=[None] * len(ids))

    async with stage(tight) as url, make(url) as store:
        assert await store.get([str(n) for n in range(7)]) == [None] * 7
        assert max(asked[1:]) < 7


async def test_one_job_that_does_not_fit_is_told() -> None:
    async def never(visitor: Visitor) -> None:
        await visitor.welcome()
        while True:
            request = await visitor.hear()
            error = {"code": "frame_too_large", "message": "ask for less"}
            await visitor.say(id=request["id"], error=error)

    async with stage(never) as url, make(url) as store:
        with pytest.raises(FrameTooLarge):
            await store.get(["j"])


async def speaks_http(visitor: Visitor) -> None:
    visitor.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def speaks_other_json(visitor: Visitor) -> None:
    await visitor.hear()
    await visitor.say(id=1, ok={"hello": "world"})


async def hangs_up(visitor: Visitor) -> None:
    await visitor.hear()


async def refuses_token(visitor: Visitor) -> None:
    await visitor.hear()
    await visitor.say(id=0, error={"code": "unauthenticated", "message": "who are you?"})


async def is_full(visitor: Visitor) -> None:
    await visitor.say(id=0, error={"code": "unavailable", "message": "full", "retryable": True})


@pytest.mark.parametrize(
    ("play", "error"),
    [
        (speaks_http, NotAStore),
        (speaks_other_json, NotAStore),
        (hangs_up, Unavailable),
        (refuses_token, Unauthenticated),
        (is_full, Unavailable),
    ],
)
async def test_a_store_that_cannot_be_opened_says_why(
    play: Callable[[Visitor], Any], error: type[StokerError]
) -> None:
    async with stage(play) as url:
        store = make(url)
        with pytest.raises(error):
            await store.__aenter__()
        with pytest.raises(NotOpen):
            await store.queues()


async def test_a_server_that_never_answers_the_hello_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(way, "CONNECT_SECONDS", 0.1)

    async def asleep(visitor: Visitor) -> None:
        await visitor.until_gone()

    async with stage(asleep) as url:
        with pytest.raises(Unavailable, match="no answer"):
            await make(url).__aenter__()


async def test_the_hello_shows_the_token_and_who_asks() -> None:
    hellos: list[dict[str, Any]] = []

    async def listen(visitor: Visitor) -> None:
        hellos.append(await visitor.welcome())
        await visitor.until_gone()

    async with stage(listen) as url:
        store = RemoteStore(url.replace("//", "//secret%2Ftoken@"), clock=FakeClock())
        async with store:
            assert "secret" not in store.info.url
    [hello] = hellos
    assert hello["verb"] == "hello"
    assert hello["params"]["token"] == "secret/token"
    assert ":" in hello["params"]["client"]


async def test_a_store_says_what_is_behind_it() -> None:
    async with stage(mute) as url, make(url) as store:
        info = store.info
        assert (info.engine, info.version, info.durability) == ("remote", "9.9", "full")
        assert info.details["engine"] == "sqlite"
        assert info.details["identity"] == "me"


async def test_nothing_is_known_of_a_store_that_was_never_open() -> None:
    store = RemoteStore("tcp://127.0.0.1:1", clock=FakeClock())
    with pytest.raises(NotOpen):
        _ = store.info
    with pytest.raises(NotOpen):
        await store.find(JobQuery())
