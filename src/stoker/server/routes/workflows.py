"""Workflows: submit, look, cancel, retry."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from stoker.app.graph import GraphBody, edges_of, submit_graph
from stoker.app.workflow import MAX_WORKFLOW, fetch_workflow, retry_workflow
from stoker.core.job import JobRecord
from stoker.core.records import MAX_PAGE, JobQuery, Page, WorkflowInfo
from stoker.server.access import Need, needs
from stoker.server.caller import PREFIX, Caller, reply
from stoker.server.describe import answers, takes
from stoker.server.query import Cursor, Limit
from stoker.server.schemas import (
    Edge,
    GraphNode,
    GraphView,
    ReasonBody,
    RetryWorkflowBody,
    WorkflowAnswer,
    WorkflowList,
    WorkflowView,
)

router = APIRouter(prefix=f"{PREFIX}/workflows", tags=["workflows"])

_EXAMPLE = {
    "name": "ingest",
    "jobs": [
        {"name": "pack", "task": "compress", "payload": {"data": "aGVsbG8="}},
        {
            "name": "tell",
            "task": "send_email",
            "payload": {"to": "user@example.com", "subject": "Packed", "body": "Done"},
            "after": ["pack"],
        },
    ],
}
JobLimit = Annotated[int, Query(ge=1, le=10_000, description="Jobs in the answer.")]


@router.post(
    "",
    status_code=201,
    responses=answers(WorkflowView, status=201, body=True, refuses=(404, 409)),
    openapi_extra=takes(GraphBody, example=_EXAMPLE),
)
@needs(Need.SUBMIT)
async def submit_workflow(request: Request) -> Response:
    """Submit a workflow: all of its jobs in one commit, or none.

    A node waits for those in `after` and for those whose result its payload takes:
    `{"$output": "pack"}` stands for what the node `pack` returns.
    """
    caller = Caller(request)
    body = await caller.body(GraphBody)
    graph = await submit_graph(caller.app, body, actor=caller.actor, run=caller.run)
    view = await _view(caller, graph.workflow.id, MAX_PAGE)
    return reply(view, 201, headers={"location": f"{PREFIX}/workflows/{view.id}"})


@router.get("", responses=answers(WorkflowList))
@needs(Need.READ)
async def list_workflows(request: Request, cursor: Cursor = None, limit: Limit = 100) -> Response:
    """List workflows, newest first."""
    caller = Caller(request)
    found, following = await caller.run(lambda store: store.workflows(cursor=cursor, limit=limit))
    return reply(WorkflowList(found, following))


@router.get("/{workflow_id}", responses=answers(WorkflowView, refuses=(404,)))
@needs(Need.READ)
async def get_workflow(request: Request, workflow_id: str, limit: JobLimit = MAX_PAGE) -> Response:
    """Return a workflow with its jobs and edges; of a very big one, its newest jobs."""
    return reply(await _view(Caller(request), workflow_id, limit))


@router.get("/{workflow_id}/graph", responses=answers(GraphView, refuses=(404,)))
@needs(Need.READ)
async def get_graph(
    request: Request, workflow_id: str, cursor: Cursor = None, limit: Limit = 500
) -> Response:
    """Return the shape of a workflow and the states of its jobs, newest submitted page first.

    For whoever draws it, and looks again while it runs: without payloads, results, attempts and
    log lines, which `GET /api/v1/jobs/{job_id}` has.
    """
    caller = Caller(request)
    info: WorkflowInfo = await caller.run(lambda store: fetch_workflow(store, workflow_id))
    page = await _page(caller, workflow_id, cursor, limit)
    jobs = sorted(page.jobs, key=lambda job: job.id)
    return reply(
        GraphView(
            **_head(info),
            nodes=[_node(job) for job in jobs],
            edges=[Edge(parent, job.id) for job in jobs for parent in job.parents],
            next_cursor=page.next_cursor,
        )
    )


@router.post(
    "/{workflow_id}/cancel",
    responses=answers(WorkflowAnswer, body=True, refuses=(404,)),
    openapi_extra=takes(ReasonBody, required=False),
)
@needs(Need.OPERATE)
async def cancel_workflow(request: Request, workflow_id: str) -> Response:
    """Call off every job of a workflow that has not ended."""
    caller = Caller(request)
    reason = (await caller.optional_body(ReasonBody)).reason
    query = JobQuery(workflow_id=workflow_id)
    await caller.run(lambda store: fetch_workflow(store, workflow_id))
    given = await caller.run(
        lambda s: s.cancel(query, actor=caller.actor, reason=reason, limit=MAX_WORKFLOW)
    )
    return reply(WorkflowAnswer(workflow_id, given))


@router.post(
    "/{workflow_id}/retry",
    responses=answers(WorkflowAnswer, body=True, refuses=(404,)),
    openapi_extra=takes(RetryWorkflowBody, required=False, example={"from": "pack"}),
)
@needs(Need.OPERATE)
async def retry_whole_workflow(request: Request, workflow_id: str) -> Response:
    """Run again what did not complete, or one node and everything downstream of it."""
    caller = Caller(request)
    node = (await caller.optional_body(RetryWorkflowBody)).node
    given = await caller.run(
        lambda store: retry_workflow(store, workflow_id, node, actor=caller.actor)
    )
    return reply(WorkflowAnswer(workflow_id, given))


async def _view(caller: Caller, workflow_id: str, limit: int) -> WorkflowView:
    info: WorkflowInfo = await caller.run(lambda store: fetch_workflow(store, workflow_id))
    jobs: list[JobRecord] = []
    cursor: str | None = None
    while len(jobs) < limit:
        page = await _page(caller, workflow_id, cursor, min(MAX_PAGE, limit - len(jobs)))
        jobs += page.jobs
        cursor = page.next_cursor
        if cursor is None:
            break
    # Ids rise in the order of submission: parents before children.
    jobs.sort(key=lambda job: job.id)
    return WorkflowView(
        **_head(info),
        jobs=jobs,
        edges=[Edge(parent, child) for parent, child in edges_of(jobs)],
        is_complete=cursor is None,
    )


def _head(info: WorkflowInfo) -> dict[str, Any]:
    return msgspec.structs.asdict(info) | {"counts": dict(info.counts)}


def _node(job: JobRecord) -> GraphNode:
    return GraphNode(
        id=job.id,
        node=job.node,
        task=job.task,
        state=job.state,
        progress=job.progress,
        started_at=job.started_at,
        finished_at=job.finished_at,
        waiting_for=job.waiting_for,
        cause=None if job.error is None else job.error.type or job.error.code,
    )


async def _page(caller: Caller, workflow_id: str, cursor: str | None, size: int) -> Page:
    query = JobQuery(workflow_id=workflow_id)
    return await caller.run(lambda store: store.find(query, cursor=cursor, limit=size))
