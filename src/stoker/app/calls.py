"""What is submitted: a task's name, its checked payload, and the options of this one job."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from stoker.core import codec
from stoker.core.duration import Duration, instant, optional_seconds, seconds
from stoker.core.errors import InvalidOption
from stoker.core.job import JobSpec, OnParentFailure, Priority
from stoker.core.retry import RetryPolicy
from stoker.core.task import Task, TaskOptions, check_name, check_priority

R = TypeVar("R")

MAX_TEXT = 500
"""Characters of a unique key or a tenant."""


class JobOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Options of one job; None leaves the task's own."""

    queue: str | None = None
    priority: Priority | None = None
    retry: RetryPolicy | None = None
    max_retries: int | None = None
    timeout: float | None = None
    soft_timeout: float | None = None
    delay: float = 0.0
    run_at: float | None = None
    expires: float | None = None
    unique_key: str | None = None
    tenant: str | None = None
    headers: Mapping[str, str] = {}
    connection: Any = None
    """A connection of the caller's, never looked into here."""

    @classmethod
    def make(
        cls,
        *,
        queue: str | None = None,
        priority: Priority | str | None = None,
        retry: RetryPolicy | None = None,
        max_retries: int | None = None,
        timeout: Duration | None = None,
        soft_timeout: Duration | None = None,
        delay: Duration | None = None,
        run_at: datetime | str | float | None = None,
        expires: Duration | None = None,
        unique_key: str | None = None,
        tenant: str | None = None,
        headers: Mapping[str, str] | None = None,
        connection: Any = None,
    ) -> "JobOptions":
        """Check options as people write them.

        Args:
            queue: The lane.
            priority: ``high``, ``medium`` or ``low``.
            retry: The whole retry policy.
            max_retries: Only its number of retries.
            timeout: Hard limit of an attempt.
            soft_timeout: When the task is told to hurry up.
            delay: How long to wait before it is due.
            run_at: When it is due: an aware datetime, ISO 8601 text or seconds since 1970.
            expires: After this, counted from the submit, it is not started any more.
            unique_key: While a job of the same task and tenant with this key is live, no second
                one is made.
            tenant: On whose behalf.
            headers: Context that travels along.
            connection: A connection with an open transaction, to the database of the store
                (PostgreSQL or SQLite): the job is submitted in that transaction, exists once it
                commits, and never did if it is rolled back. One of psycopg, asyncpg, sqlite3 or
                apsw, a connection or session of SQLAlchemy, or ``django.db.connection``.

        Raises:
            InvalidOption: A value means nothing.
        """
        return cls(
            queue=None if queue is None else check_name(queue, what="queue"),
            priority=None if priority is None else check_priority(priority),
            retry=retry,
            max_retries=None if max_retries is None else RetryPolicy(max_retries).max_retries,
            timeout=_positive(timeout, "timeout"),
            soft_timeout=_positive(soft_timeout, "soft_timeout"),
            delay=0.0 if delay is None else seconds(delay, name="delay"),
            run_at=None if run_at is None else instant(run_at),
            expires=_positive(expires, "expires"),
            unique_key=_text(unique_key, "unique_key"),
            tenant=_text(tenant, "tenant"),
            headers=dict(headers or {}),
            connection=connection,
        )


class Call(Generic[R]):
    """A task with its arguments and options, ready to be submitted, scheduled or made a node.

    Attributes:
        name: The task's name.
        payload: Its JSON object as bytes, checked if the task is known here.
        options: What differs from the task's options.
        task: The task, or None if it is known by name only.
    """

    __slots__ = ("name", "options", "payload", "task")

    def __init__(
        self,
        name: str,
        payload: bytes,
        options: JobOptions,
        task: Task[..., Any] | None = None,
    ) -> None:
        """Make a call; users get one from ``task.call(...)``."""
        self.name = name
        self.payload = payload
        self.options = options
        self.task = task

    def spec(
        self,
        job_id: str,
        *,
        defaults: TaskOptions,
        workflow_id: str | None = None,
        node: str | None = None,
        parents: Sequence[str] = (),
        on_parent_failure: OnParentFailure = "cancel",
    ) -> JobSpec:
        """Return the job as a store takes it."""
        mine = self.options
        base = self.task.options if self.task is not None else defaults
        policy = mine.retry or base.retry
        if mine.max_retries is not None:
            policy = policy.replace(max_retries=mine.max_retries)
        return JobSpec(
            id=job_id,
            task=self.name,
            payload=self.payload,
            queue=mine.queue or base.queue,
            priority=mine.priority or base.priority,
            retry=policy,
            timeout=mine.timeout or base.timeout,
            soft_timeout=mine.soft_timeout or base.soft_timeout,
            delay=mine.delay,
            run_at=mine.run_at,
            expires=mine.expires or base.expires,
            unique_key=mine.unique_key,
            tenant=mine.tenant,
            headers=mine.headers,
            max_lost=base.max_lost,
            workflow_id=workflow_id,
            node=node,
            parents=tuple(parents),
            on_parent_failure=on_parent_failure,
        )

    def outputs(self) -> list[str]:
        """Return the ids of the jobs whose results the payload refers to."""
        if not codec.holds_output(self.payload):
            return []
        return codec.find_outputs(msgspec.json.decode(self.payload))

    def __repr__(self) -> str:
        """Show the task."""
        return f"<Call of {self.name!r}>"


def _positive(value: Duration | None, name: str) -> float | None:
    length = optional_seconds(value, name=name)
    if length is not None and length <= 0:
        raise InvalidOption(f"{name} is {value!r}; expected more than 0 seconds")
    return length


def _text(value: object, name: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or "\0" in value:
        raise InvalidOption(
            f"{name} is {str(value)[:80]!r}; expected a text of 1 to 500 characters"
        )
    return value
