"""What child processes log: it goes through the worker, as if it had been logged there.

So it gets the worker's format, level and masks, and the ids of the job and its attempt, without
the child knowing where logs go. A record is sent as text: nothing of the child's objects travels.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from stoker.core.context import JobContext, running_job
from stoker.core.errors import Cancelled, TaskTimeout
from stoker.worker import wire

LONGEST = 16_384
"""Characters of a message, or of a traceback, that are sent."""
KEPT = 10_000
"""Records that wait to be sent; what comes when there are more is dropped, and counted."""
FIELDS = 32
"""Fields given with ``extra=`` that are sent."""
NAMES = ("", "stoker")
"""Loggers whose levels a child takes over."""
log = logging.getLogger(__name__)
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def levels() -> dict[str, int]:
    """Return the levels that a child of this process begins with."""
    return {name: logging.getLogger(name).getEffectiveLevel() for name in NAMES}


class ToWorker(logging.Handler):
    """In a child: keeps each record until it is sent to the worker.

    A job is interrupted by an exception that is raised wherever it is just then. In the midst of
    sending a frame that would cut it off, so the one who logs never sends.
    """

    def __init__(self, wake: Callable[[], None], job: Callable[[], JobContext | None]) -> None:
        """Keep records.

        Args:
            wake: Told that there are some.
            job: Returns the job that this process runs, for threads that it started.
        """
        super().__init__()
        self._wake = wake
        self._job = job
        self._kept: SimpleQueue[wire.Logged] = SimpleQueue()
        self._dropped = 0
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record, if there are not too many."""
        if self._kept.qsize() >= KEPT:
            self._dropped += 1
            return
        try:
            self._kept.put(self._told(record))
        except (Cancelled, TaskTimeout):
            # Raised here by chance, and meant for the job.
            raise
        except Exception:  # noqa: BLE001 - a record that cannot be told must not end a job
            self.handleError(record)
        self._wake()

    def send(self, send: Callable[[wire.Logged], None]) -> None:
        """Send what there is; called outside of jobs."""
        with suppress(Empty):
            while True:
                send(self._kept.get_nowait())
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            log.warning("%d records of the log were dropped: more than could be sent", dropped)

    def _told(self, record: logging.LogRecord) -> wire.Logged:
        job = running_job() or self._job()
        trace = self._formatter.formatException(record.exc_info) if record.exc_info else ""
        return wire.Logged(
            logger=record.name,
            level=record.levelno,
            message=record.getMessage()[:LONGEST],
            created=record.created,
            pid=record.process or 0,
            traceback=trace[-LONGEST:],
            extra=_extra(record) | ({} if job is None else _ids(job)),
        )


def take_over(given: Mapping[str, int], handler: logging.Handler) -> None:
    """In a child: log to this handler, from these levels on."""
    logging.getLogger().addHandler(handler)
    for name, level in given.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=True)


def say_again(told: wire.Logged) -> None:
    """In the worker: log what a child logged."""
    logger = logging.getLogger(told.logger)
    if not logger.isEnabledFor(told.level):
        return
    record = logging.LogRecord(told.logger, told.level, "", 0, told.message, None, None)
    record.created = told.created
    record.msecs = told.created % 1 * 1_000
    record.process = told.pid
    # Formatters take it as the traceback that was made already.
    record.exc_text = told.traceback or None
    for name, value in told.extra.items():
        if name not in _OWN:
            setattr(record, name, value)
    logger.handle(record)


def _ids(job: JobContext) -> dict[str, str | int | float]:
    return {"job_id": job.id, "task": job.task, "attempt": job.attempt}


def _extra(record: logging.LogRecord) -> dict[str, str | int | float]:
    given: list[tuple[str, Any]] = [i for i in vars(record).items() if i[0] not in _OWN]
    return {
        name: value if isinstance(value, int | float) else str(value)[:LONGEST]
        for name, value in given[:FIELDS]
    }
