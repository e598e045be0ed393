"""What becomes of session, fence and settlements when the store, or the way to it, is not well."""

import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stoker.testing import wait_until
from tests.workers_c.program import c_worker
from tests.workers_c.scripted import (
    ALIVE,
    WELCOME,
    Answer,
    Gateway,
    Guest,
    Said,
    error,
    lease,
    ok,
    scripted,
)

MANY = 600
"""Outcomes that are worth a request of their own."""


async def test_an_exchange_without_an_answer_is_repeated_to_the_byte(tmp_path: Path) -> None:
    async with scripted() as gateway:
        gateway.leases.append(lease("j1"))

        def exchange(guest: Guest, request: Said) -> bytes | None:
            if guest.number == 0 and request["params"].get("settlements"):
                guest.hang_up()
                return None
            return gateway.usual(guest, request)

        gateway.answers["exchange"] = exchange
        async with c_worker(tmp_path, gateway.url) as worker:
            await gateway.is_asked("hello", 2)
            await wait_until(
                lambda: sum(s["id"] == "j1" for s in gateway.settlements()) == 2, "it is repeated"
            )
            first, second = [p for p in gateway.of("exchange") if p.get("settlements")]
            assert json.dumps(first) == json.dumps(second)
            assert await worker.drain() == 0
    beats = {params["session"]["id"] for params in gateway.of("beat")}
    assert len(beats) == 1, "a session does not belong to a connection"


async def test_a_retryable_error_repeats_the_same_exchange(tmp_path: Path) -> None:
    async with scripted() as gateway:
        codes = iter(["unavailable", "outcome_unknown", "of_a_later_version"])

        def exchange(guest: Guest, request: Said) -> bytes | None:
            code = next(codes, None)
            if code is None:
                return gateway.usual(guest, request)
            return error(request["id"], code, retryable=True)

        gateway.answers["exchange"] = exchange
        async with c_worker(tmp_path, gateway.url) as worker:
            exchanges = await gateway.is_asked("exchange", 5)
            assert await worker.drain() == 0
    nonces = [params["nonce"] for params in exchanges[:5]]
    assert nonces[:4] == nonces[:1] * 4
    assert nonces[4] != nonces[0]


async def test_never_two_exchanges_are_under_way(tmp_path: Path) -> None:
    async with scripted() as gateway:
        gateway.leases += [lease(f"j{n}") for n in range(20)]
        held: list[tuple[Guest, Said]] = []

        def exchange(guest: Guest, request: Said) -> bytes | None:
            if len(gateway.of("exchange")) == 2:
                held.append((guest, request))
                return None
            return gateway.usual(guest, request)

        gateway.answers["exchange"] = exchange
        async with c_worker(tmp_path, gateway.url, "--poll", "50ms", "--beat", "100ms") as worker:
            await gateway.is_asked("beat", 5)
            assert len(gateway.of("exchange")) == 2
            [(guest, request)] = held
            guest.writer.write(gateway.usual(guest, request) or b"")
            await gateway.is_asked("exchange", 3)
            assert await worker.drain() == 0


async def test_a_dead_session_is_left_for_a_new_one_and_its_jobs_dropped(tmp_path: Path) -> None:
    async with scripted() as gateway:
        gateway.leases.append(lease("j1", "trial.stubborn", payload={"seconds": 0.3}))
        dead = {**ALIVE, "alive": False}

        def beat(guest: Guest, request: Said) -> bytes | None:
            knows_j1 = any(held["id"] == "j1" for held in request["params"].get("held", []))
            return ok(request, dead) if knows_j1 else gateway.usual(guest, request)

        gateway.answers["beat"] = beat
        async with c_worker(tmp_path, gateway.url) as worker:
            await worker.says("it was declared dead")
            await wait_until(
                lambda: len({p["session"]["id"] for p in gateway.of("beat")}) == 2, "a new session"
            )
            gateway.leases.append(lease("j2"))
            await gateway.is_handed("j2")
            assert await worker.drain() == 0
    assert {s["id"] for s in gateway.settlements()} == {"j2"}


async def test_lease_lost_as_an_answer_begins_a_new_session(tmp_path: Path) -> None:
    async with scripted() as gateway:

        def exchange(guest: Guest, request: Said) -> bytes | None:
            if len(gateway.of("exchange")) == 1:
                return error(request["id"], "lease_lost")
            return gateway.usual(guest, request)

        gateway.answers["exchange"] = exchange
        async with c_worker(tmp_path, gateway.url) as worker:
            await gateway.is_asked("exchange", 2)
            assert await worker.drain() == 0
    assert len({params["session_id"] for params in gateway.of("exchange")}) == 2


async def test_without_answered_beats_a_worker_fences_itself_and_goes_on_later(
    tmp_path: Path,
) -> None:
    async with scripted() as gateway:
        gateway.leases.append(lease("j1", "trial.patient"))
        is_deaf = False

        def beat(guest: Guest, request: Said) -> bytes | None:
            return None if is_deaf else gateway.usual(guest, request)

        gateway.answers["beat"] = beat
        words = ("--lease", "1s", "--log-level", "debug")
        async with c_worker(tmp_path, f"{gateway.url}?timeout=300ms", *words) as worker:
            await wait_until(
                lambda: any(p.get("held") for p in gateway.of("beat")), "the job is reported"
            )
            is_deaf = True
            await worker.says("the store has answered no beat")
            is_deaf = False
            # The session lives: what was stopped is given back, uncounted, and work goes on.
            assert (await gateway.is_handed("j1"))["outcome"] == "released"
            gateway.leases.append(lease("j2"))
            assert (await gateway.is_handed("j2"))["outcome"] == "completed"
            assert await worker.drain() == 0
    assert len({p["session"]["id"] for p in gateway.of("beat")}) == 1


async def test_one_outcome_that_the_store_refuses_does_not_hold_up_the_others(
    tmp_path: Path,
) -> None:
    async with scripted() as gateway:
        gateway.leases += [lease(f"j{n}", "trial.echo", payload={"n": n}) for n in range(7)]

        def exchange(guest: Guest, request: Said) -> bytes | None:
            handed = request["params"].get("settlements", [])
            if any(s["id"] == "j3" and s["outcome"] == "completed" for s in handed):
                return error(request["id"], "invalid_payload")
            return gateway.usual(guest, request)

        gateway.answers["exchange"] = exchange
        async with c_worker(tmp_path, gateway.url) as worker:
            await wait_until(
                lambda: any(s["outcome"] == "failed" for s in gateway.settlements()), "it failed"
            )
            gateway.leases.append(lease("last"))
            await gateway.is_handed("last")
            assert await worker.drain() == 0
    [failed] = [s for s in gateway.settlements() if s["outcome"] == "failed"]
    assert (failed["id"], failed["error"]["code"]) == ("j3", "invalid_payload")
    assert {s["id"] for s in gateway.settlements() if s["outcome"] == "completed"} >= {
        f"j{n}" for n in range(7)
    }


async def test_an_outcome_that_is_refused_alone_becomes_a_small_failure(tmp_path: Path) -> None:
    async with scripted() as gateway:
        gateway.leases.append(lease("j1"))

        def exchange(guest: Guest, request: Said) -> bytes | None:
            handed = request["params"].get("settlements", [])
            if any(s["outcome"] == "completed" for s in handed):
                return error(request["id"], "invalid_payload")
            return gateway.usual(guest, request)

        gateway.answers["exchange"] = exchange
        async with c_worker(tmp_path, gateway.url) as worker:
            await wait_until(
                lambda: any(s["outcome"] == "failed" for s in gateway.settlements()), "it failed"
            )
            assert await worker.drain() == 0


async def test_what_ends_while_an_exchange_is_away_goes_with_the_next_one(tmp_path: Path) -> None:
    async with _with_one_away(tmp_path) as (gateway, answer):
        gateway.leases.append(lease("later"))
        answer(lambda request: gateway.usual(gateway.guests[0], request) or b"")
        await gateway.is_handed("later")
    handed = [[s["id"] for s in p.get("settlements", [])] for p in gateway.of("exchange")]
    assert [ids for ids in handed if ids][:2] == [["quick"], ["slow"]]


async def test_what_ends_while_an_exchange_is_away_survives_its_refusal(tmp_path: Path) -> None:
    async with _with_one_away(tmp_path) as (gateway, answer):
        answer(lambda request: error(request["id"], "invalid_payload"))
        assert (await gateway.is_handed("slow"))["outcome"] == "completed"
        assert (await gateway.is_handed("quick"))["outcome"] == "failed"


async def test_what_ended_while_an_exchange_was_away_goes_with_a_dead_session(
    tmp_path: Path,
) -> None:
    async with _with_one_away(tmp_path) as (gateway, answer):
        answer(lambda request: error(request["id"], "lease_lost"))
        gateway.leases.append(lease("later"))
        await gateway.is_handed("later")
    assert "slow" not in {s["id"] for s in gateway.settlements()}


async def test_much_that_ends_while_an_exchange_is_away_is_handed_in_beside_it(
    tmp_path: Path,
) -> None:
    async with _with_many_away(tmp_path, _take) as (gateway, _, aside):
        await gateway.is_handed("last")
    assert len(aside[0][1]["params"]["settlements"]) >= MANY
    ids = [s["id"] for s in gateway.settlements()]
    assert len(ids) == len(set(ids)) == MANY + 52, "nothing is handed in twice"


@pytest.mark.parametrize("fate", ["refused", "lost"])
async def test_what_is_not_taken_beside_an_exchange_goes_with_the_next_one(
    tmp_path: Path, fate: str
) -> None:
    async with _with_many_away(tmp_path, _refuse if fate == "refused" else _hang_up) as found:
        gateway, away, aside = found
        await gateway.is_handed("last")
    told = {s["id"] for s in aside[0][1]["params"]["settlements"]}
    nonce = away[0][1]["params"]["nonce"]
    repeated = [json.dumps(p) for p in gateway.of("exchange") if p["nonce"] == nonce]
    assert repeated == repeated[:1] * (2 if fate == "lost" else 1)
    ids = [s["id"] for s in gateway.settlements() if s["id"] != "first"]
    assert len(set(ids)) == MANY + 51
    assert all(ids.count(job_id) == 1 + (job_id in told) for job_id in ids)


async def test_what_a_dead_session_handed_in_may_be_answered_late(tmp_path: Path) -> None:
    late: list[tuple[Guest, Said]] = []

    def die(guest: Guest, request: Said) -> bytes:
        late.append((guest, request))
        return error(away[0][1]["id"], "lease_lost")

    async with _with_many_away(tmp_path, die, both=False) as found:
        gateway, away, _ = found
        await wait_until(lambda: _sessions(gateway) == 2, "a new session begins")
        guest, request = late[0]
        guest.writer.write(_take(guest, request))
        await gateway.is_handed("last")
    assert len(gateway.guests) == 1


def _sessions(gateway: Gateway) -> int:
    return len({params["session"]["id"] for params in gateway.of("beat")})


def _take(_: Guest, request: Said) -> bytes:
    return ok(request, {"settled": ["ok"] * len(request["params"]["settlements"]), "leased": []})


def _refuse(_: Guest, request: Said) -> bytes:
    return error(request["id"], "invalid_payload")


def _hang_up(guest: Guest, _: Said) -> None:
    guest.hang_up()


@asynccontextmanager
async def _with_many_away(
    tmp_path: Path, hear: Answer, *, both: bool = True
) -> AsyncIterator[tuple[Gateway, list[tuple[Guest, Said]], list[tuple[Guest, Said]]]]:
    """Let many jobs be called off while the exchange that told of another one is away.

    Yields what is away, and what came beside it, to which ``hear`` answers; then the exchange is
    answered too, unless ``hear`` does both, and the last job comes.
    """
    async with scripted() as gateway:
        many = [lease(f"j{number}", "trial.patient") for number in range(MANY + 50)]
        gateway.leases += [lease("first"), *many]
        away: list[tuple[Guest, Said]] = []
        aside: list[tuple[Guest, Said]] = []

        def exchange(guest: Guest, request: Said) -> bytes | None:
            params = request["params"]
            if not away and params.get("settlements"):
                away.append((guest, request))
                return None
            if aside or not away:
                return gateway.usual(guest, request)
            assert params["want"] == 0
            aside.append((guest, request))
            gateway.leases.append(lease("last"))
            heard = hear(guest, request)
            return heard and heard + ((both and gateway.usual(*away[0])) or b"")

        def beat(guest: Guest, request: Said) -> bytes | None:
            cancel = [job["id"] for job in many] if away else []
            return ok(request, {**ALIVE, "cancel": cancel})

        gateway.answers |= {"exchange": exchange, "beat": beat}
        async with c_worker(
            tmp_path, gateway.url, "--concurrency", str(MANY + 51), "--beat", "50ms"
        ) as worker:
            yield gateway, away, aside
            assert await worker.drain() == 0


@asynccontextmanager
async def _with_one_away(
    tmp_path: Path,
) -> AsyncIterator[tuple[Gateway, Callable[[Callable[[Said], bytes]], None]]]:
    """Let a job end while the exchange with another one is away; say then how that is answered."""
    async with scripted() as gateway:
        gateway.leases += [
            lease("quick"),
            lease("slow", "trial.stubborn", payload={"seconds": 0.2}),
        ]
        held: list[tuple[Guest, Said]] = []

        def exchange(guest: Guest, request: Said) -> bytes | None:
            if request["params"].get("settlements") and not held:
                held.append((guest, request))
                return None
            return gateway.usual(guest, request)

        def answer(with_: Callable[[Said], bytes]) -> None:
            [(guest, request)] = held
            guest.writer.write(with_(request))

        gateway.answers["exchange"] = exchange
        async with c_worker(tmp_path, gateway.url, "--beat", "50ms") as worker:
            await wait_until(lambda: held and _stands_still(gateway, "slow"), "both have ended")
            yield gateway, answer
            assert await worker.drain() == 0


def _stands_still(gateway: Gateway, job_id: str) -> bool:
    """Whether the last two beats say the same of how long a job has run: it has ended."""
    told = [
        held.get("ran_for")
        for params in gateway.of("beat")[-2:]
        for held in params.get("held", [])
        if held["id"] == job_id
    ]
    return len(told) == 2 and told[0] == told[1] is not None


async def test_an_error_about_the_worker_itself_ends_it(tmp_path: Path) -> None:
    async with scripted() as gateway:
        gateway.answers["exchange"] = lambda _guest, request: error(request["id"], "forbidden")
        async with c_worker(tmp_path, gateway.url) as worker:
            assert await worker.ended() == 3
    assert "a scripted forbidden [forbidden]" in worker.said


async def test_an_outcome_longer_than_a_frame_becomes_a_small_failure(tmp_path: Path) -> None:
    async with scripted() as gateway:
        narrow = {**WELCOME, "max_frame": 65_536}
        gateway.answers["hello"] = lambda _guest, request: ok(request, narrow)
        gateway.leases += [lease("big", "trial.large", payload={"size": 70_000}), lease("small")]
        async with c_worker(tmp_path, gateway.url) as worker:
            big = await gateway.is_handed("big")
            assert (await gateway.is_handed("small"))["outcome"] == "completed"
            assert await worker.drain() == 0
    assert (big["outcome"], big["error"]["code"]) == ("failed", "result_too_large")
    assert "retry_in" not in big


async def test_an_operator_may_drain_and_stop_a_worker(tmp_path: Path) -> None:
    async with scripted() as gateway:
        gateway.leases.append(lease("j1", "trial.patient"))
        command: str | None = None

        def beat(_guest: Guest, request: Said) -> bytes | None:
            return ok(request, {**ALIVE, "command": command})

        gateway.answers["beat"] = beat
        async with c_worker(tmp_path, gateway.url, "--beat", "100ms") as worker:
            await wait_until(lambda: any(p.get("held") for p in gateway.of("beat")), "it runs")
            command = "drain"
            await wait_until(
                lambda: gateway.of("beat")[-1]["session"].get("state") == "draining", "it drains"
            )
            assert gateway.settlements() == []
            command = "stop"
            assert await worker.ended() == 0
    assert [s["outcome"] for s in gateway.settlements()] == ["released"]
    assert gateway.of("beat")[-1]["session"]["state"] == "left"


async def test_lost_jobs_are_stopped_and_nothing_is_said_of_them(tmp_path: Path) -> None:
    async with scripted() as gateway:
        gateway.leases.append(lease("j1", "trial.patient"))

        def beat(_guest: Guest, request: Said) -> bytes | None:
            held = [h["id"] for h in request["params"].get("held", [])]
            return ok(request, {**ALIVE, "lost": held})

        gateway.answers["beat"] = beat
        async with c_worker(tmp_path, gateway.url) as worker:
            await worker.says("job j1 was taken back")
            assert await worker.drain() == 0
    assert gateway.settlements() == []


async def test_a_retired_worker_waits_for_what_it_holds(tmp_path: Path) -> None:
    async with scripted() as gateway:
        gateway.leases.append(lease("j1", "trial.stubborn", payload={"seconds": 0.6}))
        async with c_worker(tmp_path, gateway.url, "--drain", "100ms") as worker:
            await wait_until(lambda: any(p.get("held") for p in gateway.of("beat")), "it runs")
            worker.process.send_signal(signal.SIGUSR1)
            assert await worker.ended() == 0
    assert [s["outcome"] for s in gateway.settlements()] == ["completed"]


async def test_a_drain_gives_back_what_takes_too_long(tmp_path: Path) -> None:
    async with scripted() as gateway:
        gateway.leases.append(lease("j1", "trial.patient"))
        async with c_worker(tmp_path, gateway.url, "--drain", "200ms") as worker:
            await wait_until(lambda: any(p.get("held") for p in gateway.of("beat")), "it runs")
            assert await worker.drain() == 0
    assert [s["outcome"] for s in gateway.settlements()] == ["released"]


async def test_a_second_signal_gives_back_at_once(tmp_path: Path) -> None:
    async with scripted() as gateway:
        gateway.leases.append(lease("j1", "trial.patient_apart"))
        async with c_worker(tmp_path, gateway.url) as worker:
            await wait_until(lambda: any(p.get("held") for p in gateway.of("beat")), "it runs")
            worker.process.send_signal(signal.SIGTERM)
            await worker.says("drains; 1 jobs run")
            assert await worker.drain() == 0
    assert [s["outcome"] for s in gateway.settlements()] == ["released"]
    assert "ended: stopped" in worker.said
