"""How jobs come in: one by one, each on its own, or a whole workflow or none of it.

What the store must know is asked for the whole batch at once (which ids, keys and parents are
there already), then each job is decided in Python, in order, and all are written at once.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from stoker.core import rules
from stoker.core.errors import DuplicateJob, InvalidOption, InvalidPayload, InvalidWorkflow
from stoker.core.events import Kind
from stoker.core.job import MAX_LOST, ErrorInfo, JobSpec, Submitted, WorkflowSpec
from stoker.core.lifecycle import State
from stoker.core.retry import MAX_RETRIES, RetryPolicy
from stoker.core.workflow import check_graph
from stoker.stores.sqlite.phrases import CODES, HAS_PARENTS, STATES, phrase
from stoker.stores.sqlite.transaction import Transaction, encode, to_json

INLINE = 2_000
"""Characters of a payload that still stands in its job's row."""
_BATCH = 8_000_000
"""Characters of payloads in one statement."""
_DEFAULT_POLICY = JobSpec(id="", task="").retry
_DEFAULT_RETRIES = _DEFAULT_POLICY.max_retries
_DEFAULT_RETRY = _DEFAULT_POLICY.to_json()

_KNOWN = """
    SELECT json_group_array(json_array(j.id, j.state))
    FROM json_each(?) AS given JOIN jobs AS j ON j.id = given.value"""
_HOLDERS = phrase("""
    SELECT json_group_array(json_array(given.key, j.id, j.state))
    FROM jsonb_each(?) AS given JOIN jobs AS j
      ON j.unique_key = given.value ->> 2 AND j.task = given.value ->> 1
     AND j.tenant IS given.value ->> 0
    WHERE j.unique_key IS NOT NULL AND j.{live}""")
_PARENTS = """
    SELECT json_group_array(json_array(j.id, j.seq, j.state))
    FROM json_each(?) AS given JOIN jobs AS j ON j.id = given.value"""
_LAST = "SELECT coalesce(max(seq), 0) FROM jobs"
_INSERT = """
    INSERT INTO jobs (seq, id, state, queue, priority, due_at, task, submitted_at, payload, timeout)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
           value ->> 6, ?, value ->> 7, value ->> 8
    FROM jsonb_each(?)"""
_INSERT_FULL = """
    INSERT INTO jobs (
        seq, id, state, queue, priority, due_at, task, submitted_at, payload, timeout,
        soft_timeout, expires_at, expires, max_retries, max_lost, retry, waiting_for, run_anyway,
        workflow_id, node, tenant, unique_key, schedule, headers, error, finished_at, links)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
           value ->> 6, ?, value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11,
           value ->> 12, value ->> 13, value ->> 14, value ->> 15, value ->> 16, value ->> 17,
           value ->> 18, value ->> 19, value ->> 20, value ->> 21, value ->> 22, value ->> 23,
           value ->> 24, value ->> 25
    FROM jsonb_each(?)"""
_INSERT_PAYLOAD = "INSERT INTO payloads (job, payload) VALUES (?, ?)"
_INSERT_EDGES = """
    INSERT INTO edges (child, place, parent)
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM jsonb_each(?)"""
_MARK_PARENTS = """
    UPDATE jobs SET links = links | 2
    WHERE seq IN (SELECT value FROM json_each(?)) AND NOT links & 2"""
_INSERT_FLOW = """
    INSERT INTO workflows (id, name, submitted_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"""
_MAKE_QUEUES = """
    INSERT INTO queues (name) SELECT value FROM json_each(?) WHERE true ON CONFLICT DO NOTHING"""

_LAST_MOMENT = 200_000_000_000.0
"""Seconds since 1970, or from now: well inside the calendar, whose last year is 9999."""
UniqueKey = tuple[str | None, str, str]
Parent = tuple[int, int]
"""A parent's place in the order of submission and the number of its state."""


def submit(
    tx: Transaction,
    specs: Sequence[JobSpec],
    workflow: WorkflowSpec | None,
    actor: str,
    known_queues: set[str],
) -> list[Submitted]:
    """See `Store.submit`."""
    try:
        batch = _Batch(tx, specs, {})
        answers = batch.decide(workflow)
        texts = batch.encode()
    except UnicodeError:
        # Some text is not UTF-8: find out which, and refuse that job alone.
        batch = _Batch(tx, specs, _unwritable(specs))
        answers = batch.decide(workflow)
        texts = batch.encode()
    batch.write(texts, workflow, actor, known_queues)
    return answers


class _Batch:
    """One submit: what is known, what was accepted, and what is written in the end."""

    def __init__(
        self, tx: Transaction, specs: Sequence[JobSpec], unwritable: Mapping[str, ErrorInfo]
    ) -> None:
        self._tx = tx
        self._specs = specs
        self._unwritable = unwritable
        self.known: dict[str, int] = dict(_decode(tx.value(_KNOWN, to_json([s.id for s in specs]))))
        self.holders = self._find_holders()
        self.parents = self._find_parents()
        self._next: int = tx.value(_LAST) + 1
        self._numbers: dict[str, int] = {}
        self._at_once = rules.first_state(waiting_for=0, due_at=tx.now, now=tx.now)
        self._rows: list[tuple[Any, ...]] = []
        self._full_rows: list[tuple[Any, ...]] = []
        self._payloads: list[tuple[int, str]] = []
        self._edges: list[tuple[int, int, int]] = []
        self._counts: dict[tuple[str, int, int, str | None, str], int] = {}

    def decide(self, workflow: WorkflowSpec | None) -> list[Submitted]:
        """Answer for each job; what is accepted is written later."""
        if workflow is None:
            return [self.accept(spec, spec.workflow_id) for spec in self._specs]
        unique = {spec.id: spec for spec in self._specs}
        new = {job_id: spec for job_id, spec in unique.items() if job_id not in self.known}
        refused = self.refusals(new) or _cycle(new)
        if refused:
            return [_refused(spec, refused) for spec in self._specs]
        # The order of the batch is the order of submission; parents are decided before children.
        self.number(new)
        order = check_graph(_inner_graph(new)) if new else []
        made = {i: self.accept(new[i], new[i].workflow_id or workflow.id) for i in order}
        return [made.pop(s.id) if s.id in made else self.again(s.id) for s in self._specs]

    def encode(self) -> list[tuple[str, str]]:
        """Return the statements that write the rows, each with its rows as JSON.

        Raises:
            UnicodeEncodeError: A text that UTF-8 cannot say.
        """
        return [
            (statement, encode(part).decode())
            for statement, rows in ((_INSERT, self._rows), (_INSERT_FULL, self._full_rows))
            for part in _parts(rows)
        ]

    def number(self, ids: Iterable[str]) -> None:
        """Give numbers in the order of submission, before jobs are accepted in another one."""
        for job_id in ids:
            self._numbers[job_id] = self._next
            self._next += 1

    def accept(self, spec: JobSpec, workflow_id: str | None) -> Submitted:
        """Take one job, if nothing speaks against it."""
        state = self.known.get(spec.id)
        if state is not None:
            return Submitted(id=spec.id, created=False, state=STATES[state])
        if spec.unique_key is not None:
            holder = self.holders.get((spec.tenant, spec.task, spec.unique_key))
            if holder is not None:
                return self.again(holder)
        error = self._fault(spec, self.parents)
        if error is not None:
            return Submitted(id=spec.id, created=False, error=error)
        return self._take(spec, spec.payload.decode(), workflow_id)

    def again(self, job_id: str) -> Submitted:
        """Answer for a job that is there already."""
        return Submitted(id=job_id, created=False, state=STATES[self.known[job_id]])

    def refusals(self, new: dict[str, JobSpec]) -> dict[str, ErrorInfo]:
        """Return what speaks against jobs of a workflow, by their ids."""
        refused: dict[str, ErrorInfo] = {}
        keys: dict[UniqueKey, str] = {}
        parents = self.parents.keys() | new.keys()
        for spec in new.values():
            if spec.unique_key is not None:
                key = (spec.tenant, spec.task, spec.unique_key)
                holder = self.holders.get(key) or keys.setdefault(key, spec.id)
                if holder != spec.id:
                    refused[spec.id] = _duplicate(spec.unique_key, holder)
            error = self._fault(spec, parents)
            if error is not None:
                refused[spec.id] = error
        return refused

    def write(
        self,
        texts: Sequence[tuple[str, str]],
        workflow: WorkflowSpec | None,
        actor: str,
        known_queues: set[str],
    ) -> None:
        """Write all that was accepted."""
        tx = self._tx
        for (queue, rank, code, workflow_id, task), n in self._counts.items():
            tx.enter(queue, rank, code, workflow_id, n)
            tx.count(queue, task, "submitted", n=n)
        new_queues = {queue for queue, *_ in self._counts} - known_queues
        if new_queues:
            tx.run(_MAKE_QUEUES, to_json(sorted(new_queues)))
            tx.books.queues |= new_queues
        if workflow is not None and self._counts:
            self._write_flow(workflow, actor)
        for statement, rows in texts:
            tx.run(statement, tx.now, rows)
        for job, payload in self._payloads:
            tx.run(_INSERT_PAYLOAD, job, payload)
        if self._edges:
            tx.run(_INSERT_EDGES, to_json(self._edges))
            tx.run(_MARK_PARENTS, to_json(list({parent for _, _, parent in self._edges})))

    def _write_flow(self, workflow: WorkflowSpec, actor: str) -> None:
        if self._tx.run(_INSERT_FLOW, workflow.id, workflow.name, self._tx.now):
            self._tx.log(
                Kind.WORKFLOW_SUBMITTED,
                actor,
                workflow=workflow.id,
                name=workflow.name,
                jobs=sum(self._counts.values()),
            )

    def _take(self, spec: JobSpec, payload: str, workflow_id: str | None) -> Submitted:
        seq = self._numbers.get(spec.id) if self._numbers else None
        if seq is None:
            seq = self._next
            self._next += 1
        now, job_id, queue, task = self._tx.now, spec.id, spec.queue, spec.task
        due_at = now + spec.delay
        if spec.run_at is not None and spec.run_at > due_at:
            due_at = spec.run_at
        if len(payload) > INLINE:
            self._payloads.append((seq, payload))
        inline = payload if len(payload) <= INLINE else None
        rank = spec.priority.rank
        if workflow_id is None and _is_plain(spec):
            state = self._at_once if due_at <= now else self._first_state(spec, due_at, ())[0]
            code = CODES[state]
            self._rows.append((seq, job_id, code, queue, rank, due_at, task, inline, spec.timeout))
        else:
            parents = [self.parents[parent] for parent in dict.fromkeys(spec.parents)]
            state, waiting_for, error = self._first_state(spec, due_at, parents)
            code = CODES[state]
            row = (seq, job_id, code, queue, rank, due_at, task, inline, spec.timeout)
            rest = self._rest(spec, waiting_for, workflow_id, error, len(parents))
            self._full_rows.append(row + rest)
            self._edges += [(seq, place, parent) for place, (parent, _) in enumerate(parents)]
            if spec.unique_key is not None and error is None:
                self.holders[spec.tenant, task, spec.unique_key] = job_id
        self.known[job_id] = code
        self.parents[job_id] = (seq, code)
        key = (queue, rank, code, workflow_id, task)
        self._counts[key] = self._counts.get(key, 0) + 1
        return Submitted(job_id, created=True, state=state)

    def _fault(self, spec: JobSpec, parents: Container[str]) -> ErrorInfo | None:
        for parent in spec.parents:
            if parent not in parents:
                return _unknown_parent(parent)
        # A sum, since it keeps what is no number: that must not reach the calendar either.
        farthest = spec.delay + (spec.run_at or 0.0) + (spec.expires or 0.0)
        if not farthest < _LAST_MOMENT:
            message = f"the job is due or expires beyond the calendar ({farthest!r} seconds)"
            return ErrorInfo(code=InvalidOption.code, message=message)
        return self._unwritable.get(spec.id)

    def _first_state(
        self, spec: JobSpec, due_at: float, parents: Sequence[Parent]
    ) -> tuple[State, int, ErrorInfo | None]:
        if not parents:
            return rules.first_state(waiting_for=0, due_at=due_at, now=self._tx.now), 0, None
        states = [STATES[code] for _, code in parents]
        if any(rules.parent_spoils(state, spec.on_parent_failure) for state in states):
            return State.CANCELLED, 0, rules.PARENT_FAILED
        waiting_for = sum(map(rules.parent_holds, states))
        state = rules.first_state(waiting_for=waiting_for, due_at=due_at, now=self._tx.now)
        return state, waiting_for, None

    def _rest(
        self,
        spec: JobSpec,
        waiting_for: int,
        workflow_id: str | None,
        error: ErrorInfo | None,
        parents: int,
    ) -> tuple[Any, ...]:
        now = self._tx.now
        retries, retry = _retry_columns(spec.retry)
        return (
            spec.soft_timeout,
            None if spec.expires is None else now + spec.expires,
            spec.expires,
            retries,
            None if spec.max_lost == MAX_LOST else spec.max_lost,
            retry,
            waiting_for or None,
            1 if spec.on_parent_failure == "run" else None,
            workflow_id,
            spec.node,
            spec.tenant,
            spec.unique_key,
            spec.schedule,
            to_json(spec.headers) if spec.headers else None,
            None if error is None else to_json(error),
            None if error is None else now,
            HAS_PARENTS if parents else 0,
        )

    def _find_holders(self) -> dict[UniqueKey, str]:
        keys = [(s.tenant, s.task, s.unique_key) for s in self._specs if s.unique_key is not None]
        if not keys:
            return {}
        holders: dict[UniqueKey, str] = {}
        for place, job_id, state in _decode(self._tx.value(_HOLDERS, to_json(keys))):
            holders[keys[place]] = job_id
            self.known.setdefault(job_id, state)
        return holders

    def _find_parents(self) -> dict[str, Parent]:
        wanted = {parent for spec in self._specs for parent in spec.parents}
        if not wanted:
            return {}
        found = _decode(self._tx.value(_PARENTS, to_json(list(wanted))))
        return {job_id: (seq, state) for job_id, seq, state in found}


def _unwritable(specs: Sequence[JobSpec]) -> dict[str, ErrorInfo]:
    """Return what is wrong with jobs whose texts are not UTF-8, by their ids."""
    return {spec.id: fault for spec in specs if (fault := _unwritable_text(spec))}


def _unwritable_text(spec: JobSpec) -> ErrorInfo | None:
    try:
        spec.payload.decode()
    except UnicodeError as error:
        return ErrorInfo(code=InvalidPayload.code, message=f"the payload is not UTF-8: {error}")
    try:
        encode(_texts(spec))
    except UnicodeError as error:
        message = f"an option of the job holds text that UTF-8 cannot say: {error}"
        return ErrorInfo(code=InvalidOption.code, message=message)
    return None


def _texts(spec: JobSpec) -> tuple[Any, ...]:
    return (
        spec.id, spec.task, spec.queue, spec.unique_key, spec.tenant, spec.node, spec.schedule,
        spec.workflow_id, spec.headers,
    )  # fmt: skip


def _is_plain(spec: JobSpec) -> bool:
    """Whether all options but the timeout are at their defaults, so that a short row will do."""
    return (
        spec.unique_key is None
        and not spec.parents
        and spec.tenant is None
        and not spec.headers
        and spec.expires is None
        and spec.soft_timeout is None
        and spec.schedule is None
        and spec.node is None
        and spec.max_lost == MAX_LOST
        and spec.on_parent_failure == "cancel"
        and (spec.retry is _DEFAULT_POLICY or _retry_columns(spec.retry) == (None, None))
    )


@lru_cache(maxsize=256)
def _retry_columns(policy: RetryPolicy) -> tuple[int | None, str | None]:
    text = policy.to_json()
    retries = policy.max_retries
    return (
        None if retries == _DEFAULT_RETRIES else min(retries, MAX_RETRIES),
        None if text == _DEFAULT_RETRY else text.decode(),
    )


def _parts(rows: Sequence[tuple[Any, ...]]) -> Iterable[Sequence[tuple[Any, ...]]]:
    """Cut rows into parts that SQLite takes as one text; payloads inside are short."""
    size = max(1, _BATCH // (INLINE + 2_000))
    return (rows[i : i + size] for i in range(0, len(rows), size))


def _cycle(new: dict[str, JobSpec]) -> dict[str, ErrorInfo]:
    try:
        check_graph(_inner_graph(new) or {"": ()})
    except InvalidWorkflow as error:
        return dict.fromkeys(new, ErrorInfo(code=error.code, message=error.message))
    return {}


def _inner_graph(new: dict[str, JobSpec]) -> dict[str, list[str]]:
    return {job_id: [p for p in spec.parents if p in new] for job_id, spec in new.items()}


def _refused(spec: JobSpec, refused: dict[str, ErrorInfo]) -> Submitted:
    first, error = next(iter(refused.items()))
    neighbour = ErrorInfo(
        code=InvalidWorkflow.code,
        message=f"the workflow was refused as a whole because of job {first}: {error.message}",
    )
    return Submitted(id=spec.id, created=False, error=refused.get(spec.id, neighbour))


def _unknown_parent(parent: str) -> ErrorInfo:
    return ErrorInfo(
        code=InvalidWorkflow.code,
        message=f"the parent {parent!r} is unknown; submit it first, or in the same workflow",
    )


def _duplicate(key: str, holder: str) -> ErrorInfo:
    return ErrorInfo(
        code=DuplicateJob.code, message=f"the live job {holder} holds the unique key {key!r}"
    )


def _decode(text: str) -> list[list[Any]]:
    rows: list[list[Any]] = msgspec.json.decode(text)
    return rows
