"""Exit codes and the one place where an error becomes a message for a person or a program.

The codes are a promise of the documentation; scripts rely on them.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import click

from stoker.cli.text import clean, to_json
from stoker.core.errors import (
    BackendError,
    JobFailed,
    NotFound,
    ResultTimeout,
    StokerError,
    Unsupported,
    UsageError,
)

DONE = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
TIMED_OUT = 4
BUG = 70
INTERRUPTED = 130
BROKEN_PIPE = 141

MEANINGS: dict[int, str] = {
    DONE: "done",
    FAILED: "the job failed, or what was asked for was refused",
    USAGE: "usage: an unknown name, a bad value, a bad configuration",
    UNREACHABLE: "the store cannot be reached or used",
    TIMED_OUT: "timed out; the job goes on",
    BUG: "an error inside Stoker",
    INTERRUPTED: "interrupted with Ctrl-C",
}
"""What each code says; printed below ``stoker --help``."""

_CODES: dict[type[BaseException], int] = {
    StokerError: FAILED,
    UsageError: USAGE,
    NotFound: USAGE,
    BackendError: UNREACHABLE,
    Unsupported: USAGE,
    ResultTimeout: TIMED_OUT,
}


def exit_code(error: StokerError) -> int:
    """Return the exit code that an error stands for."""
    return next(_CODES[cls] for cls in type(error).__mro__ if cls in _CODES)


def guard(run: Callable[[], Any], *, as_json: bool) -> int:
    """Run a command and return its exit code; every error is told once, on stderr.

    Args:
        run: The command. It returns its exit code, or None when all went well.
        as_json: Whether errors are told as JSON.
    """
    try:
        result = run()
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        return leave_quietly().exit_code
    except Exception as error:  # noqa: BLE001 - the process's border
        return _tell(_innermost(error), as_json=as_json)
    return result if isinstance(result, int) else DONE


def leave_quietly() -> click.exceptions.Exit:
    """Point stdout at nothing, and return the exit that tells of a reader who has gone.

    Otherwise the interpreter would complain about the pipe when it flushes for the last time.
    """
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return click.exceptions.Exit(BROKEN_PIPE)


def _tell(error: BaseException, *, as_json: bool) -> int:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, click.ClickException):
        return _tell_click(error, as_json=as_json)
    if isinstance(error, StokerError):
        _say(error.code, error.message, dict(error.details), as_json=as_json)
        if isinstance(error, JobFailed) and error.traceback and not as_json:
            click.echo(clean(error.traceback, lines=True).rstrip(), err=True)
        return exit_code(error)
    if isinstance(error, OSError) and error.filename is not None:
        _say("usage", f"{error.filename!s}: {error.strerror}", {}, as_json=as_json)
        return USAGE
    _say("internal", f"an error inside Stoker: {error!r}", {}, as_json=as_json)
    if not as_json:
        click.echo("".join(traceback.format_exception(error)), err=True)
    return BUG


def _tell_click(error: click.ClickException, *, as_json: bool) -> int:
    if as_json or not isinstance(error, click.UsageError):
        _say("usage", error.format_message(), {}, as_json=as_json)
    else:
        error.show()
    return USAGE


def _say(code: str, message: str, details: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        body = {"error": {"code": code, "message": message, "details": details}}
        click.echo(to_json(body), err=True)
        return
    head = click.style("Error:", fg="red", bold=True)
    tail = click.style(f"[{code}]", dim=True)
    click.echo(f"{head} {clean(message, lines=True)} {tail}", err=True)


def _innermost(error: BaseException) -> BaseException:
    """Return what a group of exceptions is about: the errors of a `TaskGroup` come in one."""
    while isinstance(error, BaseExceptionGroup):
        told = (e for e in error.exceptions if isinstance(e, StokerError))
        error = next(told, error.exceptions[0])
    return error
