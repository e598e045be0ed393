"""Records of jobs."""

from datetime import UTC, datetime

import msgspec
import pytest

from stoker.core.job import PRIORITIES, Attempt, ErrorInfo, JobRecord, Priority
from stoker.core.lifecycle import State

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def test_priorities_are_ranked_by_their_place() -> None:
    assert [priority.rank for priority in PRIORITIES] == [0, 1, 2]
    assert PRIORITIES == (Priority.HIGH, Priority.MEDIUM, Priority.LOW)


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ErrorInfo("task_error", "no\nmore", "ValueError"), "ValueError: no"),
        (ErrorInfo("expired", "too late"), "expired: too late"),
        (ErrorInfo("task_error", "  ", "KeyError"), "KeyError"),
    ],
)
def test_an_error_shows_as_one_line(error: ErrorInfo, shown: str) -> None:
    assert str(error) == shown


def test_a_record_is_flat_json() -> None:
    record = JobRecord(
        id="j1",
        task="work",
        queue="default",
        priority=Priority.HIGH,
        state=State.COMPLETED,
        attempt=1,
        max_retries=3,
        payload=msgspec.Raw(b'{"n": 1}'),
        result=msgspec.Raw(b"[2]"),
        submitted_at=NOON,
        run_at=NOON,
        attempts=[Attempt(1, 1, "w", NOON, outcome="completed")],
    )
    shown = record.to_dict()
    assert (shown["payload"], shown["result"]) == ({"n": 1}, [2])
    assert (shown["state"], shown["priority"]) == ("completed", "high")
    assert shown["submitted_at"] == "2030-01-01T12:00:00Z"
    assert shown["attempts"][0]["outcome"] == "completed"
    assert msgspec.json.decode(msgspec.json.encode(record)) == shown
