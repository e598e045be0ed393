"""I9: every payload and record ever written still decodes.

The files in ``golden/`` were written by released versions and are never edited: a change that
cannot read one of them breaks whoever upgrades with jobs in the store.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stoker.core.job import ErrorInfo, JobRecord, LogLine
from stoker.core.lifecycle import State
from stoker.core.retry import RetryPolicy

GOLDEN = Path(__file__).parent / "golden"
READERS: dict[str, Callable[[bytes], Any]] = {
    "error": msgspec.json.Decoder(ErrorInfo).decode,
    "job": msgspec.json.Decoder(JobRecord).decode,
    "log": msgspec.json.Decoder(LogLine).decode,
    "retry": RetryPolicy.from_json,
}
FILES = sorted(GOLDEN.rglob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_record_of_an_earlier_version_still_decodes(file: Path) -> None:
    assert READERS[file.stem.partition("-")[0]](file.read_bytes()) is not None


def test_every_kind_of_record_has_a_golden_file() -> None:
    assert {file.stem.partition("-")[0] for file in FILES} == set(READERS)


def test_a_retry_policy_of_version_0_1_means_what_it_meant() -> None:
    policy = RetryPolicy.from_json((GOLDEN / "v0_1" / "retry-full.json").read_bytes())
    assert policy == RetryPolicy(
        5,
        backoff="linear",
        base="1s",
        cap="1m",
        jitter=False,
        on=["ConnectionError"],
        never=["ValueError"],
        per={"shop.Busy": RetryPolicy(50, backoff="fixed", base="30s")},
    )
    assert RetryPolicy.from_json((GOLDEN / "v0_1" / "retry.json").read_bytes()) == RetryPolicy()


def test_a_job_of_version_0_1_means_what_it_meant() -> None:
    job = READERS["job"]((GOLDEN / "v0_1" / "job.json").read_bytes())
    assert (job.task, job.state, job.attempt) == ("video.process", State.DEAD_LETTER, 2)
    assert [a.outcome for a in job.attempts] == ["failed", "lost"]
    assert job.error == ErrorInfo(code="worker_lost", message="the worker died")
