"""Where a child process finds the tasks: the worker tells it over the socket between them.

The worker cannot hand its functions over, it can only say where they came from. The module that
starts a child brings the loader that understands this.
"""

from collections.abc import Mapping
from typing import Any

import msgspec


class TaskSource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where tasks come from, as plain data."""

    app: str | None = None
    """``module:app``."""
    jobs: str | None = None
    """A folder of plain task modules."""
    standard: bool = False
    """Whether the standard tasks belong to it."""
    path: tuple[str, ...] = ()
    """Folders to put on ``sys.path`` first."""
    main: str | None = None
    """The file that was ``__main__``, when the app lives there."""
    traced: bool = False
    """Whether spans that its tasks open are exported as the worker's are."""
    tasks: Mapping[str, Any] = {}
    """The settings of the standard tasks, secrets included: never log it."""
