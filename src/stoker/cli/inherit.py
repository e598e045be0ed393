"""How a command line reaches the processes that a command starts.

A URL may hold a password, and everybody on the machine can read an argument list. So what the
command line said goes to children through one variable of the environment, and counts there as if
it stood on their own command lines.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

VARIABLE = "_STOKER_COMMAND_LINE"
CONFIG = "config"


def to_children(given: Mapping[str, Any], config: str | None) -> dict[str, str]:
    """Return the environment of a child that shall know this command line.

    Args:
        given: Dotted key to value, as the command line said it.
        config: The configuration file that it named.
    """
    from stoker.settings import OF_SUPERVISORS

    environment = dict(os.environ)  # noqa: TID251 - handed on as it is, nothing is read from it
    for name in OF_SUPERVISORS:
        # The supervisor does not know the child, and would not hear it.
        environment.pop(name, None)
    environment[VARIABLE] = said(given, config)
    return environment


def said(given: Mapping[str, Any], config: str | None) -> str:
    """Return the value of `VARIABLE`; see `to_children`."""
    words = dict(given)
    if config is not None:
        words[CONFIG] = config
    return json.dumps(words)


def from_parent() -> dict[str, Any]:
    """Return what the command line of the parent said, ``config`` included."""
    text = os.environ.get(VARIABLE)  # noqa: TID251 - no setting: a message between two processes
    if text is None:
        return {}
    found: dict[str, Any] = json.loads(text)
    return found
