"""Logging for the commands that run long: text on a terminal, one JSON object a line otherwise.

The library sets up no handlers; this is the one place that does. Whatever a log line carries,
passwords and keys in URLs are masked before it leaves.
"""

import logging
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from stoker.cli.text import clean, to_json
from stoker.core.context import running_job

if TYPE_CHECKING:
    from stoker.settings import LogSettings

_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE)
_BEARER = re.compile(r"(?i)\b(bearer|x-api-key:?)\s+\S+")
_QUIET = ("asyncio", "httpcore", "uvicorn")
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}
"""Fields of every record; the others came with ``extra=``."""
_COLOURS = {"DEBUG": "\x1b[2m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}


def set_up_logging(settings: "LogSettings", *, stream: TextIO | None = None) -> None:
    """Send log lines to stderr.

    Args:
        settings: Level and format.
        stream: Where to instead of stderr.
    """
    target = stream or sys.stderr
    is_terminal = target.isatty()
    as_json = settings.format == "json" or (settings.format == "auto" and not is_terminal)
    handler = logging.StreamHandler(target)
    handler.setFormatter(JsonLines() if as_json else TextLines(colours=is_terminal))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    root.setLevel(max(level, logging.INFO))
    logging.getLogger("stoker").setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(capture=True)


class TextLines(logging.Formatter):
    """One line for people: time, level, where from, sentence, fields."""

    def __init__(self, *, colours: bool) -> None:
        """Choose whether levels are coloured."""
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line; a traceback follows on lines of its own."""
        at = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        level = f"{record.levelname.lower():<7}"
        if self._colours and record.levelname in _COLOURS:
            level = f"{_COLOURS[record.levelname]}{level}\x1b[0m"
        fields = " ".join(f"{key}={value}" for key, value in _extra(record).items())
        said = clean(" ".join(part for part in (mask(record.getMessage()), mask(fields)) if part))
        line = f"{at} {level} {record.name.removeprefix('stoker.')}: {said}"
        trace = _traceback(self, record)
        return f"{line}\n{clean(trace, lines=True)}" if trace else line


class JsonLines(logging.Formatter):
    """One JSON object a line, for collectors."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": mask(record.getMessage()),
            "pid": record.process,
        }
        for key, value in _extra(record).items():
            line.setdefault(key, mask(str(value)) if not isinstance(value, int | float) else value)
        trace = _traceback(self, record)
        if trace:
            line["traceback"] = trace
        return to_json(line)


def mask(text: str) -> str:
    """Return a text without the passwords and keys of the URLs and headers in it."""
    from stoker.settings import masked

    hidden = _URL.sub(lambda match: masked(match[0]), text) if "://" in text else text
    return _BEARER.sub(r"\1 ***", hidden)


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a record, and of the job on whose behalf it was written."""
    given = {key: value for key, value in vars(record).items() if key not in _OWN}
    job = running_job()
    if job is None:
        return given
    return {"job_id": job.id, "task": job.task, "attempt": job.attempt, **given}


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if not record.exc_info:
        # What a child process logged comes with its traceback as text.
        return mask(record.exc_text or "")
    return mask(formatter.formatException(record.exc_info))
