"""Jobs as they travel: payloads, results and retry policies are JSON inside JSON, not bytes.

Each class here shows one of `stoker.core.job` or `stoker.core.records` and has its field names.
Fields with their default are left out.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from stoker.core.errors import InvalidArguments, InvalidOption, InvalidPayload
from stoker.core.job import (
    MAX_LOST,
    ErrorInfo,
    Exchanged,
    HeldJob,
    JobRecord,
    JobSpec,
    Leased,
    LogLine,
    OnParentFailure,
    Outcome,
    Priority,
    SessionSpec,
    Settled,
    Settlement,
)
from stoker.core.records import (
    CatchUp,
    EventQuery,
    Firing,
    JobQuery,
    Page,
    ScheduleInfo,
    ScheduleSpec,
)
from stoker.core.retry import RetryPolicy
from stoker.core.wire.messages import check_json

T = TypeVar("T")

Text = Annotated[str, msgspec.Meta(max_length=10_000)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Number = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
"""Bounded, but not judged: what it means is the store's to say."""
CENTURY = 3_200_000_000.0
Seconds = Annotated[float, msgspec.Meta(ge=-CENTURY, le=CENTURY)]
Instant = Annotated[float, msgspec.Meta(ge=-CENTURY, le=253_402_300_799.0)]

RawOrNot = msgspec.Raw | msgspec.UnsetType


class WireJob(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A `JobSpec`."""

    id: Text
    task: Text
    payload: msgspec.Raw
    queue: Text = "default"
    priority: Priority = Priority.MEDIUM
    retry: RawOrNot = msgspec.UNSET
    timeout: Seconds | None = None
    soft_timeout: Seconds | None = None
    delay: Seconds = 0.0
    run_at: Instant | None = None
    expires: Seconds | None = None
    unique_key: Text | None = None
    tenant: Text | None = None
    workflow_id: Text | None = None
    node: Text | None = None
    parents: tuple[Text, ...] = ()
    on_parent_failure: OnParentFailure = "cancel"
    max_lost: Count = MAX_LOST
    schedule: Text | None = None
    headers: dict[str, str] = {}


class WireLease(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A `Leased`."""

    id: str
    task: str
    payload: msgspec.Raw
    queue: str
    attempt: int
    epoch: int
    nonce: str
    timeout: float | None = None
    soft_timeout: float | None = None
    failed: int = 0
    lost: int = 0
    retry: RawOrNot = msgspec.UNSET
    parents: dict[str, msgspec.Raw] | None = None
    parent_names: dict[str, str] | None = None
    tenant: str | None = None
    workflow_id: str | None = None
    headers: dict[str, str] | None = None
    cancel_requested: bool = False


class WireSettlement(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True
):
    """A `Settlement`."""

    id: Text
    epoch: Count
    nonce: Text
    outcome: Outcome
    result: RawOrNot = msgspec.UNSET
    error: ErrorInfo | None = None
    retry_in: Seconds | None = None
    ran_for: Seconds | None = None
    progress: Seconds | None = None
    note: str | None = None
    logs: tuple[LogLine, ...] = ()


class WireHeld(HeldJob, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """A `HeldJob`."""

    id: Text
    epoch: Count
    nonce: Text
    ran_for: Seconds | None = None
    progress: Seconds | None = None


class WireSession(SessionSpec, frozen=True, kw_only=True, omit_defaults=True):
    """A `SessionSpec`."""

    id: Text
    name: Text
    pid: Count = 0
    concurrency: Count = 1


class WireExchanged(msgspec.Struct, frozen=True, gc=False):
    """An `Exchanged`."""

    settled: list[Settled]
    leased: list[WireLease]


class WireRecord(JobRecord, kw_only=True):
    """A `JobRecord`, as it can be decoded: a missing result reads as ``null``."""

    result: msgspec.Raw = msgspec.Raw(b"null")  # type: ignore[mutable-override]


class WirePage(msgspec.Struct, frozen=True):
    """A `Page`."""

    jobs: list[WireRecord]
    next_cursor: str | None = None


class WireQuery(
    JobQuery, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A `JobQuery`. A field that the reader does not know narrows what he would widen: refused."""


class WireEventQuery(
    EventQuery, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """An `EventQuery`; unknown fields are refused, as in `WireQuery`."""

    after: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None


class WireSchedule(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A `ScheduleSpec`."""

    name: Text
    job: WireJob
    cron: Text | None = None
    every: Seconds | None = None
    timezone: Text = "UTC"
    catch_up: CatchUp = "last"
    paused: bool = False
    next_at: Instant | None = None


class WireScheduleInfo(ScheduleInfo, frozen=True, kw_only=True):
    """A `ScheduleInfo`."""

    spec: WireSchedule  # type: ignore[assignment]


class WireFiring(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A `Firing`."""

    name: Text
    at: Instant
    expect: Instant | None = None
    next_at: Instant | None = None
    job: WireJob | None = None
    manual: bool = False


def embed(data: bytes, *, what: str) -> msgspec.Raw:
    """Return JSON bytes as a part of a message.

    Raises:
        InvalidPayload: They are not JSON.
    """
    try:
        return check_json(data)
    except ValueError as error:
        raise InvalidPayload(f"the {what} is not JSON: {error}") from None


def show_job(spec: JobSpec) -> WireJob:
    """Return a job as it travels."""
    policy = spec.retry.to_json()
    retry = msgspec.UNSET if policy == b"{}" else msgspec.Raw(policy)
    return _like(spec, WireJob, payload=embed(spec.payload, what="payload"), retry=retry)


def read_job(job: WireJob) -> JobSpec:
    """Return a job that travelled.

    Raises:
        InvalidArguments: Its retry policy is none.
    """
    try:
        retry = RetryPolicy() if job.retry is msgspec.UNSET else _policy(job.retry)
    except InvalidOption as error:
        raise InvalidArguments(f"job {job.id!r}: {error.message}") from None
    return _like(job, JobSpec, payload=bytes(job.payload), retry=retry)


def show_exchanged(done: Exchanged) -> WireExchanged:
    """Return what an exchange gave as it travels."""
    return WireExchanged(done.settled, show_leases(done.leased))


def read_exchanged(done: WireExchanged) -> Exchanged:
    """Return what an exchange gave."""
    return Exchanged(done.settled, [_read_lease(lease) for lease in done.leased])


def show_leases(leases: Iterable[Leased]) -> list[WireLease]:
    """Return leases as they travel. What the store holds is JSON already.

    The hot path of a gateway, as is `read_settlements`: a call for each would cost as much again.
    """
    return [
        WireLease(
            lease.id,
            lease.task,
            msgspec.Raw(lease.payload),
            lease.queue,
            lease.attempt,
            lease.epoch,
            lease.nonce,
            lease.timeout,
            lease.soft_timeout,
            lease.failed,
            lease.lost,
            msgspec.UNSET if lease.retry == b"{}" else msgspec.Raw(lease.retry),
            None if lease.parents is None else _show_results(lease.parents),
            lease.parent_names,  # type: ignore[arg-type]
            lease.tenant,
            lease.workflow_id,
            lease.headers,  # type: ignore[arg-type]
            lease.cancel_requested,
        )
        for lease in leases
    ]


def _show_results(results: Mapping[str, bytes]) -> dict[str, msgspec.Raw]:
    return {key: msgspec.Raw(data) for key, data in results.items()}


def _read_lease(lease: WireLease) -> Leased:
    parents = lease.parents
    return Leased(
        lease.id,
        lease.task,
        bytes(lease.payload),
        lease.queue,
        lease.attempt,
        lease.epoch,
        lease.nonce,
        lease.timeout,
        lease.soft_timeout,
        lease.failed,
        lease.lost,
        _bytes(lease.retry) or b"{}",
        None if parents is None else {key: bytes(data) for key, data in parents.items()},
        lease.parent_names,
        lease.tenant,
        lease.workflow_id,
        lease.headers,
        lease.cancel_requested,
    )


def show_settlement(told: Settlement) -> WireSettlement:
    """Return a settlement as it travels.

    Raises:
        InvalidPayload: Its result is not JSON.
    """
    result = told.result
    return WireSettlement(
        told.id,
        told.epoch,
        told.nonce,
        told.outcome,
        msgspec.UNSET if result is None else embed(result, what="result"),
        told.error,
        told.retry_in,
        told.ran_for,
        told.progress,
        told.note,
        told.logs,
    )


def read_settlements(settlements: Iterable[WireSettlement]) -> list[Settlement]:
    """Return settlements that travelled."""
    return [
        Settlement(
            told.id,
            told.epoch,
            told.nonce,
            told.outcome,
            None if told.result is msgspec.UNSET else bytes(told.result),
            told.error,
            told.retry_in,
            told.ran_for,
            told.progress,
            told.note,
            told.logs,
        )
        for told in settlements
    ]


def show_held(held: HeldJob) -> WireHeld:
    """Return what a beat says of a job as it travels."""
    return WireHeld(
        held.id, held.epoch, held.nonce, held.ran_for, held.progress, held.note, held.logs
    )


def show_session(session: SessionSpec) -> WireSession:
    """Return a session as it travels."""
    return _like(session, WireSession)


def read_session(session: WireSession) -> SessionSpec:
    """Return a session that travelled."""
    return _like(session, SessionSpec)


def read_record(record: WireRecord | None) -> JobRecord | None:
    """Return a job that travelled, or None."""
    if record is None:
        return None
    result = record.result
    return _like(record, JobRecord, result=None if bytes(result) == b"null" else result)


def read_records(records: list[WireRecord | None]) -> list[JobRecord | None]:
    """Return jobs that travelled."""
    return [read_record(record) for record in records]


def read_page(page: WirePage) -> Page:
    """Return a page that travelled."""
    jobs = [job for record in page.jobs if (job := read_record(record)) is not None]
    return Page(jobs, page.next_cursor)


def show_query(query: JobQuery) -> WireQuery:
    """Return a query as it travels."""
    return _like(query, WireQuery)


def read_query(query: WireQuery) -> JobQuery:
    """Return a query that travelled."""
    return _like(query, JobQuery)


def show_event_query(query: EventQuery) -> WireEventQuery:
    """Return a query for events as it travels."""
    return _like(query, WireEventQuery)


def read_event_query(query: WireEventQuery) -> EventQuery:
    """Return a query for events that travelled."""
    return _like(query, EventQuery)


def show_schedule(spec: ScheduleSpec) -> WireSchedule:
    """Return a schedule as it travels."""
    return _like(spec, WireSchedule, job=show_job(spec.job))


def read_schedule(spec: WireSchedule) -> ScheduleSpec:
    """Return a schedule that travelled."""
    return _like(spec, ScheduleSpec, job=read_job(spec.job))


def show_schedules(infos: list[ScheduleInfo]) -> list[WireScheduleInfo]:
    """Return what a store knows of schedules as it travels."""
    return [_like(info, WireScheduleInfo, spec=show_schedule(info.spec)) for info in infos]


def read_schedules(infos: list[WireScheduleInfo]) -> list[ScheduleInfo]:
    """Return what a store knows of schedules."""
    return [_like(info, ScheduleInfo, spec=read_schedule(info.spec)) for info in infos]


def show_firing(firing: Firing) -> WireFiring:
    """Return a firing as it travels."""
    return _like(firing, WireFiring, job=None if firing.job is None else show_job(firing.job))


def read_firing(firing: WireFiring) -> Firing:
    """Return a firing that travelled."""
    return _like(firing, Firing, job=None if firing.job is None else read_job(firing.job))


def _like(source: Any, kind: type[T], **changes: Any) -> T:
    """Make a struct of a kind from the fields of another one."""
    names: tuple[str, ...] = kind.__struct_fields__  # type: ignore[attr-defined]
    return kind(**{n: getattr(source, n) for n in names if n not in changes}, **changes)


def _policy(data: msgspec.Raw) -> RetryPolicy:
    return RetryPolicy.from_json(bytes(data))


def _bytes(data: msgspec.Raw | msgspec.UnsetType) -> bytes | None:
    return None if data is msgspec.UNSET else bytes(data)
