"""Log lines: text or JSON, masked, on one line."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from stoker.cli.logs import mask, set_up_logging
from stoker.core.context import JobContext, running
from stoker.core.job import Leased
from stoker.settings import LogSettings


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("stoker").setLevel(logging.NOTSET)
    logging.captureWarnings(capture=False)


class Quiet:
    """Takes what a job reports, and keeps nothing."""

    def progress(self, done: float, note: str | None) -> None:
        """Pass over."""

    def log(self, message: str) -> None:
        """Pass over."""


def _logged(settings: LogSettings) -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    set_up_logging(settings, stream=stream)
    return logging.getLogger("stoker.worker.worker"), stream


def test_a_pipe_gets_one_json_object_a_line_with_the_extra_fields() -> None:
    logger, stream = _logged(LogSettings())
    logger.info("worker %s joined", "w1", extra={"jobs": 3, "queue": "mail"})
    line = json.loads(stream.getvalue())
    assert line["message"] == "worker w1 joined"
    assert line["level"] == "info"
    assert line["logger"] == "stoker.worker.worker"
    assert (line["jobs"], line["queue"]) == (3, "mail")
    assert line["at"].endswith("Z")


def test_a_line_that_a_job_writes_names_the_job_and_its_attempt() -> None:
    logger, stream = _logged(LogSettings())
    leased = Leased(
        id="j1", task="send", payload=b"{}", queue="mail", attempt=2, epoch=3, nonce="n"
    )
    job = JobContext(leased, Quiet(), worker="w1", deadline=None, cancelled=lambda: False)
    with running(job):
        logger.info("half way")
    logger.info("idle")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["job_id"], first["task"], first["attempt"]) == ("j1", "send", 2)
    assert "job_id" not in second


def test_text_is_one_line_even_when_the_message_holds_line_breaks() -> None:
    logger, stream = _logged(LogSettings(format="text"))
    logger.warning("first\nERROR root: second \x1b[2J", extra={"job": "1"})
    assert stream.getvalue().count("\n") == 1
    assert "warning worker.worker: first\\nERROR root: second \\x1b[2J job=1" in stream.getvalue()


@pytest.mark.parametrize("form", ["text", "json"])
def test_passwords_are_masked_in_messages_fields_and_tracebacks(form: str) -> None:
    logger, stream = _logged(LogSettings(format=form))
    url = "postgresql://anna:s3cret@db/x?token=s3cret"
    failure = ValueError(url)
    logger.error("cannot reach %s", url, extra={"store": url}, exc_info=failure)
    assert "s3cret" not in stream.getvalue()
    assert "anna:***@db" in stream.getvalue()


def test_keys_in_headers_are_masked() -> None:
    assert mask("Authorization: Bearer abc.def") == "Authorization: Bearer ***"


def test_lines_below_the_level_are_left_out() -> None:
    logger, stream = _logged(LogSettings(level="warning"))
    logger.info("not this one")
    assert stream.getvalue() == ""


def test_debug_shows_this_package_and_not_the_libraries() -> None:
    logger, stream = _logged(LogSettings(level="debug", format="text"))
    logger.debug("ours")
    logging.getLogger("somebody.else").debug("theirs")
    assert "ours" in stream.getvalue()
    assert "theirs" not in stream.getvalue()
