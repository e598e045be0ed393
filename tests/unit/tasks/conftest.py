"""A job around a task: what it reports, and a cancel when it has come far enough."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stoker.core.context import JobContext, running
from stoker.core.job import Leased
from stoker.settings import Secret, TaskSettings

JOB_ID = "019aa000-0000-7000-8000-000000000001"


class JobAround:
    """The sink of a job's reports, and the switch that calls it off."""

    def __init__(self) -> None:
        self.reports: list[tuple[float, str | None]] = []
        self.lines: list[str] = []
        self.cancel_from: float | None = None
        self.cancel_when: Callable[[], bool] = lambda: False

    def progress(self, done: float, note: str | None) -> None:
        self.reports.append((done, note))

    def log(self, message: str) -> None:
        self.lines.append(message)

    def is_cancelled(self) -> bool:
        if self.cancel_from is not None and self.shares:
            return max(self.shares) >= self.cancel_from
        return self.cancel_when()

    @property
    def shares(self) -> list[float]:
        return [done for done, _ in self.reports]


@pytest.fixture
def job() -> Iterator[JobAround]:
    around = JobAround()
    leased = Leased(
        id=JOB_ID, task="t", payload=b"{}", queue="q", attempt=1, epoch=1, nonce="0" * 32
    )
    with running(JobContext(leased, around, cancelled=around.is_cancelled)):
        yield around


@pytest.fixture
def settings(tmp_path: Path) -> TaskSettings:
    """Settings that keep every task inside the test's folder."""
    return TaskSettings(
        files=str(tmp_path),
        outbox=str(tmp_path / "outbox"),
        encryption_key=Secret(base64.b64encode(bytes(range(32))).decode()),
    )
