"""What is looked at before a store sees it: payloads, results, names, numbers of jobs.

A store takes jobs from callers who checked them. A client of the gateway is another program, in
another language, or somebody who means harm.
"""

from collections.abc import Sequence

import msgspec

from stoker.core import codec
from stoker.core.errors import (
    InvalidArguments,
    InvalidOption,
    InvalidPayload,
    StokerError,
)
from stoker.core.job import ErrorInfo, Submitted
from stoker.core.retry import RetryPolicy
from stoker.core.task import check_name
from stoker.core.wire.records import WireJob, WireSession, WireSettlement
from stoker.core.wire.verbs import (
    BeatParams,
    ExchangeParams,
    FireParams,
    PutSchedulesParams,
    RequeueParams,
    SubmitParams,
)
from stoker.settings import LimitSettings

MAX_DETAILS = 262_144
"""Bytes that a session may tell of itself; a fleet of a thousand workers takes less."""


class Refusals(msgspec.Struct, frozen=True):
    """What became of a batch at the door."""

    params: SubmitParams
    """The jobs that may pass."""
    refused: dict[int, Submitted]
    """The answers to the others, by their place in the batch."""

    def merge(self, answers: Sequence[Submitted]) -> list[Submitted]:
        """Put the answers of the store and those of the door in the order of the batch."""
        passed = iter(answers)
        total = len(answers) + len(self.refused)
        return [self.refused.get(place) or next(passed) for place in range(total)]


def check_batch(params: SubmitParams, limits: LimitSettings) -> Refusals:
    """Sort out the jobs that no store should see; of a workflow all or none.

    Raises:
        InvalidOption: More jobs than ``limits.batch``.
    """
    if len(params.jobs) > limits.batch:
        raise InvalidOption(
            f"the batch has {len(params.jobs):,} jobs; the limit is {limits.batch:,}"
        )
    refused: dict[int, Submitted] = {}
    for place, job in enumerate(params.jobs):
        try:
            check_job(job, limits)
        except StokerError as error:
            refused[place] = _refusal(job, error)
    if not refused:
        return Refusals(params, refused)
    if params.workflow is not None:
        first = next(iter(refused.values()))
        refused = {
            place: refused.get(place) or Submitted(job.id, created=False, error=first.error)
            for place, job in enumerate(params.jobs)
        }
    passed = [job for place, job in enumerate(params.jobs) if place not in refused]
    return Refusals(msgspec.structs.replace(params, jobs=passed), refused)


def check_params(params: object, limits: LimitSettings, given: bytes) -> None:
    """Refuse a call of another verb that brings what no store should see.

    Args:
        params: The parameters.
        limits: Of payloads and results.
        given: The parameters as they came.

    Raises:
        StokerError: It does.
    """
    if isinstance(params, BeatParams):
        _check_details(params.session)
    elif isinstance(params, ExchangeParams):
        _check_results(params.settlements, limits, given)
    elif isinstance(params, RequeueParams):
        if params.payload is not msgspec.UNSET:
            codec.parse_object(bytes(params.payload), limit=limits.payload)
    elif isinstance(params, PutSchedulesParams):
        for schedule in params.schedules:
            check_name(schedule.name, what="schedule")
            check_job(schedule.job, limits)
    elif isinstance(params, FireParams):
        for job in filter(None, (firing.job for firing in params.firings)):
            check_job(job, limits)


def check_job(job: WireJob, limits: LimitSettings) -> None:
    """Refuse a job.

    Raises:
        StokerError: Its payload, its names or its retry policy mean nothing.
    """
    check_name(job.task, what="task")
    check_name(job.queue, what="queue")
    codec.parse_object(bytes(job.payload), limit=limits.payload)
    if job.retry is not msgspec.UNSET:
        RetryPolicy.from_json(bytes(job.retry))


def _check_details(session: WireSession) -> None:
    if session.details:
        data = msgspec.json.encode(session.details)
        codec.check_size(len(data), limit=MAX_DETAILS, what="session's details")
        codec.check_depth(data, what="session's details")


def _check_results(
    settlements: Sequence[WireSettlement], limits: LimitSettings, given: bytes
) -> None:
    # Most results are small and flat. None is longer than all parameters together, or nests deeper
    # than all brackets beside those that each settlement has around it.
    brackets = given.count(b"{") + given.count(b"[") - len(settlements)
    if len(given) > limits.result or brackets > codec.MAX_DEPTH:
        for told in settlements:
            _check_result(told, limits)


def _check_result(told: WireSettlement, limits: LimitSettings) -> None:
    if told.result is msgspec.UNSET:
        return
    data = bytes(told.result)
    codec.check_size(len(data), limit=limits.result, what="result")
    codec.check_depth(data, what="result")


def _refusal(job: WireJob, error: StokerError) -> Submitted:
    known = InvalidArguments | InvalidOption | InvalidPayload
    kind = type(error).__name__ if isinstance(error, known) else ""
    info = ErrorInfo(code=error.code, message=error.message, type=kind)
    return Submitted(job.id, created=False, error=info)
