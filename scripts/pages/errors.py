"""The page ``docs/reference/errors.md``: every error, its code and its meaning."""

from collections.abc import Iterator

from scripts.pages.source import NOTICE, first_line, table
from stoker.core import rules
from stoker.core.errors import StokerError
from stoker.tasks import errors, trial

HEAD = ("class", "code", "retryable", "meaning")

_INTRO = """# Errors and their codes

An error of Stoker carries a message for people (what was found, what was expected, what to
do), a stable `code` for programs, and `details`. The code is the same in Python
(`error.code`), on HTTP (`{"error": {"code", "message", "details"}}`) and in the shell. Take
decisions on the class or the code, never on the text. A code once released keeps its
meaning.

*Retryable* means that the same call may succeed later without being changed. Two of those
differ in what they promise: after `unavailable` nothing was done, after `outcome_unknown`
it may have been. Every command of Stoker is idempotent by ids that the caller made, so
repeating it is safe in both cases.

"""
_RECORDED = """
## Codes recorded with a job

A failed attempt keeps its error as data: code, type, message and traceback. Besides the
codes above, these stand there:

"""


def page() -> str:
    """Return the page."""
    return "".join(
        (
            NOTICE.format(source="src/stoker/core/errors.py"),
            _INTRO,
            table(HEAD, _rows(StokerError, 0, module="stoker.core.errors")),
            "\n## Errors of the standard tasks\n\n",
            table(HEAD, _task_rows()),
            _RECORDED,
            table(("code", "meaning"), _recorded()),
        )
    )


def _task_rows() -> Iterator[tuple[str, ...]]:
    for module in (errors.__name__, trial.__name__):
        for cls in StokerError.__subclasses__():
            if cls.__module__ == module:
                yield from _rows(cls, 0, module=module)


def _rows(cls: type[StokerError], depth: int, *, module: str) -> Iterator[tuple[str, ...]]:
    name = f"{'&nbsp;&nbsp;' * depth}`{cls.__name__}`"
    yield name, f"`{cls.code}`", "yes" if cls.retryable else "", first_line(cls.__doc__)
    for child in cls.__subclasses__():
        # Whatever else is loaded must not change the page.
        if child.__module__ == module:
            yield from _rows(child, depth + 1, module=module)


def _recorded() -> Iterator[tuple[str, str]]:
    yield "`task_error`", "The task raised an exception of its own; `type` names it."
    for error in (rules.TIMED_OUT, rules.WORKER_LOST, rules.EXPIRED, rules.PARENT_FAILED):
        yield f"`{error.code}`", f"{error.message[0].upper()}{error.message[1:]}."
