"""Reconciles the ledger with the store: what each execution was, and whether it may have been.

I1 to I6 as seen from outside: nothing is lost, nothing is stuck, each job has one outcome, every
execution but one is explained by what the store recorded, no child ran before its parents, and
what a cancel answered is what became of the job.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator

from stoker.core.job import Attempt, JobRecord
from stoker.core.lifecycle import TERMINAL, State
from tests.integration.combinations.ledger import Line
from tests.integration.combinations.play import Called, Evidence

THREADED = "plain"
"""The task that runs in a thread."""
AGAIN = {"failed", "lost", "released"}
"""Outcomes of an attempt after which the job may run once more."""


def complaints(evidence: Evidence) -> list[str]:
    """Return what is wrong; nothing, if all promises were kept."""
    lines: dict[str, list[Line]] = defaultdict(list)
    for line in evidence.ledger.lines:
        lines[line.job].append(line)
    found = [f"{job} ran and was never submitted" for job in lines.keys() - set(evidence.records)]
    for job, record in evidence.records.items():
        if record is None:
            found.append(f"{job} is lost")
            continue
        own = lines[job]
        texts = (*_state(evidence, record), *_attempts(record), *_lines(evidence, record, own))
        found += [f"{record.task} {job} ({record.state}): {text}" for text in texts]
    return [*found, *_families(evidence)]


def tally(evidence: Evidence) -> dict[str, int]:
    """Count what happened, for the table."""
    records = [record for record in evidence.records.values() if record is not None]
    outcomes = Counter(str(a.outcome) for record in records for a in record.attempts)
    begun = {line.job for line in evidence.ledger.lines if line.what == "begin"}
    executions = evidence.ledger.counts["begin"]
    answers = Counter(called.answer.answer for called in evidence.called.values())
    return {
        "jobs": len(records),
        "executions": executions,
        "repeated": executions - len(begun),
        **{f"attempts {name}": count for name, count in sorted(outcomes.items())},
        **{f"cancel {name}": count for name, count in sorted(answers.items())},
    }


def _state(evidence: Evidence, record: JobRecord) -> Iterator[str]:
    if record.state not in TERMINAL:
        yield "is stuck"
    called = evidence.called.get(record.id)
    expected = evidence.load.expected[record.id]
    allowed = {expected} if called is None else _after_cancel(called, expected)
    if record.state not in allowed:
        yield f"should be one of {sorted(allowed)}, cancel answered {called}"
    wanted = evidence.load.sums.get(record.id)
    if wanted is not None and record.state is State.COMPLETED:
        result = None if record.result is None else json.loads(bytes(record.result))
        if result != wanted:
            yield f"its parents gave {wanted}, and it says {result}"


def _after_cancel(called: Called, expected: State) -> set[State]:
    """Return the states that an answer leaves open."""
    answer = called.answer.answer
    if answer == "cancelled":
        return {State.CANCELLED}
    if answer == "requested":
        return {State.CANCELLED, expected}
    # A repeated call may find that the first one was obeyed.
    return {expected, State.CANCELLED} if called.repeated else {expected}


def _attempts(record: JobRecord) -> Iterator[str]:
    """Check that the record agrees with itself."""
    epochs = [attempt.epoch for attempt in record.attempts]
    if epochs != sorted(set(epochs)):
        yield f"its epochs do not rise: {epochs}"
    last = [a for a in record.attempts if a.outcome not in AGAIN]
    if len(last) > 1:
        yield f"has more than one outcome: {[(a.epoch, a.outcome) for a in last]}"
    if (record.state is State.COMPLETED) != any(a.outcome == "completed" for a in last):
        yield f"its state is not what its attempts say: {[a.outcome for a in record.attempts]}"
    for name, counted in (("failed", record.failed), ("lost", record.lost)):
        real = sum(a.outcome == name for a in record.attempts)
        if real != counted:
            yield f"counts {counted} attempts as {name}, and {real} are"


def _lines(evidence: Evidence, record: JobRecord, lines: list[Line]) -> Iterator[str]:
    """Check that the record explains everything that its handlers wrote."""
    attempts = {attempt.epoch: attempt for attempt in record.attempts}
    by_epoch: dict[int, list[Line]] = defaultdict(list)
    for line in lines:
        by_epoch[line.epoch].append(line)
    for epoch, own in by_epoch.items():
        if epoch in attempts:
            yield from _one(record, attempts[epoch], own)
        else:
            yield f"ran under epoch {epoch}, of which the store knows nothing"
    called = evidence.called.get(record.id)
    if called is not None and called.answer.answer == "cancelled":
        late = [line for line in lines if line.what == "begin" and line.at > called.at]
        if late:
            yield f"began after it was cancelled: {late}"


def _one(record: JobRecord, attempt: Attempt, lines: list[Line]) -> Iterator[str]:
    """Compare one attempt with what its handler wrote."""
    did = [line.what for line in lines]
    if did[0] != "begin" or did.count("begin") != 1:
        yield f"epoch {attempt.epoch} ran more than once: {did}"
    workers = {line.worker for line in lines}
    if workers != {attempt.worker}:
        yield f"epoch {attempt.epoch} is {attempt.worker}'s, and {workers} ran it"
    fits = {
        "completed": did == ["begin", "effect"],
        "failed": did == ["begin", "failure"],
        # A coroutine is interrupted where it waits; a thread anywhere, after its effect too.
        "released": "effect" not in did or record.task == THREADED,
        "cancelled": "effect" not in did,
        "lost": True,
    }
    if not fits.get(str(attempt.outcome), False):
        yield f"epoch {attempt.epoch} is recorded as {attempt.outcome}, and its handler did {did}"


def _families(evidence: Evidence) -> Iterator[str]:
    """Check that no child began before each of its parents had done its work."""
    done: dict[str, int] = {}
    began: dict[str, int] = {}
    for place, line in enumerate(evidence.ledger.lines):
        places = {"effect": done, "begin": began}.get(line.what)
        if places is not None:
            places.setdefault(line.job, place)
    for child, parents in evidence.load.parents.items():
        for parent in parents:
            if child in began and done.get(parent, len(evidence.ledger.lines)) > began[child]:
                yield f"{child} began before its parent {parent} had ended"
