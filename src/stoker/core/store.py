"""The Store protocol: the state machine of jobs, and the only truth about them.

Every promise is made here, once; implementations add no promise and drop none, and
``stoker.testing`` proves each of them by its conformance suite.

Common to all verbs:

*Time* is the store's clock (the injected `Clock`, or the engine's own). Callers send durations.

*Batches*: a verb that takes a sequence answers item *i* at place *i*. One bad item never fails
its neighbours unless the verb says "all or nothing".

*Errors*: `Unavailable` means nothing was done. `OutcomeUnknown` means that it may have been done;
every verb marked *idempotent* may then be repeated with the same arguments. No exception of a
driver leaves a store.

*Fence*: a lease carries ``(epoch, nonce)``. A job's epoch rises by one with each lease and is
never reset. The nonce is 128 random bits that the session made for one `Store.exchange`. Only
whoever shows both, exactly, may settle or report.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

from stoker.core.events import Event, EventRecord
from stoker.core.job import (
    BeatReply,
    Command,
    Exchanged,
    HeldJob,
    JobRecord,
    JobSpec,
    SessionInfo,
    SessionSpec,
    Settlement,
    Submitted,
    WorkflowSpec,
)
from stoker.core.keys import KeyInfo, KeySpec
from stoker.core.records import (
    MAX_PAGE,
    Answer,
    Counts,
    EventQuery,
    Firing,
    JobQuery,
    Page,
    QueueInfo,
    Reaped,
    ScheduleInfo,
    ScheduleSpec,
    SchemaStatus,
    StoreInfo,
    Term,
    WorkflowInfo,
)
from stoker.core.transactions import Transactions


class Store(Protocol):
    """Where jobs live. See the module's text for what is common to all verbs."""

    @property
    def info(self) -> StoreInfo:
        """What this store is and promises. Constant once it is open."""
        ...

    @property
    def transactions(self) -> Transactions | None:
        """What it does inside a transaction of the caller, once it is open; None: it cannot."""
        ...

    async def __aenter__(self) -> Self:
        """Open the store.

        Raises:
            Unavailable: It cannot be reached.
            NotAStore, ReadOnlyStore, SchemaMismatch: What is there cannot serve.
        """
        ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it. Commands under way are finished first; later ones raise `NotOpen`."""
        ...

    async def submit(
        self,
        jobs: Sequence[JobSpec],
        *,
        workflow: WorkflowSpec | None = None,
        actor: str = "system",
    ) -> list[Submitted]:
        """Accept jobs. Idempotent by the jobs' ids.

        A job becomes ``blocked`` if it has parents that have not ended, ``scheduled`` if it is
        due later, else ``queued``. A job with a failed parent and ``on_parent_failure="cancel"``
        becomes ``cancelled`` at once.

        Guarantees:
            Once this answered, the job is not lost within the store's durability.
            The same id again: ``created=False``, nothing changes, whatever else differs.
            A unique key that a live job of the same tenant **and task** holds: ``created=False``
            with that job's id.
            An unknown parent: ``error.code == "invalid_workflow"`` for that job alone.

        Atomicity:
            One commit. With ``workflow`` all or nothing: one refused job refuses them all
            (each answer then carries an error), and parents may stand anywhere in the batch.
            Without it, parents must exist already or stand earlier in the batch.
        """
        ...

    async def exchange(
        self,
        session_id: str,
        settlements: Sequence[Settlement],
        *,
        queues: Mapping[str, int],
        want: int,
        nonce: str,
        aged: int = 0,
        ids: Sequence[str] = (),
    ) -> Exchanged:
        """Settle what is done and lease what comes next: one round trip, one commit.

        First due jobs are promoted, then the settlements are obeyed, then jobs are leased. A
        session has one call that leases under way at most; calls that only settle may go beside
        it.

        Settling: the fence must be that of the job's live lease. By `Outcome`:
        ``completed`` ends it with its result; ``failed`` repeats it after ``retry_in`` seconds
        (``retry_queued``), or makes it a dead letter when ``retry_in`` is None or more than
        ``max_retries`` attempts failed; ``crashed`` queues it again, or makes it a dead letter
        when ``max_lost`` attempts were lost; ``snoozed`` makes it ``scheduled`` in ``retry_in``
        seconds, ``released`` queues it again, both uncounted; ``cancelled`` ends it. A job whose
        cancellation was asked for and whose attempt fails, crashes, snoozes or is released
        becomes ``cancelled`` instead of living on.

        Leasing: up to ``want`` jobs. First those of ``ids`` that are ``queued`` in one of
        ``queues``; then queue by queue in the given order, never more than its number from
        each; inside a queue by priority, then by age (the moment they became due, then the order
        of submission). ``aged`` of the leases go to the oldest jobs whatever their priority, so
        that none starves. Paused queues, queues at their limit and expired jobs are passed over.
        A lease raises ``attempt`` and ``epoch`` by one and fixes the deadline.

        Guarantees:
            At most one live lease a job. A settlement checks its fence in the statement that
            writes. A late settlement whose lease nobody took back is obeyed.
            Repeating the call with the same nonce gives the same leases (those of them that the
            session still holds) and ``REPEATED`` for settlements obeyed before. Idempotent.
            A job's outcome and the readiness of its children appear together.

        Args:
            session_id: A session that has beaten and is not dead.
            settlements: Each for a job leased by this session.
            queues: Name to the most leases from it. Order is precedence.
            want: Free slots. 0 to settle only.
            nonce: New for each call, the same when a call is repeated. Of the calls of a session
                that leased, the store knows the last one.
            aged: How many leases go by age alone.
            ids: Jobs that a broker rang for.

        Raises:
            LeaseLost: The session is unknown, left or was declared dead; nothing was settled or
                leased.
        """
        ...

    async def beat(self, session: SessionSpec, held: Sequence[HeldJob], *, ttl: float) -> BeatReply:
        """Keep a session alive, and report on the jobs it holds. Idempotent.

        The first beat creates the session. ``held`` names **every** job that the session holds:
        those with ``ran_for`` become ``running``; progress, notes and log lines are kept. A job
        that the store thinks the session holds, that is not in ``held``, and that was leased
        before the session's last beat and longer than half of ``ttl`` ago is released, uncounted:
        the lease's answer never arrived. One beat alone proves nothing: it may have been written
        before the answer came, and have waited for a store that stood still.
        ``state=LEFT`` says goodbye: what the session still holds is taken back as lost.

        Death is an act of the reaper, not a moment: a session that is late but was not declared
        dead renews.

        Args:
            session: Who beats.
            held: What it holds.
            ttl: Seconds until the session may be declared dead.
        """
        ...

    async def cancel(
        self, query: JobQuery, *, actor: str = "system", reason: str = "", limit: int = MAX_PAGE
    ) -> list[Answer]:
        """Call jobs off. Idempotent.

        Waiting jobs become ``cancelled`` at once, with the children that depend on them; leased
        ones are flagged and their sessions told by the next beat. With ``query.ids`` there is an
        answer for each id in order, ``unknown`` ones included; otherwise for each live job that
        matches, up to ``limit``.
        """
        ...

    async def requeue(
        self,
        query: JobQuery,
        *,
        downstream: bool = False,
        payload: bytes | None = None,
        interval: float = 0.0,
        actor: str = "system",
        reason: str = "",
        limit: int = MAX_PAGE,
    ) -> list[Answer]:
        """Bring ended jobs back to life, with their counters of failures and losses at zero.

        ``attempt`` and ``epoch`` go on rising; earlier attempts are kept; ``result``, ``error``
        and ``progress`` are cleared. A job in a workflow takes along its descendants that were
        cancelled because a parent did not complete; with ``downstream`` all of its descendants
        that ended. Those become ``blocked`` until their parents have ended anew.

        Args:
            query: Which jobs. Only ended ones are taken; with ``ids`` each id is answered.
            downstream: Also every ended descendant.
            payload: A new payload, for a single job.
            interval: Seconds between one job and the next becoming due.
            actor: Who asks.
            reason: Why, for the audit trail.
            limit: The most jobs to take.
        """
        ...

    async def reap(
        self,
        *,
        sessions: Sequence[str] = (),
        grace: float = 0.0,
        limit: int = MAX_PAGE,
        actor: str = "system",
    ) -> Reaped:
        """Take back what was lost, and move what time has moved.

        Sessions whose time to live ended more than ``grace`` seconds ago are declared dead, and
        so are those named in ``sessions``, at once. The jobs of dead sessions are taken back:
        queued again, or dead letters (``worker_lost``) when lost ``max_lost`` times, or
        ``cancelled`` when that was asked for. Jobs more than ``grace`` plus five seconds past
        their deadline are taken back as ``timed_out``, a failed attempt under their retry policy.
        Waiting jobs past their expiry become dead letters (``expired``). Due jobs are promoted.

        Guarantees:
            Safe with any number of callers at once: each job is taken back once.

        Args:
            sessions: Ids known to be dead, from whoever saw the process die.
            grace: See above. After an outage the caller passes one whole lease.
            limit: The most jobs to touch in one call; the rest waits for the next one.
            actor: Who reaps.
        """
        ...

    async def purge(
        self,
        query: JobQuery,
        *,
        older_than: float = 0.0,
        keep: int = 0,
        limit: int = MAX_PAGE,
        actor: str = "system",
    ) -> int:
        """Delete jobs with all that belongs to them; return how many.

        Deletes ended jobs that match and ended more than ``older_than`` seconds ago, oldest
        first, sparing the ``keep`` newest of those that match; and, when ``query.states`` or
        ``query.ids`` names them, waiting jobs outside workflows. Never a leased job. A job in a
        workflow goes only when the whole workflow has ended.
        """
        ...

    async def get(self, ids: Sequence[str]) -> list[JobRecord | None]:
        """Return jobs with attempts and log lines; None for an unknown id."""
        ...

    async def find(self, query: JobQuery, *, cursor: str | None = None, limit: int = 100) -> Page:
        """Return matching jobs, newest submitted first, without log lines.

        Raises:
            InvalidQuery: The cursor is not one that this verb gave, or the limit is not between
                1 and `MAX_PAGE`.
        """
        ...

    async def counts(self, *, window: float = 0.0) -> Counts:
        """Count jobs, and return the activity of the last ``window`` seconds (at most a day)."""
        ...

    async def workflows(
        self, ids: Sequence[str] = (), *, cursor: str | None = None, limit: int = 100
    ) -> tuple[list[WorkflowInfo], str | None]:
        """Return workflows, newest first, and the cursor of the next page.

        Unknown ids are left out.
        """
        ...

    async def put_schedules(
        self,
        schedules: Sequence[ScheduleSpec] = (),
        *,
        remove: Sequence[str] = (),
        actor: str = "system",
    ) -> list[str]:
        """Make, change or remove schedules by name. One commit.

        Returns the names that did not exist before (of ``schedules``) or did not exist at all (of
        ``remove``). An existing schedule keeps ``last_at``, ``fired`` and ``created_at``.
        """
        ...

    async def schedules(self, names: Sequence[str] = ()) -> list[ScheduleInfo]:
        """Return schedules by name in alphabetical order; all of them without names."""
        ...

    async def fire(
        self, firings: Sequence[Firing], *, actor: str = "system"
    ) -> list[Submitted | None]:
        """Submit the jobs of schedules that are due: one compare-and-set each.

        None where another keeper was faster, the schedule is gone, or it is paused. A firing
        without a job that is obeyed gives ``Submitted(id="", created=False)``.

        Guarantees:
            One schedule fires at most once an instant, with any number of keepers.
        """
        ...

    async def set_queue(
        self,
        name: str,
        *,
        paused: bool | None = None,
        limit: int | None = None,
        actor: str = "system",
    ) -> QueueInfo:
        """Change a queue's settings; what is None stays. A limit of 0 removes the limit.

        The queue is made when it does not exist: pausing a queue before its first job is a wish
        one may have. Callers that take names from people check `queues` first.
        """
        ...

    async def queues(self) -> list[QueueInfo]:
        """Return all queues that ever had a job or a setting, by name."""
        ...

    async def sessions(self, *, ended: bool = False) -> list[SessionInfo]:
        """Return living sessions, newest first.

        With ``ended`` also those that left or died and were not yet purged (a day later).
        """
        ...

    async def set_session(
        self, ids: Sequence[str], command: Command, *, actor: str = "system"
    ) -> list[str]:
        """Ask living sessions to drain or stop; return the ids that were told."""
        ...

    async def put_keys(
        self,
        keys: Sequence[KeySpec] = (),
        *,
        revoke: Sequence[str] = (),
        used: Sequence[str] = (),
        actor: str = "system",
    ) -> list[str]:
        """Make API keys, revoke them by their ids, note which were used. One commit. Idempotent.

        Returns the ids that were made or revoked now. What exists stays as it is; what is unknown
        or revoked already is passed over.

        A revoked key is kept, so that the trail can be read; its log-ins are deleted with it. A
        log-in is deleted when it is revoked, and by the first call after it ran out.

        Args:
            keys: New ones. Those with ``login_of`` are log-ins.
            revoke: Ids of keys or log-ins.
            used: Ids whose ``last_used_at`` becomes now.
            actor: Who asks, for the audit trail. Use is not written there.
        """
        ...

    async def keys(self, ids: Sequence[str] = ()) -> list[KeyInfo]:
        """Return API keys, oldest first: those of ``ids``, or all without the log-ins.

        Unknown ids are left out.
        """
        ...

    async def lead(self, name: str, holder: str, *, ttl: float) -> Term | None:
        """Become or stay leader under a name.

        Returns:
            The term: a new one if nobody led or the former term ran out, the same one prolonged
            if ``holder`` leads; None if somebody else does.
        """
        ...

    async def resign(self, term: Term) -> bool:
        """Give up exactly this term; False when it is not the present one."""
        ...

    async def record(self, events: Sequence[Event]) -> None:
        """Append lines to the audit trail. Not idempotent."""
        ...

    async def events(self, query: EventQuery, *, limit: int = 100) -> list[EventRecord]:
        """Read the audit trail; see `EventQuery` for the order."""
        ...

    async def wait(
        self, queues: Sequence[str] = (), *, ids: Sequence[str] = (), timeout: float
    ) -> bool:
        """Sleep until something may have happened; False after ``timeout`` seconds.

        That is: a job became leasable in ``queues``, or one of ``ids`` changed its state, progress
        or log. A hint, never a promise: it may wake for nothing, and whoever waits looks now and
        then by itself. A job that becomes due while one waits wakes the waiter.
        """
        ...

    async def migrate(self, *, to: int | None = None, dry_run: bool = False) -> SchemaStatus:
        """Bring the layout to a version (default: the newest), each step in its own transaction.

        With ``dry_run`` only tell the present state and what would be done.

        Raises:
            SchemaMismatch: The layout is newer than this Stoker knows.
        """
        ...
