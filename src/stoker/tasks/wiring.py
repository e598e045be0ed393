"""How a worker's settings reach the standard tasks.

The convention: in a standard task's signature, what stands before the star is the payload, and
what stands behind it (``settings``, ``clock``, ``guard``) belongs to the worker. `bound` takes the
latter out of the signature, so that no payload can choose its own key, folder or rules, while the
function stays a plain one that anybody can call.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from stoker.settings import TaskSettings

DEFAULTS = TaskSettings()
"""The settings of plain calls that give none."""


def bound(fn: Callable[..., Any], settings: TaskSettings) -> Callable[..., Any]:
    """Return a function that holds the settings and takes only the payload.

    Args:
        fn: A function with the keyword-only parameter ``settings``; its other keyword-only
            parameters keep their defaults.
        settings: The worker's settings.
    """
    signature = inspect.signature(fn)
    kept = [p for p in signature.parameters.values() if p.kind is not p.KEYWORD_ONLY]

    @functools.wraps(fn)
    def task(*args: Any, **kwargs: Any) -> Any:
        arguments = signature.replace(parameters=kept).bind(*args, **kwargs)
        return fn(*arguments.args, **arguments.kwargs, settings=settings)

    task.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    names = {p.name for p in kept} | {"return"}
    task.__annotations__ = {k: v for k, v in fn.__annotations__.items() if k in names}
    return task
