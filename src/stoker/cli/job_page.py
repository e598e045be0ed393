"""One job as a page: what it is, how it stands, its attempts, its log."""

from datetime import datetime

from stoker.cli.output import Output
from stoker.cli.text import length, moment, plural, since, to_json
from stoker.core.job import Attempt, JobRecord
from stoker.core.lifecycle import WAITING, State

LAST_LINES = 20
"""Log lines on the page; ``stoker jobs logs`` has them all."""


def print_job(out: Output, job: JobRecord, *, now: datetime) -> None:
    """Print the page."""
    ended_badly = job.state is State.DEAD_LETTER
    out.pairs(
        [
            ("id", job.id),
            ("task", job.task),
            ("state", job.state),
            ("queue", f"{job.queue} ({job.priority})"),
            ("attempt", f"{job.attempt} of at most {job.max_retries + 1}"),
            ("progress", _progress(job)),
            ("error" if ended_badly else "last error", job.error),
            ("worker", job.worker),
            ("submitted", _both(job.submitted_at, now)),
            ("due", _both(job.run_at, now) if job.state in WAITING else ""),
            ("started", _both(job.started_at, now)),
            ("finished", _both(job.finished_at, now)),
            ("took", _took(job)),
            ("deadline", _both(job.deadline_at, now)),
            ("expires", _both(job.expires_at, now)),
            ("timeout", length(job.timeout)),
            ("lost", job.lost or ""),
            ("cancel asked", "yes" if job.cancel_requested else ""),
            ("unique key", job.unique_key),
            ("tenant", job.tenant),
            ("schedule", job.schedule),
            ("workflow", job.workflow_id),
            ("node", job.node),
            ("waits for", plural(job.waiting_for, "job") if job.waiting_for else ""),
        ]
    )
    out.heading("Payload")
    out.text(to_json(job.payload, indent=2))
    if job.result is not None:
        out.heading("Result")
        out.text(to_json(job.result, indent=2))
    if job.attempts:
        out.heading("Attempts")
        out.table(_COLUMNS, (_attempt(attempt) for attempt in job.attempts))
    _print_log(out, job)
    if job.error is not None and job.error.traceback:
        out.heading("Traceback" if ended_badly else "Traceback of the last error")
        out.text(job.error.traceback.rstrip())


_COLUMNS = ("#", "worker", "leased", "waited", "ran", "outcome", "error")


def _attempt(attempt: Attempt) -> tuple[object, ...]:
    return (
        attempt.attempt,
        attempt.worker,
        moment(attempt.leased_at),
        _between(attempt.leased_at, attempt.started_at),
        _between(attempt.started_at, attempt.finished_at),
        attempt.outcome or "under way",
        attempt.error,
    )


def _print_log(out: Output, job: JobRecord) -> None:
    if not job.logs:
        return
    left_out = len(job.logs) - LAST_LINES
    out.heading(f"Log (the last {LAST_LINES} lines)" if left_out > 0 else "Log")
    for line in job.logs[-LAST_LINES:]:
        out.line(f"{moment(line.at)}  {line.attempt}  {line.message}")


def _progress(job: JobRecord) -> str:
    if job.progress is None:
        return ""
    return f"{job.progress:.0%} {job.progress_note or ''}".rstrip()


def _both(then: datetime | None, now: datetime) -> str:
    return "" if then is None else f"{moment(then)} ({since(then, now)})"


def _between(begin: datetime | None, end: datetime | None) -> str:
    return "" if begin is None or end is None else length((end - begin).total_seconds())


def _took(job: JobRecord) -> str:
    return _between(job.started_at, job.finished_at)
