"""Workflows as users build them: a DAG of calls, submitted in one commit."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

from stoker.app.calls import Call
from stoker.app.home import Home
from stoker.app.job import Job
from stoker.app.joining import refuse_connection
from stoker.core.codec import Output
from stoker.core.duration import Duration, optional_seconds
from stoker.core.errors import InvalidWorkflow, ResultTimeout, WorkflowNotFound, from_code
from stoker.core.job import JobSpec, OnParentFailure, Submitted, WorkflowSpec
from stoker.core.lifecycle import State
from stoker.core.records import Answer, JobQuery, WorkflowInfo
from stoker.core.store import Store
from stoker.core.task import check_name
from stoker.core.workflow import check_graph

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

LOOK_AGAIN = 1.0


class Node(Generic[R_co]):
    """One job of a workflow that is being built.

    Attributes:
        id: The id its job will have.
        name: Its name in the workflow.
    """

    def __init__(
        self,
        call: Call[Any],
        job_id: str,
        name: str,
        parents: tuple[str, ...],
        on_parent_failure: OnParentFailure,
    ) -> None:
        """Make a node; users do it with `Flow.add`."""
        self.call = call
        self.id = job_id
        self.name = name
        self.parents = parents
        self.on_parent_failure = on_parent_failure

    @property
    def output(self) -> R_co:
        """Stands for the node's result in the arguments of another one, which then waits for it.

        To the type checker it is the result itself; the value exists only when the child runs.
        """
        return cast("R_co", Output(self.id))


class Flow:
    """A workflow that is being built.

    Attributes:
        id: The workflow's id.
        name: Its name.
        nodes: Node by name, in the order they were added.
    """

    def __init__(
        self, app: Home, name: str, *, on_parent_failure: OnParentFailure = "cancel"
    ) -> None:
        """Begin a workflow; users do it with `Stoker.workflow`.

        Args:
            app: Who submits it.
            name: For people.
            on_parent_failure: ``"cancel"``: what depends on a job that did not complete is
                cancelled. ``"run"``: it runs all the same. Each node may say otherwise.
        """
        self._app = app
        self.name = check_name(name, what="workflow name")
        self.id = app.clock.new_id()
        self.nodes: dict[str, Node[Any]] = {}
        self._ids: set[str] = set()
        self._policy = _policy(on_parent_failure)

    def add(
        self,
        call: Call[R],
        *,
        after: Sequence[Node[Any]] = (),
        name: str | None = None,
        on_parent_failure: OnParentFailure | None = None,
    ) -> Node[R]:
        """Add a job.

        Args:
            call: ``task.call(...)``. Arguments may hold ``other.output``.
            after: Nodes it waits for, besides those whose output it takes.
            name: Unique in the workflow; the task's name, numbered, if not given.
            on_parent_failure: See `Flow`.

        Raises:
            InvalidWorkflow: The name is taken, or a parent is not of this workflow.
        """
        refuse_connection(call, "a node of a workflow")
        name = self._name(call.name) if name is None else check_name(name, what="node name")
        if name in self.nodes:
            raise InvalidWorkflow(f"the workflow has a node named {name!r} already")
        parents = dict.fromkeys([node.id for node in after] + call.outputs())
        for parent in parents:
            if parent not in self._ids:
                raise InvalidWorkflow(
                    f"node {name!r} waits for job {parent}, which is no node of this workflow; "
                    "add the parent first"
                )
        policy = self._policy if on_parent_failure is None else _policy(on_parent_failure)
        node: Node[R] = Node(call, self._app.clock.new_id(), name, tuple(parents), policy)
        self.nodes[name] = node
        self._ids.add(node.id)
        return node

    def chain(self, *calls: Call[Any], after: Sequence[Node[Any]] = ()) -> list[Node[Any]]:
        """Add jobs that run one after the other; return their nodes."""
        nodes: list[Node[Any]] = []
        for call in calls:
            nodes.append(self.add(call, after=nodes[-1:] or after))
        return nodes

    def submit(self) -> "WorkflowRun":
        """Submit all jobs in one commit: all of them are accepted, or none."""
        return self._app.run(self.asubmit())

    async def asubmit(self) -> "WorkflowRun":
        """See `submit`."""
        specs = self.specs()
        spec = WorkflowSpec(id=self.id, name=self.name)
        await self._app.asubmit_workflow(spec, specs)
        jobs = {
            name: Job[Any](self._app, node.id, returns=_returns(node.call))
            for name, node in self.nodes.items()
        }
        return WorkflowRun(self._app, self.id, jobs)

    def specs(self) -> list[JobSpec]:
        """Return the jobs as a store takes them.

        Raises:
            InvalidWorkflow: No node.
        """
        check_graph({node.id: node.parents for node in self.nodes.values()})
        return [
            node.call.spec(
                node.id,
                defaults=self._app.defaults,
                workflow_id=self.id,
                node=name,
                parents=node.parents,
                on_parent_failure=node.on_parent_failure,
            )
            for name, node in self.nodes.items()
        ]

    def _name(self, task: str) -> str:
        if task not in self.nodes:
            return task
        number = len(self.nodes) + 1
        while f"{task}-{number}" in self.nodes:
            number += 1
        return f"{task}-{number}"


class WorkflowRun:
    """A submitted workflow.

    Attributes:
        id: Its id.
        jobs: Handle of each job by node name; empty when the run was looked up by id.
    """

    def __init__(
        self, app: Home, workflow_id: str, jobs: Mapping[str, Job[Any]] | None = None
    ) -> None:
        """Make a handle."""
        self._app = app
        self.id = workflow_id
        self.jobs: Mapping[str, Job[Any]] = jobs or {}

    def info(self) -> WorkflowInfo:
        """Return its state and the states of its jobs.

        Raises:
            WorkflowNotFound: It does not exist (any more).
        """
        return self._app.run(self.ainfo())

    async def ainfo(self) -> WorkflowInfo:
        """See `info`."""
        return await self._app.arun(lambda store: fetch_workflow(store, self.id))

    def wait(self, timeout: Duration | None = None) -> WorkflowInfo:
        """Block until every job has ended.

        Raises:
            ResultTimeout: Not in time. It goes on.
        """
        return self._app.run(self.await_end(timeout))

    async def await_end(self, timeout: Duration | None = None) -> WorkflowInfo:
        """See `wait`."""
        limit = optional_seconds(timeout, name="timeout")
        return await self._app.arun(lambda store: self._ended(store, limit))

    def cancel(self, reason: str = "") -> list[Answer]:
        """Call off every job that has not ended."""
        return self._app.run(self.acancel(reason))

    async def acancel(self, reason: str = "") -> list[Answer]:
        """See `cancel`."""
        query = JobQuery(workflow_id=self.id)
        actor = self._app.actor
        return await self._app.arun(
            lambda store: store.cancel(query, actor=actor, reason=reason, limit=MAX_WORKFLOW)
        )

    def retry(self, from_node: str | None = None) -> list[Answer]:
        """Run again what did not complete, or one node and everything downstream of it.

        Args:
            from_node: Its name; None: every job that ended other than completed.

        Raises:
            WorkflowNotFound: No such workflow, or no node of that name in it.
        """
        return self._app.run(self.aretry(from_node))

    async def aretry(self, from_node: str | None = None) -> list[Answer]:
        """See `retry`."""
        actor = self._app.actor
        return await self._app.arun(
            lambda store: retry_workflow(store, self.id, from_node, actor=actor)
        )

    async def _ended(self, store: Store, limit: float | None) -> WorkflowInfo:
        clock = self._app.clock
        deadline = None if limit is None else clock.monotonic() + limit
        while True:
            info = await fetch_workflow(store, self.id)
            if info.state != "running":
                return info
            left = LOOK_AGAIN if deadline is None else deadline - clock.monotonic()
            if left <= 0:
                raise ResultTimeout(
                    f"workflow {self.id} did not end within {limit:g} s; it goes on", id=self.id
                )
            ids = [job.id for job in self.jobs.values()][:1000]
            await store.wait(ids=ids, timeout=min(left, LOOK_AGAIN / 4 if ids else 0.1))


MAX_WORKFLOW = 100_000
"""The most jobs of one workflow that a cancel or retry touches."""


async def fetch_workflow(store: Store, workflow_id: str) -> WorkflowInfo:
    """Return one workflow.

    Raises:
        WorkflowNotFound: It does not exist.
    """
    found, _ = await store.workflows([workflow_id])
    if not found:
        raise WorkflowNotFound(
            f"no workflow has the id {workflow_id[:100]!r}; it never existed here or was purged",
            id=workflow_id[:100],
        )
    return found[0]


async def retry_workflow(
    store: Store, workflow_id: str, from_node: str | None, *, actor: str
) -> list[Answer]:
    """Requeue what did not complete, or one node and everything downstream of it."""
    await fetch_workflow(store, workflow_id)
    if from_node is None:
        states = (State.DEAD_LETTER, State.CANCELLED)
        query = JobQuery(workflow_id=workflow_id, states=states)
        return await store.requeue(query, actor=actor, limit=MAX_WORKFLOW)
    job_id = await _node_id(store, workflow_id, from_node)
    query = JobQuery(ids=(job_id,))
    return await store.requeue(query, downstream=True, actor=actor, limit=MAX_WORKFLOW)


async def _node_id(store: Store, workflow_id: str, node: str) -> str:
    cursor: str | None = None
    while True:
        page = await store.find(JobQuery(workflow_id=workflow_id), cursor=cursor, limit=1000)
        for job in page.jobs:
            if node in (job.node, job.id):
                return job.id
        cursor = page.next_cursor
        if cursor is None:
            raise WorkflowNotFound(f"workflow {workflow_id} has no node named {node!r}")


def refuse(answers: Sequence[Submitted]) -> None:
    """Raise the error among the answers to a submit that says the most.

    A workflow is refused as a whole: its innocent jobs carry ``invalid_workflow``, the guilty one
    carries the cause.
    """
    errors = [answer.error for answer in answers if answer.error is not None]
    if errors:
        cause = next((e for e in errors if e.code != InvalidWorkflow.code), errors[0])
        raise from_code(cause.code, cause.message)


def _returns(call: Call[Any]) -> Any:
    return Any if call.task is None else call.task.returns


def _policy(value: object) -> OnParentFailure:
    if value == "cancel" or value == "run":  # noqa: PLR1714 - narrows the type
        return value
    raise InvalidWorkflow(f"on_parent_failure is {value!r}; expected 'cancel' or 'run'")
