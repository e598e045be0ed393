"""The verbs of `stoker.core.store.Store` as data: their parameters, and the type of each answer.

A verb's parameters are an object whose keys are the arguments of the method of the same name, its
answer is what that returns. What the verbs promise stands at the protocol and nowhere else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from stoker.core.errors import InvalidArguments, ProtocolError
from stoker.core.events import Event, EventRecord
from stoker.core.job import (
    BeatReply,
    Command,
    Exchanged,
    JobRecord,
    SessionInfo,
    Submitted,
    WorkflowSpec,
)
from stoker.core.keys import KeyInfo, KeySpec
from stoker.core.records import (
    MAX_PAGE,
    Answer,
    Counts,
    Page,
    QueueInfo,
    Reaped,
    ScheduleInfo,
    SchemaStatus,
    Term,
    WorkflowInfo,
)
from stoker.core.wire import records
from stoker.core.wire.records import (
    Count,
    Number,
    RawOrNot,
    Seconds,
    Text,
    WireEventQuery,
    WireExchanged,
    WireFiring,
    WireHeld,
    WireJob,
    WirePage,
    WireQuery,
    WireRecord,
    WireSchedule,
    WireScheduleInfo,
    WireSession,
    WireSettlement,
)

P = TypeVar("P")
A = TypeVar("A")

Ids = tuple[Text, ...]
Ttl = Annotated[float, msgspec.Meta(gt=0, le=records.CENTURY)]
Wait = Annotated[float, msgspec.Meta(ge=0, le=records.CENTURY)]


class Params(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """The parameters of a verb. An unknown one is refused: ignored, it might have narrowed."""


class SubmitParams(Params, frozen=True, kw_only=True):
    """Of ``submit``."""

    jobs: list[WireJob]
    workflow: WorkflowSpec | None = None
    actor: Text = "system"


class ExchangeParams(Params, frozen=True, kw_only=True):
    """Of ``exchange``."""

    session_id: Text
    settlements: list[WireSettlement] = []
    queues: dict[Text, Count]
    """In order of precedence: readers must keep the order of the keys."""
    want: Count
    nonce: Text
    aged: Count = 0
    ids: Ids = ()


class BeatParams(Params, frozen=True, kw_only=True):
    """Of ``beat``."""

    session: WireSession
    held: list[WireHeld] = []
    ttl: Ttl


class CancelParams(Params, frozen=True, kw_only=True):
    """Of ``cancel``."""

    query: WireQuery
    actor: Text = "system"
    reason: Text = ""
    limit: Count = MAX_PAGE


class RequeueParams(Params, frozen=True, kw_only=True):
    """Of ``requeue``."""

    query: WireQuery
    downstream: bool = False
    payload: RawOrNot = msgspec.UNSET
    interval: Seconds = 0.0
    actor: Text = "system"
    reason: Text = ""
    limit: Count = MAX_PAGE


class ReapParams(Params, frozen=True, kw_only=True):
    """Of ``reap``."""

    sessions: Ids = ()
    grace: Seconds = 0.0
    limit: Count = MAX_PAGE
    actor: Text = "system"


class PurgeParams(Params, frozen=True, kw_only=True):
    """Of ``purge``."""

    query: WireQuery
    older_than: Seconds = 0.0
    keep: Count = 0
    limit: Count = MAX_PAGE
    actor: Text = "system"


class GetParams(Params, frozen=True, kw_only=True):
    """Of ``get``."""

    ids: Ids


class FindParams(Params, frozen=True, kw_only=True):
    """Of ``find``."""

    query: WireQuery
    cursor: Text | None = None
    limit: Number = 100


class CountsParams(Params, frozen=True, kw_only=True):
    """Of ``counts``."""

    window: Seconds = 0.0


class WorkflowsParams(Params, frozen=True, kw_only=True):
    """Of ``workflows``."""

    ids: Ids = ()
    cursor: Text | None = None
    limit: Number = 100


class PutSchedulesParams(Params, frozen=True, kw_only=True):
    """Of ``put_schedules``."""

    schedules: list[WireSchedule] = []
    remove: Ids = ()
    actor: Text = "system"


class SchedulesParams(Params, frozen=True, kw_only=True):
    """Of ``schedules``."""

    names: Ids = ()


class FireParams(Params, frozen=True, kw_only=True):
    """Of ``fire``."""

    firings: list[WireFiring]
    actor: Text = "system"


class SetQueueParams(Params, frozen=True, kw_only=True):
    """Of ``set_queue``."""

    name: Text
    paused: bool | None = None
    limit: Number | None = None
    actor: Text = "system"


class QueuesParams(Params, frozen=True, kw_only=True):
    """Of ``queues``: none."""


class SessionsParams(Params, frozen=True, kw_only=True):
    """Of ``sessions``."""

    ended: bool = False


class SetSessionParams(Params, frozen=True, kw_only=True):
    """Of ``set_session``."""

    ids: Ids
    command: Command
    actor: Text = "system"


class PutKeysParams(Params, frozen=True, kw_only=True):
    """Of ``put_keys``."""

    keys: list[KeySpec] = []
    revoke: Ids = ()
    used: Ids = ()
    actor: Text = "system"


class KeysParams(Params, frozen=True, kw_only=True):
    """Of ``keys``."""

    ids: Ids = ()


class LeadParams(Params, frozen=True, kw_only=True):
    """Of ``lead``."""

    name: Text
    holder: Text
    ttl: Ttl


class ResignParams(Params, frozen=True, kw_only=True):
    """Of ``resign``."""

    term: Term


class RecordParams(Params, frozen=True, kw_only=True):
    """Of ``record``."""

    events: list[Event]


class EventsParams(Params, frozen=True, kw_only=True):
    """Of ``events``."""

    query: WireEventQuery
    limit: Number = 100


class WaitParams(Params, frozen=True, kw_only=True):
    """Of ``wait``."""

    queues: Ids = ()
    ids: Ids = ()
    timeout: Wait


class MigrateParams(Params, frozen=True, kw_only=True):
    """Of ``migrate``."""

    to: Number | None = None
    dry_run: bool = False


class WorkflowPage(msgspec.Struct, frozen=True):
    """The answer of ``workflows``."""

    workflows: list[WorkflowInfo]
    next_cursor: str | None = None


def _same(value: Any) -> Any:
    return value


def _show_workflows(found: tuple[list[WorkflowInfo], str | None]) -> WorkflowPage:
    return WorkflowPage(*found)


def _read_workflows(page: WorkflowPage) -> tuple[list[WorkflowInfo], str | None]:
    return page.workflows, page.next_cursor


@dataclass(frozen=True)
class Verb(Generic[P, A]):
    """One verb of a store, as it travels."""

    name: str
    params: type[P]
    answer: Any
    """The type of the answer's JSON."""
    reads: bool = False
    """Whether it changes nothing, so that a lost answer means that nothing was done."""
    show: Callable[[A], Any] = _same
    """From what the store returns to what is encoded."""
    read: Callable[[Any], A] = _same
    """From what was decoded to what the store returned."""

    @cached_property
    def _params(self) -> "msgspec.json.Decoder[P]":
        return msgspec.json.Decoder(self.params)

    @cached_property
    def _answers(self) -> "msgspec.json.Decoder[Any]":
        return msgspec.json.Decoder(self.answer)

    def read_params(self, data: bytes | msgspec.Raw) -> P:
        """Read parameters.

        Raises:
            InvalidArguments: They do not fit this verb.
        """
        try:
            return self._params.decode(data)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise InvalidArguments(
                f"the parameters of {self.name!r} mean nothing: {error}"
            ) from None

    def write_answer(self, answer: A) -> bytes:
        """Return an answer as JSON."""
        return _encode(self.show(answer))

    def read_answer(self, data: bytes | msgspec.Raw) -> A:
        """Read an answer.

        Raises:
            ProtocolError: It is not one of this verb.
        """
        try:
            return self.read(self._answers.decode(data))
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ProtocolError(f"the answer to {self.name!r} cannot be read: {error}") from None


_encode = msgspec.json.Encoder().encode


def write_params(params: Params) -> bytes:
    """Return parameters as JSON."""
    return _encode(params)


SUBMIT: Verb[SubmitParams, list[Submitted]] = Verb("submit", SubmitParams, list[Submitted])
EXCHANGE: Verb[ExchangeParams, Exchanged] = Verb(
    "exchange",
    ExchangeParams,
    WireExchanged,
    show=records.show_exchanged,
    read=records.read_exchanged,
)
BEAT: Verb[BeatParams, BeatReply] = Verb("beat", BeatParams, BeatReply)
CANCEL: Verb[CancelParams, list[Answer]] = Verb("cancel", CancelParams, list[Answer])
REQUEUE: Verb[RequeueParams, list[Answer]] = Verb("requeue", RequeueParams, list[Answer])
REAP: Verb[ReapParams, Reaped] = Verb("reap", ReapParams, Reaped)
PURGE: Verb[PurgeParams, int] = Verb("purge", PurgeParams, int)
GET: Verb[GetParams, list[JobRecord | None]] = Verb(
    "get", GetParams, list[WireRecord | None], reads=True, read=records.read_records
)
FIND: Verb[FindParams, Page] = Verb(
    "find", FindParams, WirePage, reads=True, read=records.read_page
)
COUNTS: Verb[CountsParams, Counts] = Verb("counts", CountsParams, Counts, reads=True)
WORKFLOWS: Verb[WorkflowsParams, tuple[list[WorkflowInfo], str | None]] = Verb(
    "workflows",
    WorkflowsParams,
    WorkflowPage,
    reads=True,
    show=_show_workflows,
    read=_read_workflows,
)
PUT_SCHEDULES: Verb[PutSchedulesParams, list[str]] = Verb(
    "put_schedules", PutSchedulesParams, list[str]
)
SCHEDULES: Verb[SchedulesParams, list[ScheduleInfo]] = Verb(
    "schedules",
    SchedulesParams,
    list[WireScheduleInfo],
    reads=True,
    show=records.show_schedules,
    read=records.read_schedules,
)
FIRE: Verb[FireParams, list[Submitted | None]] = Verb("fire", FireParams, list[Submitted | None])
SET_QUEUE: Verb[SetQueueParams, QueueInfo] = Verb("set_queue", SetQueueParams, QueueInfo)
QUEUES: Verb[QueuesParams, list[QueueInfo]] = Verb(
    "queues", QueuesParams, list[QueueInfo], reads=True
)
SESSIONS: Verb[SessionsParams, list[SessionInfo]] = Verb(
    "sessions", SessionsParams, list[SessionInfo], reads=True
)
SET_SESSION: Verb[SetSessionParams, list[str]] = Verb("set_session", SetSessionParams, list[str])
PUT_KEYS: Verb[PutKeysParams, list[str]] = Verb("put_keys", PutKeysParams, list[str])
KEYS: Verb[KeysParams, list[KeyInfo]] = Verb("keys", KeysParams, list[KeyInfo], reads=True)
LEAD: Verb[LeadParams, Term | None] = Verb("lead", LeadParams, Term | None)
RESIGN: Verb[ResignParams, bool] = Verb("resign", ResignParams, bool)
RECORD: Verb[RecordParams, None] = Verb("record", RecordParams, None)
EVENTS: Verb[EventsParams, list[EventRecord]] = Verb(
    "events", EventsParams, list[EventRecord], reads=True
)
WAIT: Verb[WaitParams, bool] = Verb("wait", WaitParams, bool, reads=True)
MIGRATE: Verb[MigrateParams, SchemaStatus] = Verb("migrate", MigrateParams, SchemaStatus)

VERBS: dict[str, Verb[Any, Any]] = {
    verb.name: verb
    for verb in (
        SUBMIT,
        EXCHANGE,
        BEAT,
        CANCEL,
        REQUEUE,
        REAP,
        PURGE,
        GET,
        FIND,
        COUNTS,
        WORKFLOWS,
        PUT_SCHEDULES,
        SCHEDULES,
        FIRE,
        SET_QUEUE,
        QUEUES,
        SESSIONS,
        SET_SESSION,
        PUT_KEYS,
        KEYS,
        LEAD,
        RESIGN,
        RECORD,
        EVENTS,
        WAIT,
        MIGRATE,
    )
}
"""Every verb of a store by its name."""
