"""``stoker jobs``: look at jobs, call them off, bring them back, remove them."""

from typing import TYPE_CHECKING, Any

import click

from stoker.cli.exits import DONE, FAILED
from stoker.cli.filters import (
    check_limit,
    confirm,
    filter_options,
    job_query,
    narrows,
    state_option,
)
from stoker.cli.shell import Shell, common, group, json_option
from stoker.cli.text import length, moment, plural, since
from stoker.core.errors import JobNotFound
from stoker.core.job import JobRecord
from stoker.core.lifecycle import TERMINAL, WAITING, State
from stoker.core.records import MAX_PAGE, Answer, JobQuery

if TYPE_CHECKING:
    from datetime import datetime

    from stoker.app.stoker import Stoker
    from stoker.core.store import Store

COLUMNS = ("id", "task", "state", "queue", "priority", "attempt", "submitted", "info")
SPARE = ("priority", "queue", "attempt", "submitted")


@group
def jobs() -> None:
    """List, show, cancel, retry and remove jobs."""


@jobs.command("ls")
@state_option
@filter_options
@click.option("--limit", "-n", default=50, show_default=True, help="The most jobs to list.")
@click.option("--cursor", help="Go on where an earlier answer's next_cursor points.")
@json_option
@common()
def ls(
    shell: Shell,
    *,
    states: tuple[str, ...],
    wanted: dict[str, Any],
    limit: int,
    cursor: str | None,
) -> None:
    """List jobs, newest first."""
    check_limit(limit)
    query = job_query(wanted, clock=shell.app.clock, states=states)

    async def work(_: "Stoker", store: "Store") -> tuple[list[JobRecord], str | None]:
        found: list[JobRecord] = []
        after = cursor
        while len(found) < limit:
            page = await store.find(query, cursor=after, limit=min(limit - len(found), MAX_PAGE))
            found += page.jobs
            after = page.next_cursor
            if after is None:
                break
        return found, after

    found, after = shell.run(work)
    if shell.out.as_json:
        shell.out.document({"jobs": found, "next_cursor": after})
        return
    print_jobs(shell, found)
    if after is not None:
        shell.out.note(f"there are more; raise --limit, or go on with --cursor {after}")


@jobs.command()
@click.argument("job_id", metavar="ID")
@json_option
@common()
def show(shell: Shell, *, job_id: str) -> None:
    """Show everything about one job."""
    show_job(shell, job_id)


@jobs.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@state_option
@filter_options
@click.option("--reason", default="", help="Why, for the audit trail.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option
@common()
def cancel(
    shell: Shell,
    *,
    ids: tuple[str, ...],
    states: tuple[str, ...],
    wanted: dict[str, Any],
    reason: str,
    yes: bool,
) -> int:
    """Call jobs off: named ones, or all live ones that match.

    A waiting job is cancelled at once; a running one is told to stop.
    """
    query = _chosen(shell, ids, states, wanted)
    if not ids and not confirm(shell.out, "Cancel all live jobs that match?", yes=yes):
        return FAILED

    async def work(app: "Stoker", store: "Store") -> list[Answer]:
        answers: list[Answer] = []
        while True:
            more = await store.cancel(query, actor=app.actor, reason=reason)
            answers += more
            # A running job stays live and would be told again and again.
            if ids or not any(a.answer == "cancelled" for a in more) or len(more) < MAX_PAGE:
                return answers

    return print_answers(shell, shell.run(work), good={"cancelled", "requested"})


@jobs.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@state_option
@filter_options
@click.option("--payload", metavar="JSON", help="A new payload, for a single job.")
@click.option("--downstream", is_flag=True, help="Also everything after it in its workflow.")
@click.option("--reason", default="", help="Why, for the audit trail.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option
@common()
def retry(
    shell: Shell,
    *,
    ids: tuple[str, ...],
    states: tuple[str, ...],
    wanted: dict[str, Any],
    payload: str | None,
    downstream: bool,
    reason: str,
    yes: bool,
) -> int:
    """Run ended jobs again: named ones, or all that match."""
    query = _chosen(shell, ids, states or ("dead_letter", "cancelled"), wanted)
    if not ids and not confirm(shell.out, "Run all ended jobs that match again?", yes=yes):
        return FAILED
    data = None if payload is None else _read_payload(shell, ids, payload)

    async def work(app: "Stoker", store: "Store") -> list[Answer]:
        if data is not None:
            await _check_payload(app, store, ids[0], data)
        answers: list[Answer] = []
        while True:
            more = await store.requeue(
                query, payload=data, downstream=downstream, actor=app.actor, reason=reason
            )
            answers += more
            if ids or len(more) < MAX_PAGE or not any(a.answer == "requeued" for a in more):
                return answers

    return print_answers(shell, shell.run(work), good={"requeued"})


@jobs.command()
@click.argument("job_id", metavar="ID")
@click.option("--follow", "-f", is_flag=True, help="Go on until the job has ended.")
@json_option
@common()
def logs(shell: Shell, *, job_id: str, follow: bool) -> None:
    """Print the lines that a job logged.

    With --json one JSON object a line.
    """
    from stoker.cli.follow import LogTail

    tail = LogTail()

    def say(record: JobRecord) -> None:
        for line in tail.fresh(record.logs):
            if shell.out.as_json:
                shell.out.json_line(line)
            else:
                shell.out.line(f"{moment(line.at)}  {line.attempt}  {line.message}")

    async def work(app: "Stoker", _: "Store") -> None:
        job = await app.aget(job_id)
        if not follow:
            say(await job.arecord())
            return
        async for record in job.updates():
            say(record)

    shell.run(work)


@jobs.command("rm")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@json_option
@common()
def rm(shell: Shell, *, ids: tuple[str, ...]) -> int:
    """Delete ended or waiting jobs with all that belongs to them."""

    async def work(app: "Stoker", store: "Store") -> tuple[list[str], list[str]]:
        unknown = [i for i, job in zip(ids, await store.get(ids), strict=True) if job is None]
        await store.purge(JobQuery(ids=ids), limit=len(ids), actor=app.actor)
        left = [i for i, job in zip(ids, await store.get(ids), strict=True) if job is not None]
        return unknown, left

    unknown, left = shell.run(work)
    gone = len(set(ids)) - len(unknown) - len(left)
    if shell.out.as_json:
        shell.out.document({"removed": gone, "kept": left, "unknown": unknown})
    else:
        shell.out.line(f"removed {plural(gone, 'job')}")
    for job_id in left:
        shell.out.note(f"{job_id} stays: it runs, or its workflow goes on; cancel it first")
    _refuse_unknown(unknown)
    return FAILED if left else DONE


def print_jobs(shell: Shell, found: list[JobRecord]) -> None:
    """Print jobs as a table."""
    now = _now(shell)
    rows = (_row(shell, job, now) for job in found)
    shell.out.table(COLUMNS, rows, empty="no jobs", spare=SPARE)


def show_job(shell: Shell, job_id: str) -> None:
    """Print everything about one job."""

    async def work(app: "Stoker", _: "Store") -> JobRecord:
        return await (await app.aget(job_id)).arecord()

    record = shell.run(work)
    if shell.out.as_json:
        shell.out.document(record.to_dict())
        return
    from stoker.cli.job_page import print_job

    print_job(shell.out, record, now=_now(shell))


def print_answers(shell: Shell, answers: list[Answer], *, good: set[str]) -> int:
    """Print what became of jobs; refuse unknown ids; return 1 if some were refused."""
    if shell.out.as_json:
        shell.out.document({"answers": answers})
    else:
        shell.out.table(("id", "answer"), ((a.id, a.answer) for a in answers), empty="no jobs")
    _refuse_unknown([a.id for a in answers if a.answer == "unknown"])
    return DONE if all(a.answer in good for a in answers) else FAILED


def _refuse_unknown(ids: list[str]) -> None:
    if ids:
        shown = ", ".join(repr(i[:100]) for i in ids[:5])
        raise JobNotFound(
            f"no job has the id {shown}; it never existed here or was purged", ids=ids[:100]
        )


def _chosen(
    shell: Shell, ids: tuple[str, ...], states: tuple[str, ...], wanted: dict[str, Any]
) -> JobQuery:
    if ids and narrows(wanted):
        raise click.UsageError("give ids or filters, not both")
    if ids:
        return JobQuery(ids=ids)
    if not narrows(wanted):
        raise click.UsageError("name jobs by their ids, or say which with --task, --queue, ...")
    return job_query(wanted, clock=shell.app.clock, states=states)


def _read_payload(shell: Shell, ids: tuple[str, ...], payload: str) -> bytes:
    from stoker.core import codec

    if len(ids) != 1:
        raise click.UsageError("--payload is for exactly one job id")
    return codec.encode(codec.parse_object(payload, limit=shell.settings.limits.payload))


async def _check_payload(app: "Stoker", store: "Store", job_id: str, payload: bytes) -> None:
    """Refuse a payload that the job's task would refuse, if the task is known here."""
    from stoker.app.running import know_jobs

    [job] = await store.get([job_id])
    know_jobs(app)
    task = None if job is None else app.find_task(job.task)
    if task is not None:
        task.check(payload)


def _row(shell: Shell, job: JobRecord, now: "datetime") -> tuple[object, ...]:
    at = since(job.submitted_at, now) if shell.out.is_terminal else moment(job.submitted_at)
    return (
        job.id,
        job.task,
        job.state,
        job.queue,
        job.priority,
        f"{job.attempt}/{job.max_retries + 1}",
        at,
        _info(job, now),
    )


def _info(job: JobRecord, now: "datetime") -> str:
    if job.state in {State.SCHEDULED, State.RETRY_QUEUED}:
        due = since(job.run_at, now)
        return f"due {due}; {job.error}" if job.error else f"due {due}"
    if job.state is State.BLOCKED:
        return f"waits for {plural(job.waiting_for, 'job')}"
    if job.state in WAITING:
        return ""
    if job.state not in TERMINAL:
        done = "" if job.progress is None else f"{job.progress:.0%} {job.progress_note or ''}"
        return f"{job.worker or ''} {done}".strip()
    if job.state is State.COMPLETED:
        return _took(job)
    return str(job.error) if job.error else ""


def _took(job: JobRecord) -> str:
    if job.started_at is None or job.finished_at is None:
        return ""
    return f"took {length((job.finished_at - job.started_at).total_seconds())}"


def _now(shell: Shell) -> "datetime":
    from stoker.core.duration import when

    return when(shell.app.clock.now())
