"""The audit trail: what happened to the system, and who did it.

A job's own transitions stand in its `JobRecord` (attempts, moments, errors); an event is a line
about the system or about what a person did. Stores write events inside the commands that cause
them, so an event and its cause are one commit.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec


class Kind(StrEnum):
    """What an event says. Past tense."""

    WORKER_JOINED = "worker_joined"
    WORKER_DRAINING = "worker_draining"
    WORKER_LEFT = "worker_left"
    WORKER_DIED = "worker_died"
    WORKER_COMMANDED = "worker_commanded"
    KEEPER_ELECTED = "keeper_elected"
    KEEPER_RESIGNED = "keeper_resigned"
    QUEUE_PAUSED = "queue_paused"
    QUEUE_RESUMED = "queue_resumed"
    QUEUE_LIMITED = "queue_limited"
    SCHEDULE_PUT = "schedule_put"
    SCHEDULE_REMOVED = "schedule_removed"
    SCHEDULE_PAUSED = "schedule_paused"
    SCHEDULE_RESUMED = "schedule_resumed"
    SCHEDULE_FIRED = "schedule_fired"
    WORKFLOW_SUBMITTED = "workflow_submitted"
    JOB_CANCELLED = "job_cancelled"
    """Called off, or asked to stop while it ran; ``details.answer`` tells which."""
    JOB_REQUEUED = "job_requeued"
    JOB_DEAD = "job_dead"
    """Became a dead letter; ``details.code`` is its error code."""
    JOB_LOST = "job_lost"
    """Its lease was taken back from a dead session or past its deadline."""
    JOBS_PURGED = "jobs_purged"
    KEY_CREATED = "key_created"
    KEY_REVOKED = "key_revoked"
    LOGGED_IN = "logged_in"
    LOGGED_OUT = "logged_out"
    JOBS_HANDLED = "jobs_handled"
    """One batch of one thing done to many jobs; ``details`` says what, to which and why."""
    FLEET_STARTED = "fleet_started"
    FLEET_STOPPED = "fleet_stopped"
    FLEET_RESTARTED_WORKER = "fleet_restarted_worker"
    FLEET_RENEWED_WORKER = "fleet_renewed_worker"
    FLEET_SCALED = "fleet_scaled"
    FLEET_BOUNDED = "fleet_bounded"
    """Somebody changed how few and how many workers a kind may have."""
    FLEET_GAVE_UP_WORKER = "fleet_gave_up_worker"
    """It ran and never became ready; ``details.reason`` says for how long."""
    FLEET_COMMANDED = "fleet_commanded"
    """What an operator asks of a fleet. The fleet itself reads it here."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the audit trail, to be recorded."""

    kind: Kind
    actor: str = "system"
    """Who did it: ``"system"``, ``"python"``, ``"keeper:NAME"``, ``"cli:USER"``, ``"api:HOST"``,
    ``"key:NAME"``."""
    job_id: str | None = None
    queue: str | None = None
    worker: str | None = None
    details: Mapping[str, Any] = {}


class EventRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the audit trail, as recorded."""

    seq: int
    """Rises with every event of the store."""
    at: datetime
    kind: Kind
    actor: str
    job_id: str | None = None
    queue: str | None = None
    worker: str | None = None
    details: Mapping[str, Any] = {}
