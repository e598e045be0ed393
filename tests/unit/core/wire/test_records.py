"""Jobs on the wire: what goes in comes out, whatever the fields hold."""

import inspect
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core import codec
from stoker.core.errors import InvalidArguments, InvalidPayload
from stoker.core.job import (
    Attempt,
    ErrorInfo,
    Exchanged,
    HeldJob,
    JobRecord,
    JobSpec,
    Leased,
    LogLine,
    Outcome,
    Priority,
    Settled,
    Settlement,
)
from stoker.core.lifecycle import State
from stoker.core.records import Firing, JobQuery, Page, ScheduleInfo, ScheduleSpec
from stoker.core.retry import RetryPolicy
from stoker.core.store import Store
from stoker.core.wire import records, verbs

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TEXTS = st.text(max_size=20)
MAYBE = st.none() | TEXTS
SECONDS = st.none() | st.floats(0, 1e6)
PAYLOADS = st.dictionaries(TEXTS, TEXTS | st.integers(-(2**60), 2**60), max_size=3).map(
    codec.encode
)
RESULTS = st.none() | st.one_of(PAYLOADS, st.sampled_from([b"null", b"[ 1,2 ]", b'"x"']))
POLICIES = st.builds(
    RetryPolicy,
    st.integers(0, 100),
    backoff=st.sampled_from(["fixed", "linear", "exponential"]),
    jitter=st.booleans(),
    never=st.lists(st.just("ValueError"), max_size=1),
)
LINES = st.lists(st.builds(LogLine, st.just(NOW), TEXTS, st.integers(0, 9)), max_size=2).map(tuple)
SPECS = st.builds(
    JobSpec,
    id=TEXTS,
    task=TEXTS,
    payload=PAYLOADS,
    queue=TEXTS,
    priority=st.sampled_from(Priority),
    retry=POLICIES,
    timeout=SECONDS,
    soft_timeout=SECONDS,
    delay=st.floats(0, 1e6),
    run_at=SECONDS,
    expires=SECONDS,
    unique_key=MAYBE,
    tenant=MAYBE,
    workflow_id=MAYBE,
    node=MAYBE,
    parents=st.lists(TEXTS, max_size=2).map(tuple),
    on_parent_failure=st.sampled_from(["cancel", "run"]),
    max_lost=st.integers(1, 9),
    schedule=MAYBE,
    headers=st.dictionaries(TEXTS, TEXTS, max_size=2),
)
LEASES = st.builds(
    Leased,
    id=TEXTS,
    task=TEXTS,
    payload=PAYLOADS,
    queue=TEXTS,
    attempt=st.integers(1, 9),
    epoch=st.integers(1, 9),
    nonce=TEXTS,
    timeout=SECONDS,
    soft_timeout=SECONDS,
    failed=st.integers(0, 9),
    lost=st.integers(0, 9),
    retry=POLICIES.map(RetryPolicy.to_json),
    parents=st.none() | st.dictionaries(TEXTS, PAYLOADS, max_size=2),
    parent_names=st.none() | st.dictionaries(TEXTS, TEXTS, max_size=2),
    tenant=MAYBE,
    workflow_id=MAYBE,
    headers=st.none() | st.dictionaries(TEXTS, TEXTS, max_size=2),
    cancel_requested=st.booleans(),
)
SETTLEMENTS = st.builds(
    Settlement,
    id=TEXTS,
    epoch=st.integers(1, 9),
    nonce=TEXTS,
    outcome=st.sampled_from(Outcome),
    result=RESULTS,
    error=st.none() | st.builds(ErrorInfo, TEXTS, TEXTS, TEXTS, MAYBE),
    retry_in=SECONDS,
    ran_for=SECONDS,
    progress=SECONDS,
    note=MAYBE,
    logs=LINES,
)
HELD = st.builds(
    HeldJob,
    id=TEXTS,
    epoch=st.integers(1, 9),
    nonce=TEXTS,
    ran_for=SECONDS,
    progress=SECONDS,
    note=MAYBE,
    logs=LINES,
)


def job(**changes: object) -> JobRecord:
    given: dict[str, object] = {
        "id": "j",
        "task": "t",
        "queue": "q",
        "priority": Priority.LOW,
        "state": State.COMPLETED,
        "attempt": 1,
        "max_retries": 3,
        "payload": msgspec.Raw(b'{"a": 1}'),
        "submitted_at": NOW,
        "run_at": NOW,
        "attempts": [Attempt(1, 1, "w", NOW, outcome="completed")],
        "logs": [LogLine(NOW, "x", 1)],
    }
    return JobRecord(**(given | changes))  # type: ignore[arg-type]


@given(spec=SPECS)
def test_a_job_comes_out_as_it_went_in(spec: JobSpec) -> None:
    data = msgspec.json.encode(records.show_job(spec))
    assert records.read_job(msgspec.json.decode(data, type=records.WireJob)) == spec


@given(leased=st.lists(LEASES, max_size=3), settled=st.lists(st.sampled_from(Settled), max_size=3))
def test_an_exchange_comes_out_as_it_went_in(leased: list[Leased], settled: list[Settled]) -> None:
    done = Exchanged(settled, leased)
    assert verbs.EXCHANGE.read_answer(verbs.EXCHANGE.write_answer(done)) == done


@given(told=SETTLEMENTS)
def test_a_settlement_comes_out_as_it_went_in(told: Settlement) -> None:
    data = msgspec.json.encode(records.show_settlement(told))
    travelled = msgspec.json.decode(data, type=records.WireSettlement)
    assert records.read_settlements([travelled]) == [told]


@given(held=HELD)
def test_what_a_beat_says_comes_out_as_it_went_in(held: HeldJob) -> None:
    data = msgspec.json.encode(records.show_held(held))
    again = msgspec.json.decode(data, type=records.WireHeld)
    assert msgspec.structs.asdict(again) == msgspec.structs.asdict(held)


@given(spec=SPECS, at=st.floats(0, 1e9))
def test_schedules_and_firings_come_out_as_they_went_in(spec: JobSpec, at: float) -> None:
    schedule = ScheduleSpec(name="n", job=spec, every=5.0, next_at=at)
    data = msgspec.json.encode(records.show_schedule(schedule))
    again = msgspec.json.decode(data, type=records.WireSchedule)
    assert records.read_schedule(again) == schedule
    info = ScheduleInfo(spec=schedule, created_at=NOW, updated_at=NOW)
    assert verbs.SCHEDULES.read_answer(verbs.SCHEDULES.write_answer([info])) == [info]
    firing = Firing(name="n", at=at, expect=None, next_at=at, job=spec)
    data = msgspec.json.encode(records.show_firing(firing))
    assert records.read_firing(msgspec.json.decode(data, type=records.WireFiring)) == firing


@pytest.mark.parametrize("result", [None, b"[1, 2]", b'"x"', b"0"])
def test_a_record_comes_out_as_it_went_in(result: bytes | None) -> None:
    record = job(result=None if result is None else msgspec.Raw(result))
    found = verbs.GET.read_answer(verbs.GET.write_answer([record, None]))
    assert found == [record, None]
    assert type(found[0]) is JobRecord
    page = verbs.FIND.read_answer(verbs.FIND.write_answer(Page([record], "c")))
    assert page == Page([record], "c")


def test_a_payload_that_is_no_json_does_not_spoil_the_message() -> None:
    with pytest.raises(InvalidPayload, match="payload"):
        records.show_job(JobSpec(id="j", task="t", payload=b'{}},"id":"k"'))
    told = Settlement("j", 1, "n", Outcome.COMPLETED, result=b"nope")
    with pytest.raises(InvalidPayload, match="result"):
        records.show_settlement(told)


def test_a_retry_policy_that_is_none_is_refused() -> None:
    wrong = records.WireJob(id="j", task="t", payload=msgspec.Raw(b"{}"), retry=msgspec.Raw(b"[]"))
    with pytest.raises(InvalidArguments, match="'j'"):
        records.read_job(wrong)


def test_a_query_travels_with_what_it_narrows_and_no_more() -> None:
    query = JobQuery(ids=("a",), tenant="acme")
    data = msgspec.json.encode(records.show_query(query))
    assert data == b'{"ids":["a"],"tenant":"acme"}'
    assert records.read_query(msgspec.json.decode(data, type=records.WireQuery)) == query


def test_every_verb_of_the_store_travels_with_its_own_parameters() -> None:
    own = {name for name in vars(Store) if not name.startswith("_")} - {"info", "transactions"}
    assert own == set(verbs.VERBS)
    for name, verb in verbs.VERBS.items():
        arguments = set(inspect.signature(getattr(Store, name)).parameters) - {"self"}
        assert arguments == set(verb.params.__struct_fields__), name
