"""Waiting for a job in a pipe: a line when something changed, and only then."""

from datetime import UTC, datetime

import msgspec
import pytest

from stoker.cli.follow import LineWatcher, LogTail
from stoker.cli.output import Output
from stoker.core.job import JobRecord, LogLine, Priority
from stoker.core.lifecycle import State

NOW = datetime(2030, 1, 31, tzinfo=UTC)


def _line(text: str) -> LogLine:
    return LogLine(NOW, text, 1)


def _job(state: State, *, progress: float | None = None, logs: tuple[str, ...] = ()) -> JobRecord:
    return JobRecord(
        id="1",
        task="t",
        queue="q",
        priority=Priority.LOW,
        state=state,
        attempt=1,
        max_retries=3,
        payload=msgspec.Raw(b"{}"),
        submitted_at=NOW,
        run_at=NOW,
        progress=progress,
        logs=[_line(text) for text in logs],
    )


def test_lines_are_shown_once_even_when_the_oldest_were_dropped() -> None:
    tail = LogTail()
    a, b, c, d = (_line(text) for text in "abcd")
    assert list(tail.fresh([a, b])) == [a, b]
    assert list(tail.fresh([a, b])) == []
    assert list(tail.fresh([b, c])) == [c]
    assert list(tail.fresh([d])) == [d]


def test_a_pipe_gets_a_line_for_each_state_tenth_and_log_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    watcher = LineWatcher(Output())
    watcher.show(_job(State.QUEUED))
    watcher.show(_job(State.QUEUED))
    watcher.show(_job(State.RUNNING, progress=0.1))
    watcher.show(_job(State.RUNNING, progress=0.15))
    watcher.show(_job(State.RUNNING, progress=0.25, logs=("one\x1b",)))
    watcher.show(_job(State.COMPLETED, progress=1.0, logs=("one\x1b", "two")))
    assert capsys.readouterr().err.splitlines() == [
        "1 queued",
        "1 running 10%",
        "1 | one\\x1b",
        "1 running 25%",
        "1 | two",
        "1 completed",
    ]
