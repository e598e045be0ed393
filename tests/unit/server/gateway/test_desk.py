"""The desk: rights, what the door lets through, and answers that are too long."""

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from stoker.core.clock import SystemClock
from stoker.core.codec import MAX_DEPTH
from stoker.core.errors import (
    Forbidden,
    FrameTooLarge,
    InvalidOption,
    InvalidPayload,
    LeaseLost,
    OutcomeUnknown,
    PayloadTooLarge,
    RateLimited,
    StokerError,
    Unauthenticated,
    Unsupported,
)
from stoker.core.events import Event, Kind
from stoker.core.fleets import FleetCommand
from stoker.core.job import (
    Command,
    JobSpec,
    Outcome,
    SessionSpec,
    Settled,
    Settlement,
)
from stoker.core.keys import Scope, make_key
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery, Page, Term
from stoker.core.store import Store
from stoker.core.wire import records, verbs
from stoker.core.wire.frames import MAX_ANSWER
from stoker.core.wire.messages import Hello
from stoker.server.gateway import calls, scopes
from stoker.server.gateway.desk import BIG, FAILURES, Desk
from stoker.server.identity import EVERYBODY, Identity
from stoker.server.keyring import FRESH
from stoker.settings import GatewaySettings, LimitSettings
from stoker.stores.memory import MemoryStore
from stoker.testing import FakeClock, FaultyStore
from stoker.testing.faults import After

WORKER = frozenset({Scope.WORKER})
PRESS = Identity("press", WORKER, frozenset({"print"}))
ROVER = Identity("rover", WORKER)
V = verbs


class Counter:
    """A desk with short words."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock

        async def run(work: Any) -> Any:
            return await work(store)

        self.desk = Desk(
            run, settings=GatewaySettings(), limits=LimitSettings(batch=50), clock=clock
        )

    async def ask(
        self, verb: Any, params: Any, who: Identity = EVERYBODY, *, most: int = MAX_ANSWER
    ) -> Any:
        raw = msgspec.Raw(verbs.write_params(params))
        return verb.read_answer(await self.desk.answer(who, verb.name, raw, most=most))

    async def beat(self, session: str, who: Identity) -> Any:
        spec = records.show_session(SessionSpec(id=session, name=session))
        return await self.ask(V.BEAT, V.BeatParams(session=spec, ttl=30.0), who)

    async def exchange(
        self, session: str, who: Identity, *told: Settlement, want: int = 0, **more: Any
    ) -> Any:
        params = V.ExchangeParams(
            session_id=session,
            settlements=[records.show_settlement(one) for one in told],
            queues={"print": 100},
            want=want,
            nonce=more.pop("nonce", None) or self.clock.new_nonce(),
        )
        return await self.ask(V.EXCHANGE, params, who, **more)

    async def put(self, count: int, *, size: int = 10, queue: str = "print") -> list[str]:
        payload = b'{"x":"%b"}' % (b"x" * size)
        specs = [
            JobSpec(id=self.clock.new_id(), task="t", payload=payload, queue=queue)
            for _ in range(count)
        ]
        await self.store.submit(specs)
        return [spec.id for spec in specs]

    async def states(self, ids: list[str]) -> list[State]:
        return [record.state for record in await self.store.get(ids) if record]


@pytest.fixture
async def counter(fake_clock: FakeClock) -> AsyncIterator[Counter]:
    async with MemoryStore(clock=fake_clock) as store:
        yield Counter(store, fake_clock)


EXAMPLES: dict[str, Any] = {
    "submit": V.SubmitParams(jobs=[]),
    "exchange": V.ExchangeParams(session_id="s", queues={}, want=0, nonce="n"),
    "beat": V.BeatParams(session=records.WireSession(id="s", name="s"), ttl=30.0),
    "cancel": V.CancelParams(query=records.WireQuery(ids=("x",))),
    "requeue": V.RequeueParams(query=records.WireQuery(ids=("x",))),
    "reap": V.ReapParams(),
    "purge": V.PurgeParams(query=records.WireQuery()),
    "get": V.GetParams(ids=()),
    "find": V.FindParams(query=records.WireQuery()),
    "counts": V.CountsParams(),
    "workflows": V.WorkflowsParams(),
    "put_schedules": V.PutSchedulesParams(),
    "schedules": V.SchedulesParams(),
    "fire": V.FireParams(firings=[]),
    "set_queue": V.SetQueueParams(name="q"),
    "queues": V.QueuesParams(),
    "sessions": V.SessionsParams(),
    "set_session": V.SetSessionParams(ids=(), command=Command.DRAIN),
    "put_keys": V.PutKeysParams(),
    "keys": V.KeysParams(),
    "lead": V.LeadParams(name="keeper", holder="h", ttl=1.0),
    "resign": V.ResignParams(term=Term("keeper", "h", 0.0, 1.0)),
    "record": V.RecordParams(events=[]),
    "events": V.EventsParams(query=records.WireEventQuery()),
    "wait": V.WaitParams(timeout=0.0),
    "migrate": V.MigrateParams(),
}


def test_every_verb_has_a_call() -> None:
    assert set(calls.CALLS) == set(verbs.VERBS) == set(EXAMPLES)


@pytest.mark.parametrize("verb", sorted(verbs.VERBS))
async def test_a_worker_may_call_what_is_named_and_nothing_else(
    counter: Counter, verb: str
) -> None:
    await counter.beat("s", ROVER)
    params = EXAMPLES[verb]
    if verb == "reap":
        params = V.ReapParams(sessions=("s",))
    elif verb == "events":
        params = V.EventsParams(query=records.WireEventQuery(), limit=1)
    call = counter.ask(verbs.VERBS[verb], params, ROVER)
    if verb in scopes.RULES:
        await call
    else:
        with pytest.raises(Forbidden, match="scope full"):
            await call


async def test_a_worker_never_leads(counter: Counter) -> None:
    params = V.LeadParams(name="keeper", holder="h", ttl=9.0)
    assert await counter.ask(V.LEAD, params, ROVER) is None
    assert await counter.ask(V.LEAD, params) is not None


async def test_a_worker_sees_its_own_queues_and_sessions_only(counter: Counter) -> None:
    await counter.put(1)
    await counter.put(1, queue="mail")
    await counter.beat("mine", PRESS)
    await counter.beat("yours", ROVER)
    queues = await counter.ask(V.QUEUES, V.QueuesParams(), PRESS)
    assert [queue.name for queue in queues] == ["print"]
    sessions = await counter.ask(V.SESSIONS, V.SessionsParams(), PRESS)
    assert [session.id for session in sessions] == ["mine"]
    assert len(await counter.ask(V.QUEUES, V.QueuesParams(), ROVER)) == 2
    assert len(await counter.ask(V.SESSIONS, V.SessionsParams())) == 2


async def test_a_worker_counts_its_own_queues_only(counter: Counter) -> None:
    await counter.put(1)
    await counter.put(2, queue="mail")
    counts = await counter.ask(V.COUNTS, V.CountsParams(window=60.0), PRESS)
    assert {tally.queue for tally in counts.tallies} == set(counts.oldest) == {"print"}
    assert ({line.queue for line in counts.activity}, counts.totals) == ({"print"}, {})
    counts = await counter.ask(V.COUNTS, V.CountsParams(), ROVER)
    assert {tally.queue for tally in counts.tallies} == {"print", "mail"}


async def test_a_worker_reads_of_the_trail_what_its_own_fleets_are_asked_alone(
    counter: Counter,
) -> None:
    for name, owner in (("mine", PRESS), ("yours", ROVER)):
        await counter.beat(name, owner)
        asked = FleetCommand(session=name, action="drain", reason="secret").as_event("f", actor="x")
        await counter.ask(V.RECORD, V.RecordParams(events=[asked]))
    follow = records.WireEventQuery(after=0, kinds=(Kind.FLEET_COMMANDED,))
    found = await counter.ask(V.EVENTS, V.EventsParams(query=follow), PRESS)
    assert [event.details.get("session") for event in found] == ["mine", None]
    [end] = await counter.ask(
        V.EVENTS, V.EventsParams(query=records.WireEventQuery(), limit=1), PRESS
    )
    assert (end.seq, end.actor, end.details) == (found[-1].seq, "", {})


@pytest.mark.parametrize(
    "params",
    [
        V.EventsParams(query=records.WireEventQuery()),
        V.EventsParams(query=records.WireEventQuery(after=0)),
        V.EventsParams(query=records.WireEventQuery(after=0, kinds=(Kind.KEY_CREATED,))),
        V.EventsParams(query=records.WireEventQuery(kinds=(Kind.FLEET_COMMANDED,))),
        V.EventsParams(query=records.WireEventQuery(job_id="j"), limit=1),
    ],
)
async def test_a_worker_reads_nothing_else_of_the_trail(
    counter: Counter, params: V.EventsParams
) -> None:
    with pytest.raises(Forbidden, match="may not read the audit trail"):
        await counter.ask(V.EVENTS, params, PRESS)


async def test_after_a_restart_of_the_server_no_command_is_hidden(counter: Counter) -> None:
    asked = FleetCommand(session="of-before", action="drain").as_event("f", actor="x")
    await counter.ask(V.RECORD, V.RecordParams(events=[asked]))
    follow = records.WireEventQuery(after=0, kinds=(Kind.FLEET_COMMANDED,))
    [event] = await counter.ask(V.EVENTS, V.EventsParams(query=follow), ROVER)
    assert event.details["session"] == "of-before"


async def test_a_worker_takes_and_hears_of_its_own_queues_only(counter: Counter) -> None:
    await counter.beat("s", PRESS)
    params = V.ExchangeParams(session_id="s", queues={"mail": 1}, want=1, nonce="n")
    with pytest.raises(Forbidden, match="'mail'"):
        await counter.ask(V.EXCHANGE, params, PRESS)
    with pytest.raises(Forbidden, match="'mail'"):
        await counter.ask(V.WAIT, V.WaitParams(queues=("mail",), timeout=1.0), PRESS)


@pytest.mark.parametrize("thief", [ROVER, EVERYBODY])
async def test_nobody_uses_the_session_of_another_client(counter: Counter, thief: Identity) -> None:
    await counter.put(1)
    await counter.beat("s", PRESS)
    with pytest.raises(LeaseLost):
        await counter.beat("s", thief)
    with pytest.raises(LeaseLost):
        await counter.exchange("s", thief, want=1)
    assert len((await counter.exchange("s", PRESS, want=1)).leased) == 1


async def test_a_worker_does_not_settle_what_another_one_holds(counter: Counter) -> None:
    await counter.put(1)
    await counter.beat("a", PRESS)
    await counter.beat("b", ROVER)
    [lease] = (await counter.exchange("a", PRESS, want=1)).leased
    guess = Settlement(lease.id, lease.epoch, "0" * 32, Outcome.COMPLETED)
    done = await counter.exchange("b", ROVER, guess)
    assert done.settled == [Settled.LEASE_LOST]
    assert await counter.states([lease.id]) == [State.ASSIGNED]


async def test_a_worker_reaps_its_own_sessions_and_nothing_besides(counter: Counter) -> None:
    await counter.beat("mine", PRESS)
    await counter.beat("yours", ROVER)
    counter.clock.advance(1_000)
    for sessions in ((), ("yours",), ("mine", "yours"), ("nobody",)):
        with pytest.raises(Forbidden):
            await counter.ask(V.REAP, V.ReapParams(sessions=sessions), PRESS)
    reaped = await counter.ask(V.REAP, V.ReapParams(sessions=("mine",)), PRESS)
    assert reaped.sessions == ("mine",)


@pytest.mark.parametrize(
    "event",
    [
        Event(kind=Kind.JOBS_PURGED, actor="fleet:f"),
        Event(kind=Kind.FLEET_STARTED, actor="cli:root"),
        Event(kind=Kind.FLEET_COMMANDED, actor="fleet:f"),
    ],
)
async def test_a_worker_writes_down_only_what_its_fleet_did(counter: Counter, event: Event) -> None:
    good = Event(kind=Kind.FLEET_STARTED, actor="fleet:f")
    await counter.ask(V.RECORD, V.RecordParams(events=[good]), ROVER)
    with pytest.raises(Forbidden):
        await counter.ask(V.RECORD, V.RecordParams(events=[good, event]), ROVER)


async def test_who_only_runs_jobs_does_not_learn_where_the_store_is(counter: Counter) -> None:
    hello = Hello(protocol=1)
    assert (await counter.desk.welcome(hello, ROVER)).info.details == {}
    assert (await counter.desk.welcome(hello, EVERYBODY)).info.url == "memory://"


async def test_a_batch_over_the_limit_is_refused(counter: Counter) -> None:
    job = records.show_job(JobSpec(id="j", task="t"))
    with pytest.raises(InvalidOption, match="50"):
        await counter.ask(V.SUBMIT, V.SubmitParams(jobs=[job] * 51))


async def test_a_payload_over_the_limit_is_refused_alone(counter: Counter) -> None:
    big = b'{"x":"%b"}' % (b"x" * 1_048_576)
    jobs = [
        records.show_job(JobSpec(id=name, task="t", payload=payload))
        for name, payload in (("a", b"{}"), ("b", big), ("c", b"{}"))
    ]
    answers = await counter.ask(V.SUBMIT, V.SubmitParams(jobs=jobs))
    assert [(answer.id, answer.created) for answer in answers] == [
        ("a", True),
        ("b", False),
        ("c", True),
    ]
    assert answers[1].error.code == "payload_too_large"


@pytest.mark.parametrize(
    "details", [{"x": "y" * 300_000}, {"x": json.loads("[" * 300 + "]" * 300)}]
)
async def test_a_session_that_tells_too_much_of_itself_is_refused(
    counter: Counter, details: dict[str, Any]
) -> None:
    spec = SessionSpec(id="s", name="s", details=details)
    params = V.BeatParams(session=records.show_session(spec), ttl=9.0)
    with pytest.raises(StokerError) as refused:
        await counter.ask(V.BEAT, params, ROVER)
    assert refused.value.code in {"payload_too_large", "invalid_payload"}
    assert await counter.ask(V.SESSIONS, V.SessionsParams()) == []


async def test_a_result_over_the_limit_is_refused(counter: Counter) -> None:
    await counter.put(1)
    await counter.beat("s", ROVER)
    [lease] = (await counter.exchange("s", ROVER, want=1)).leased
    fence = (lease.id, lease.epoch, lease.nonce)
    big = Settlement(*fence, Outcome.COMPLETED, b'"%b"' % (b"x" * 4_194_304))
    with pytest.raises(PayloadTooLarge, match="result"):
        await counter.exchange("s", ROVER, big)
    deep = Settlement(*fence, Outcome.COMPLETED, b"[" * 101 + b"]" * 101)
    with pytest.raises(InvalidPayload, match="deeper"):
        await counter.exchange("s", ROVER, deep)
    assert await counter.states([lease.id]) == [State.ASSIGNED]


@pytest.mark.parametrize("depth", [50, 99, 100, 101])
async def test_a_deep_result_is_found_among_flat_ones(counter: Counter, depth: int) -> None:
    await counter.put(40)
    await counter.beat("s", ROVER)
    leased = (await counter.exchange("s", ROVER, want=40)).leased
    results = [b"[" * depth + b"]" * depth, b'{"a":[1]}', b'"flat"', b"7"] * 10
    told = [
        Settlement(lease.id, lease.epoch, lease.nonce, Outcome.COMPLETED, result)
        for lease, result in zip(leased, results, strict=True)
    ]
    if depth > MAX_DEPTH:
        with pytest.raises(InvalidPayload, match="deeper"):
            await counter.exchange("s", ROVER, *told[:2])
        with pytest.raises(InvalidPayload, match="deeper"):
            await counter.exchange("s", ROVER, *told)
    else:
        assert (await counter.exchange("s", ROVER, *told)).settled == [Settled.OK] * 40


async def test_big_parameters_are_read_as_small_ones_are(counter: Counter) -> None:
    job = records.show_job(JobSpec(id="j", task="t", payload=b'{"x":"%b"}' % (b"x" * BIG)))
    [answer] = await counter.ask(V.SUBMIT, V.SubmitParams(jobs=[job]))
    assert answer.created


async def test_leases_that_do_not_fit_are_given_back_uncounted(counter: Counter) -> None:
    ids = await counter.put(10, size=30_000)
    await counter.beat("s", ROVER)
    nonce = counter.clock.new_nonce()
    done = await counter.exchange("s", ROVER, want=10, most=110_000, nonce=nonce)
    assert [lease.id for lease in done.leased] == ids[:3]
    assert await counter.states(ids) == [State.ASSIGNED] * 3 + [State.QUEUED] * 7
    again = await counter.exchange("s", ROVER, want=10, most=110_000, nonce=nonce)
    assert [lease.id for lease in again.leased] == ids[:3]
    records_of = await counter.store.get(ids)
    assert [record and record.attempt for record in records_of] == [1] * 3 + [0] * 7


async def test_a_lease_that_never_fits_is_a_dead_letter(counter: Counter) -> None:
    small, big = [*await counter.put(1), *await counter.put(1, size=200_000)]
    await counter.beat("s", ROVER)
    done = await counter.exchange("s", ROVER, want=10, most=100_000)
    assert [lease.id for lease in done.leased] == [small]
    [record] = await counter.store.get([big])
    assert record is not None
    assert record.error is not None
    assert (record.state, record.error.code) == (State.DEAD_LETTER, "payload_too_large")


async def test_a_page_that_does_not_fit_becomes_shorter(counter: Counter) -> None:
    ids = await counter.put(10, size=30_000)
    query = records.show_query(JobQuery())
    found: list[str] = []
    cursor: str | None = None
    pages = 0
    while True:
        page: Page = await counter.ask(
            V.FIND, V.FindParams(query=query, cursor=cursor, limit=10), most=120_000
        )
        found += [job.id for job in page.jobs]
        pages += 1
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == ids[::-1]
    assert pages > 1


async def test_an_answer_that_cannot_be_shorter_is_refused(counter: Counter) -> None:
    ids = await counter.put(2, size=100_000)
    with pytest.raises(FrameTooLarge, match="ask for less"):
        await counter.ask(V.GET, V.GetParams(ids=tuple(ids)), most=120_000)


async def test_a_mistake_of_the_server_leaves_open_what_was_done(
    counter: Counter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def explode(*_: Any) -> Any:
        raise RuntimeError("boom")

    monkeypatch.setitem(calls.CALLS, "queues", explode)
    with pytest.raises(OutcomeUnknown, match="mistake"):
        await counter.ask(V.QUEUES, V.QueuesParams())
    assert "boom" in caplog.text


async def test_what_the_store_says_is_what_the_client_hears(fake_clock: FakeClock) -> None:
    async with MemoryStore(clock=fake_clock) as inner:
        faulty = FaultyStore(inner)
        counter = Counter(faulty, fake_clock)
        faulty.plan("beat", After())
        with pytest.raises(OutcomeUnknown, match="as planned"):
            await counter.beat("s", ROVER)


async def test_an_unknown_verb_is_refused(counter: Counter) -> None:
    with pytest.raises(Unsupported, match="known are"):
        await counter.desk.answer(EVERYBODY, "drop", msgspec.Raw(b"{}"), most=MAX_ANSWER)


async def new_key(counter: Counter, *scopes: str, queues: tuple[str, ...] = ()) -> tuple[str, str]:
    spec, text = make_key(SystemClock(), name=scopes[0], scopes=scopes, queues=queues)
    await counter.store.put_keys([spec])
    return spec.id, text


async def test_a_key_of_the_store_lets_workers_in_with_its_queues(counter: Counter) -> None:
    _, worker = await new_key(counter, "worker", queues=("print",))
    _, admin = await new_key(counter, "admin")
    found = await counter.desk.admit(worker)
    assert (found.gateway_scope, found.queues) == ("worker", frozenset({"print"}))
    assert (await counter.desk.admit(admin)).gateway_scope == "full"


@pytest.mark.parametrize("scope", ["read", "submit", "operate"])
async def test_a_key_for_other_things_lets_no_worker_in(counter: Counter, scope: str) -> None:
    _, text = await new_key(counter, scope)
    with pytest.raises(Forbidden, match="scope worker, or admin"):
        await counter.desk.admit(text)


async def test_once_the_store_has_a_key_nobody_is_everybody(counter: Counter) -> None:
    assert await counter.desk.admit(None) is EVERYBODY
    await new_key(counter, "read")
    counter.desk.keyring.forget()
    for token in (None, "whatever", "stk_x"):
        with pytest.raises(Unauthenticated):
            await counter.desk.admit(token)


async def test_a_revoked_key_is_refused_at_the_next_request(
    counter: Counter, fake_clock: FakeClock
) -> None:
    key_id, text = await new_key(counter, "worker")
    identity = await counter.desk.admit(text)
    await counter.beat("s", identity)
    await counter.store.put_keys(revoke=[key_id])
    fake_clock.advance(FRESH)
    with pytest.raises(Unauthenticated, match="revoked"):
        await counter.beat("s", identity)
    with pytest.raises(Unauthenticated):
        await counter.desk.admit(text)


async def test_sessions_belong_to_a_key_and_not_to_its_name(
    counter: Counter, fake_clock: FakeClock
) -> None:
    key_id, text = await new_key(counter, "worker")
    await counter.beat("s", await counter.desk.admit(text))
    await counter.store.put_keys(revoke=[key_id])
    fake_clock.advance(FRESH)
    _, other = await new_key(counter, "worker")
    with pytest.raises(LeaseLost):
        await counter.beat("s", await counter.desk.admit(other))


async def test_wrong_tokens_slow_their_address_down_and_not_those_who_were_seen(
    counter: Counter,
) -> None:
    _, text = await new_key(counter, "worker")
    await counter.desk.admit(text, address="192.0.2.1")
    for _ in range(FAILURES):
        with pytest.raises(Unauthenticated):
            await counter.desk.admit("stk_wrong", address="192.0.2.1")
    with pytest.raises(RateLimited):
        await counter.desk.admit("stk_wrong", address="192.0.2.1")
    await counter.desk.admit(text, address="192.0.2.1")
    with pytest.raises(Unauthenticated):
        await counter.desk.admit("stk_wrong", address="192.0.2.2")


async def test_a_worker_sees_and_makes_no_keys(counter: Counter) -> None:
    for verb in ("keys", "put_keys"):
        with pytest.raises(Forbidden):
            await counter.ask(verbs.VERBS[verb], EXAMPLES[verb], ROVER)
