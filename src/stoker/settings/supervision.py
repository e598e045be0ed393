"""What the system's supervisor says in the environment: where it listens, how often it looks."""

import os
from collections.abc import Mapping

import msgspec

OF_SUPERVISORS = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
"""Variables that mean this process and none of its children."""


class Supervision(msgspec.Struct, frozen=True):
    """How a service tells its supervisor that it lives."""

    socket: str | None = None
    """Address of a datagram socket; an ``@`` in front stands for an abstract one. None: nobody
    listens."""
    watchdog: float | None = None
    """Seconds of silence after which it is taken for dead; None: it may be silent."""


def supervision(env: Mapping[str, str] | None = None, *, pid: int | None = None) -> Supervision:
    """Return what systemd says to this process: `sd_notify(3)`, `sd_watchdog_enabled(3)`.

    Args:
        env: The environment; by default the process's.
        pid: This process, if it is not the one that runs.
    """
    variables = os.environ if env is None else env
    socket = variables.get("NOTIFY_SOCKET") or None
    micros, meant = variables.get("WATCHDOG_USEC", ""), variables.get("WATCHDOG_PID", "")
    if not micros.isdecimal() or (meant and meant != str(pid or os.getpid())):
        return Supervision(socket)
    return Supervision(socket, int(micros) / 1e6 or None)
