"""What a child process logs is logged by its worker, with the ids of the job and its attempt."""

import io
import json
import logging
import os
from collections.abc import Iterator

import msgspec
import pytest
from opentelemetry.sdk.trace import TracerProvider

from stoker.cli.logs import JsonLines
from stoker.core.lifecycle import State
from stoker.tracing import Tracing
from stoker.worker import child_logs, wire
from stoker.worker.child_logs import ToWorker, levels, say_again
from stoker.worker.spans import Spans
from tests.unit.worker.kit import bench

SECRET = "postgresql://eve:canary@db/jobs"


class Lines:
    """What this process logs, as JSON lines."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.handler.setFormatter(JsonLines())

    @property
    def all(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def of(self, logger: str) -> list[dict[str, object]]:
        return [line for line in self.all if line["logger"] == logger]


@pytest.fixture
def lines() -> Iterator[Lines]:
    found = Lines()
    root = logging.getLogger()
    before = root.level
    root.addHandler(found.handler)
    root.setLevel(logging.INFO)
    yield found
    root.setLevel(before)
    root.removeHandler(found.handler)


async def test_a_childs_log_has_the_ids_of_its_job_and_attempt(lines: Lines) -> None:
    async with bench() as b:
        record = await b.ended(
            await b.submit("process.logs_in_a_child", {"text": SECRET}, timeout=30.0)
        )
        assert record.state is State.COMPLETED, record.error
        pid = msgspec.json.decode(record.result or b"null")
    plain, thread, wrong = lines.of("shop.orders")
    assert pid != os.getpid()
    for line in (plain, thread, wrong):
        assert (line["job_id"], line["attempt"], line["pid"]) == (record.id, 1, pid)
        assert line["task"] == "process.logs_in_a_child"
    assert (plain["level"], plain["order"], plain["who"]) == ("warning", 17, "eve\n")
    assert (thread["level"], wrong["level"]) == ("error", "error")
    assert "ValueError" in str(wrong["traceback"])
    assert "canary" not in lines.stream.getvalue()


async def test_what_was_logged_before_a_child_died_is_not_lost(lines: Lines) -> None:
    async with bench() as b:
        given = {"text": "hello", "kill": True}
        job_id = await b.submit("process.logs_in_a_child", given, timeout=30.0, max_lost=1)
        record = await b.ended(job_id)
        assert record.state is State.DEAD_LETTER
    told = [line["message"] for line in lines.of("shop.orders")]
    assert told == ["hello from the task", "hello from a thread", "it went wrong"]


async def test_a_job_in_a_child_continues_the_span_of_its_attempt() -> None:
    tracing = Tracing(TracerProvider(shutdown_on_exit=False))
    given = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    async with bench(middleware=(Spans(tracing),)) as b:
        ids = [
            await b.submit("process.traced", timeout=30.0, headers=headers)
            for headers in (given, {}, given)
        ]
        found = []
        for job_id in ids:
            record = await b.ended(job_id)
            assert record.state is State.COMPLETED, record.error
            found.append(msgspec.json.decode(record.result or b"null")["traceparent"].split("-"))
    traces = [trace for _, trace, _, _ in found]
    assert traces[0] == traces[2] == "a" * 32
    assert traces[1] != "a" * 32
    # Each attempt has a span of its own, and it is this that the job continues.
    assert len({"b" * 16, *(span for _, _, span, _ in found)}) == 4


async def test_without_tracing_nothing_is_carried() -> None:
    async with bench() as b:
        given = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
        record = await b.ended(await b.submit("process.traced", timeout=30.0, headers=given))
        assert msgspec.json.decode(record.result or b"null") == {}


def test_records_that_cannot_be_sent_in_time_are_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(child_logs, "KEPT", 3)
    woken: list[None] = []
    handler = ToWorker(lambda: woken.append(None), lambda: None)
    logger = logging.getLogger("tests.loud")
    logger.propagate = False
    logger.addHandler(handler)
    for number in range(5):
        logger.warning("line %d", number)
    sent: list[wire.Logged] = []
    child_logs.log.addHandler(handler)
    try:
        handler.send(sent.append)
        handler.send(sent.append)
    finally:
        child_logs.log.removeHandler(handler)
    assert [told.message for told in sent[:3]] == ["line 0", "line 1", "line 2"]
    assert sent[3].message.startswith("2 records of the log were dropped")
    assert (len(sent), len(woken)) == (4, 4)


def test_a_record_that_cannot_be_told_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    handler = ToWorker(lambda: None, lambda: None)
    logger = logging.getLogger("tests.odd")
    logger.propagate = False
    logger.addHandler(handler)
    logger.warning("%d", "no number")
    sent: list[wire.Logged] = []
    handler.send(sent.append)
    assert sent == []
    assert "no number" in capsys.readouterr().err


def test_the_worker_hears_what_its_levels_let_through(lines: Lines) -> None:
    def told(level: int, **extra: str | float) -> wire.Logged:
        return wire.Logged(logger="shop", level=level, message="x", created=0.0, pid=7, extra=extra)

    say_again(told(logging.DEBUG))
    assert lines.of("shop") == []
    # A field of a child cannot pass for one that the worker has of its own.
    say_again(told(logging.INFO, levelname="CRITICAL", job_id="j", at="later"))
    [line] = lines.of("shop")
    assert (line["level"], line["job_id"], line["pid"]) == ("info", "j", 7)
    assert line["at"] == "1970-01-01T00:00:00.000Z"
    assert levels()[""] == logging.INFO
