"""The judge has teeth: a record or a ledger that breaks a promise is complained about."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from stoker.core.job import Attempt, JobRecord, Priority
from stoker.core.lifecycle import State
from stoker.core.records import Answer
from tests.integration.combinations.judge import complaints
from tests.integration.combinations.ledger import Ledger
from tests.integration.combinations.play import Called, Evidence
from tests.integration.combinations.workload import Workload

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GOOD = """\
begin parent 1 w1 1000000000
begin other 1 w1 1000000000
effect other 1 w1 1100000000
begin parent 2 w2 2000000000
effect parent 2 w2 3000000000
begin child 1 w2 4000000000
effect child 1 w2 5000000000
"""
"""The worker w1 died while it ran the parent."""


def attempt(epoch: int, worker: str, outcome: str) -> Attempt:
    return Attempt(attempt=epoch, epoch=epoch, worker=worker, leased_at=NOW, outcome=outcome)


def record(job: str, state: State, *attempts: Attempt, result: object = 1) -> JobRecord:
    return JobRecord(
        id=job,
        task="work",
        queue="default",
        priority=Priority.MEDIUM,
        state=state,
        attempt=len(attempts),
        max_retries=3,
        payload=msgspec.Raw(b"{}"),
        result=msgspec.Raw(msgspec.json.encode(result)),
        submitted_at=NOW,
        run_at=NOW,
        lost=sum(a.outcome == "lost" for a in attempts),
        attempts=list(attempts),
    )


def evidence(folder: Path, text: str = GOOD) -> Evidence:
    (folder / "ledger").write_text(text)
    load = Workload(
        expected={
            "parent": State.COMPLETED,
            "child": State.COMPLETED,
            "other": State.COMPLETED,
            "off": State.COMPLETED,
        },
        parents={"child": ("parent",)},
        sums={"child": 1},
    )
    found = Evidence(load, [], Ledger(folder / "ledger").look())
    lost, again = attempt(1, "w1", "lost"), attempt(2, "w2", "completed")
    found.records = {
        "parent": record("parent", State.COMPLETED, lost, again),
        "child": record("child", State.COMPLETED, attempt(1, "w2", "completed")),
        "other": record("other", State.COMPLETED, attempt(1, "w1", "completed")),
        "off": record("off", State.CANCELLED),
    }
    found.called = {"off": Called(Answer("off", "cancelled"), at=0.5, repeated=False)}
    return found


def test_a_run_that_kept_every_promise_is_not_complained_about(tmp_path: Path) -> None:
    assert complaints(evidence(tmp_path)) == []


def lose(found: Evidence) -> None:
    found.records["other"] = None


def stick(found: Evidence) -> None:
    found.records["other"] = record("other", State.QUEUED)


def forget_the_loss(found: Evidence) -> None:
    found.records["parent"] = record("parent", State.COMPLETED, attempt(2, "w2", "completed"))


def end_twice(found: Evidence) -> None:
    twice = attempt(1, "w1", "completed"), attempt(2, "w2", "completed")
    found.records["parent"] = record("parent", State.COMPLETED, *twice)


def blame_another(found: Evidence) -> None:
    found.records["other"] = record("other", State.COMPLETED, attempt(1, "w9", "completed"))


def use_an_epoch_again(found: Evidence) -> None:
    same = attempt(1, "w1", "lost"), attempt(1, "w2", "completed")
    found.records["parent"] = record("parent", State.COMPLETED, *same)


def give_a_wrong_sum(found: Evidence) -> None:
    right = attempt(1, "w2", "completed")
    found.records["child"] = record("child", State.COMPLETED, right, result=2)


def complete_what_was_cancelled(found: Evidence) -> None:
    found.records["off"] = record("off", State.COMPLETED)


def lie_about_a_cancel(found: Evidence) -> None:
    found.called["off"] = Called(Answer("off", "too_late"), at=0.5, repeated=False)


def miscount(found: Evidence) -> None:
    parent = found.records["parent"]
    assert parent is not None
    parent.lost = 0


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lose, "other is lost"),
        (stick, "is stuck"),
        (forget_the_loss, "of which the store knows nothing"),
        (end_twice, "more than one outcome"),
        (blame_another, "is w9's"),
        (use_an_epoch_again, "epochs do not rise"),
        (give_a_wrong_sum, "its parents gave 1"),
        (complete_what_was_cancelled, "should be one of"),
        (lie_about_a_cancel, "should be one of"),
        (miscount, "counts 0 attempts as lost"),
    ],
)
def test_a_store_that_breaks_a_promise_is_complained_about(
    tmp_path: Path, spoil: Callable[[Evidence], None], complaint: str
) -> None:
    found = evidence(tmp_path)
    spoil(found)
    assert complaint in "\n".join(complaints(found))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("begin other 1 w1 1200000000", "ran more than once"),
        ("begin nobody 1 w1 1200000000", "was never submitted"),
        ("begin off 1 w1 1200000000", "began after it was cancelled"),
        ("effect other 1 w1 1200000000", "its handler did"),
    ],
)
def test_a_handler_that_ran_without_a_right_is_complained_about(
    tmp_path: Path, line: str, complaint: str
) -> None:
    assert complaint in "\n".join(complaints(evidence(tmp_path, f"{GOOD}{line}\n")))


def test_a_child_that_began_before_its_parent_had_ended_is_complained_about(
    tmp_path: Path,
) -> None:
    lines = GOOD.splitlines(keepends=True)
    early = "".join([*lines[:4], lines[5], lines[4], lines[6]])
    assert "began before its parent" in "\n".join(complaints(evidence(tmp_path, early)))
