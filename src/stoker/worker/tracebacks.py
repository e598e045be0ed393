"""Exceptions as data: the frames that belong to the task, in a text of bounded length."""

import traceback
from collections.abc import Coroutine
from pathlib import Path
from types import FrameType
from typing import Any

from stoker.core.errors import StokerError
from stoker.core.job import ErrorInfo

MAX_MESSAGE = 2_000
"""Characters kept of an error's message."""
MAX_TRACEBACK = 16_000
"""Characters kept of a traceback."""
TASK_ERROR = "task_error"
"""The code of an exception that is the task's own."""

OWN_FILES = str(Path(__file__).parent)
"""Where the frames of the worker itself come from."""


def describe(error: BaseException) -> ErrorInfo:
    """Turn an exception into data, without the frames of the worker around the task."""
    code = error.code if isinstance(error, StokerError) else TASK_ERROR
    return ErrorInfo(
        code=code,
        message=shorten(_message(error), MAX_MESSAGE),
        type=type(error).__qualname__,
        traceback=shorten(_format(error), MAX_TRACEBACK),
    )


def stack_of(frame: FrameType | None) -> str | None:
    """Return where running code is, without the frames of the worker around the task."""
    if frame is None:
        return None
    return _listing(traceback.extract_stack(frame))


def stack_of_coroutine(coroutine: Coroutine[Any, Any, Any] | None) -> str | None:
    """Return where a suspended coroutine waits."""
    frames: list[tuple[FrameType, int]] = []
    step: Any = coroutine
    while step is not None:
        frame = getattr(step, "cr_frame", None) or getattr(step, "gi_frame", None)
        if frame is not None:
            frames.append((frame, frame.f_lineno))
        step = getattr(step, "cr_await", None) or getattr(step, "gi_yieldfrom", None)
    return _listing(traceback.StackSummary.extract(iter(frames)))


def shorten(text: str, limit: int) -> str:
    """Cut the middle out of a text that is too long: both ends of a traceback matter."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half:,} characters left out ...\n{text[-half:]}"


def _listing(stack: traceback.StackSummary) -> str | None:
    lines = [line for line in stack if not line.filename.startswith(OWN_FILES)]
    return shorten("".join(traceback.format_list(lines)), MAX_TRACEBACK) or None


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - a task's own __str__ may do anything
        return f"<no message: its __str__ raised {type(broken).__name__}>"


def _format(error: BaseException) -> str:
    try:
        story = traceback.TracebackException.from_exception(error)
        _leave_ours_out(story, set())
        return "".join(story.format())
    except Exception as broken:  # noqa: BLE001 - formatting calls the task's own code
        return f"<no traceback: formatting it raised {type(broken).__name__}>"


def _leave_ours_out(story: traceback.TracebackException | None, seen: set[int]) -> None:
    if story is None or id(story) in seen:
        return
    seen.add(id(story))
    theirs = [frame for frame in story.stack if not frame.filename.startswith(OWN_FILES)]
    story.stack = traceback.StackSummary.from_list(theirs)
    for other in (story.__cause__, story.__context__, *(story.exceptions or ())):
        _leave_ours_out(other, seen)
