"""``stoker workflows``: submit workflows from files, look at them, call them off, retry them."""

from typing import TYPE_CHECKING

import click

from stoker.cli.exits import DONE, FAILED
from stoker.cli.filters import check_limit, find_all
from stoker.cli.jobs import print_answers
from stoker.cli.output import counted
from stoker.cli.payload import read_text
from stoker.cli.shell import Shell, common, group, json_option
from stoker.cli.text import moment, plain_json, plural, since
from stoker.core.duration import when
from stoker.core.job import JobRecord
from stoker.core.lifecycle import LIVE
from stoker.core.records import MAX_PAGE, JobQuery, WorkflowInfo

if TYPE_CHECKING:
    from stoker.app.stoker import Stoker
    from stoker.core.store import Store

MAX_FILE = 64 * 1_048_576
"""Bytes of a workflow's file."""


@group
def workflows() -> None:
    """Submit, look at and retry workflows."""


@workflows.command("ls")
@click.option("--limit", "-n", default=50, show_default=True, help="The most to list.")
@json_option
@common()
def ls(shell: Shell, *, limit: int) -> None:
    """List workflows, newest first."""
    check_limit(limit)

    async def work(_: "Stoker", store: "Store") -> tuple[list[WorkflowInfo], str | None]:
        found: list[WorkflowInfo] = []
        cursor: str | None = None
        while len(found) < limit:
            size = min(limit - len(found), MAX_PAGE)
            more, cursor = await store.workflows(cursor=cursor, limit=size)
            found += more
            if cursor is None:
                break
        return found, cursor

    found, cursor = shell.run(work)
    if shell.out.as_json:
        shell.out.document({"workflows": found, "next_cursor": cursor})
        return
    now = when(shell.app.clock.now())
    rows = (
        (w.id, w.name, w.state, _ended(w), since(w.submitted_at, now), _counts(w)) for w in found
    )
    columns = ("id", "name", "state", "ended", "submitted", "jobs")
    shell.out.table(columns, rows, empty="no workflows", spare=("submitted", "ended"))


@workflows.command()
@click.argument("workflow_id", metavar="ID")
@json_option
@common()
def show(shell: Shell, *, workflow_id: str) -> None:
    """Show a workflow and its jobs, parents before children."""
    from stoker.app.workflow import fetch_workflow

    async def work(_: "Stoker", store: "Store") -> tuple[WorkflowInfo, list[JobRecord]]:
        info = await fetch_workflow(store, workflow_id)
        query = JobQuery(workflow_id=workflow_id)
        return info, [job async for job in find_all(store, query)]

    info, found = shell.run(work)
    ordered = _ordered(found)
    if shell.out.as_json:
        from stoker.app.graph import edges_of

        edges = [{"from": parent, "to": child} for parent, child in edges_of(ordered)]
        shell.out.document({**plain_json(info), "jobs": ordered, "edges": edges})
        return
    shell.out.pairs(
        [
            ("id", info.id),
            ("name", info.name),
            ("state", info.state),
            ("jobs", _counts(info)),
            ("submitted", moment(info.submitted_at)),
            ("finished", moment(info.finished_at)),
        ]
    )
    shell.out.heading("Jobs")
    names = {job.id: job.node or job.id for job in ordered}
    rows = (
        (
            names[job.id],
            job.task,
            job.state,
            f"{job.attempt}/{job.max_retries + 1}",
            ", ".join(names.get(parent, parent) for parent in job.parents),
            job.id,
            job.error or "",
        )
        for job in ordered
    )
    columns = ("node", "task", "state", "attempt", "after", "id", "error")
    shell.out.table(columns, rows, spare=("attempt", "task", "after"))


@workflows.command()
@click.argument("workflow_id", metavar="ID")
@click.option("--reason", default="", help="Why, for the audit trail.")
@json_option
@common()
def cancel(shell: Shell, *, workflow_id: str, reason: str) -> int:
    """Call off every job of a workflow that has not ended."""
    from stoker.app.workflow import fetch_workflow

    async def work(app: "Stoker", store: "Store") -> int:
        await fetch_workflow(store, workflow_id)
        return len(await app.get_workflow(workflow_id).acancel(reason))

    count = shell.run(work)
    if shell.out.as_json:
        shell.out.document({"cancelled": count})
    else:
        shell.out.line(f"called off {plural(count, 'job')}")
    return DONE


@workflows.command()
@click.argument("workflow_id", metavar="ID")
@click.option("--from", "from_node", metavar="NODE", help="This node and all that follow it.")
@json_option
@common()
def retry(shell: Shell, *, workflow_id: str, from_node: str | None) -> int:
    """Run again what did not complete, or one node and everything after it."""

    async def work(app: "Stoker", _: "Store") -> int:
        answers = await app.get_workflow(workflow_id).aretry(from_node)
        return print_answers(shell, answers, good={"requeued"})

    return shell.run(work)


@workflows.command()
@click.argument("file", metavar="FILE")
@click.option("--wait", is_flag=True, help="Wait until every job has ended.")
@click.option("--timeout-wait", metavar="DURATION", help="How long to wait (with --wait).")
@json_option
@common()
def submit(shell: Shell, *, file: str, wait: bool, timeout_wait: str | None) -> int:
    """Submit a workflow from a JSON file (- for stdin); prints its id.

    \b
        {"name": "ingest", "jobs": [
            {"name": "load", "task": "fetch", "payload": {"url": "..."}},
            {"name": "save", "task": "save", "payload": {"data": {"$output": "load"}}},
            {"name": "tell", "task": "notify", "after": ["save"]}]}
    """  # noqa: D301 - \b keeps click from wrapping
    from stoker.app.bodies import read_body
    from stoker.app.graph import GraphBody, submit_graph
    from stoker.app.running import know_jobs
    from stoker.core import codec

    value = codec.parse_object(read_text(file), limit=MAX_FILE, what=f"workflow in {file}")
    body = read_body(value, GraphBody, what=f"workflow in {file}")
    know_jobs(shell.app)

    async def work(app: "Stoker", _: "Store") -> WorkflowInfo:
        graph = await submit_graph(app, body)
        run = app.get_workflow(graph.workflow.id)
        if not wait:
            return await run.ainfo()
        shell.out.note(
            f"workflow {graph.workflow.id} is submitted, {plural(len(graph.jobs), 'job')}"
        )
        return await run.await_end(timeout_wait)

    info = shell.run(work)
    if shell.out.as_json:
        shell.out.document(info)
    else:
        shell.out.line(info.id)
    if not wait:
        return DONE
    shell.out.note(f"workflow {info.id} is {info.state}: {_counts(info)}")
    return DONE if info.state == "completed" else FAILED


def _ordered(jobs: list[JobRecord]) -> list[JobRecord]:
    """Return the jobs of a workflow parents first."""
    from stoker.core.workflow import check_graph

    by_id = {job.id: job for job in reversed(jobs)}
    if not by_id:
        return []
    parents = {i: [p for p in job.parents if p in by_id] for i, job in by_id.items()}
    return [by_id[i] for i in check_graph(parents)]


def _counts(info: WorkflowInfo) -> str:
    return counted({str(state): count for state, count in info.counts.items()})


def _ended(info: WorkflowInfo) -> str:
    live = sum(count for state, count in info.counts.items() if state in LIVE)
    return f"{info.total - live}/{info.total}"
