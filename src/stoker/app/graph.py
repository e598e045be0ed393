"""Workflows as JSON describes them: nodes by name, submitted in one commit.

::

    {"name": "ingest", "jobs": [
        {"name": "load", "task": "fetch", "payload": {"url": "..."}},
        {"name": "store", "task": "save", "payload": {"data": {"$output": "load"}}},
        {"name": "tell", "task": "notify", "after": ["store"]}]}

``{"$output": "load"}`` stands for the result of the node ``load``, which is then a parent without
being named in ``after``.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from stoker.app.bodies import JobBody, Name, OnFailureName, call_of
from stoker.app.calls import Call
from stoker.app.stoker import Run, Stoker
from stoker.core.codec import OUTPUT_KEY, fill_outputs, find_outputs
from stoker.core.errors import InvalidWorkflow, StokerError, from_code
from stoker.core.job import JobRecord, JobSpec, OnParentFailure, WorkflowSpec
from stoker.core.task import check_name
from stoker.core.workflow import MAX_NODES, check_graph

_BREATH = 100
"""Nodes after which others on the loop have their turn: 10,000 nodes take half a second."""


class NodeBody(JobBody, kw_only=True, forbid_unknown_fields=True):
    """One job of a workflow."""

    name: Name
    after: tuple[str, ...] = ()
    on_parent_failure: OnFailureName | None = None


class GraphBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A workflow to be submitted."""

    name: Name
    jobs: list[NodeBody]
    on_parent_failure: OnFailureName = "cancel"


class Graph(msgspec.Struct, frozen=True):
    """A checked workflow, ready to be submitted."""

    workflow: WorkflowSpec
    jobs: list[JobSpec]
    """Parents before children."""


async def build_graph(app: Stoker, body: GraphBody) -> Graph:
    """Check a workflow and make its jobs.

    Raises:
        InvalidWorkflow: No node, a cycle, an unknown parent, two nodes of one name.
        UnknownTask, InvalidArguments, InvalidOption: A job is wrong; the message names its node.
    """
    check_name(body.name, what="workflow name")
    nodes = _by_name(body.jobs)
    parents = {name: _parents(node) for name, node in nodes.items()}
    ids = {name: app.clock.new_id() for name in check_graph(parents)}
    spec = WorkflowSpec(id=app.clock.new_id(), name=body.name)
    jobs: list[JobSpec] = []
    for name, job_id in ids.items():
        try:
            call = await _call(app, nodes[name], ids)
        except StokerError as error:
            raise _named(error, name) from None
        jobs.append(
            call.spec(
                job_id,
                defaults=app.defaults,
                workflow_id=spec.id,
                node=name,
                parents=[ids[parent] for parent in parents[name]],
                on_parent_failure=_policy(nodes[name], body),
            )
        )
        if len(jobs) % _BREATH == 0:
            await asyncio.sleep(0)
    return Graph(spec, jobs)


async def submit_graph(
    app: Stoker, body: GraphBody, *, actor: str | None = None, run: Run | None = None
) -> Graph:
    """Check a workflow and submit all of its jobs in one commit, or none."""
    graph = await build_graph(app, body)
    await app.asubmit_workflow(graph.workflow, graph.jobs, actor=actor, run=run)
    return graph


def edges_of(jobs: Sequence[JobRecord]) -> list[tuple[str, str]]:
    """Return the edges between these jobs, as pairs of ids: parent, child."""
    known = {job.id for job in jobs}
    return [(parent, job.id) for job in jobs for parent in job.parents if parent in known]


def _by_name(given: Sequence[NodeBody]) -> dict[str, NodeBody]:
    if len(given) > MAX_NODES:
        raise InvalidWorkflow(f"the workflow has {len(given):,} jobs; the limit is {MAX_NODES:,}")
    nodes: dict[str, NodeBody] = {}
    for node in given:
        check_name(node.name, what="node name")
        if node.name in nodes:
            raise InvalidWorkflow(f"two nodes of the workflow are named {node.name!r}")
        nodes[node.name] = node
    return nodes


def _parents(node: NodeBody) -> list[str]:
    return list(dict.fromkeys([*node.after, *find_outputs(node.payload)]))


async def _call(app: Stoker, node: NodeBody, ids: Mapping[str, str]) -> Call[Any]:
    payload: Any = fill_outputs(node.payload, lambda name: {OUTPUT_KEY: ids[name]})
    return await call_of(app, msgspec.structs.replace(node, payload=payload))


def _policy(node: NodeBody, body: GraphBody) -> OnParentFailure:
    policy = node.on_parent_failure or body.on_parent_failure
    if policy not in {"cancel", "run"}:
        raise InvalidWorkflow(f"on_parent_failure is {policy!r}; expected 'cancel' or 'run'")
    return "run" if policy == "run" else "cancel"


def _named(error: StokerError, node: str) -> StokerError:
    named = from_code(error.code, f"node {node!r}: {error.message}")
    named.details = {"node": node, **error.details}
    return named
