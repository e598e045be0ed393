"""How Python itself is set in a process that only serves.

Each request makes thousands of small records and lets all of them go: nearly nothing is ever part
of a cycle. Python's collector looks after every 700 objects more, walks through the long lists of
the requests under way each time, and now and then through every module of the server.

And while the event loop reads and writes requests, the thread that writes to SQLite comes out of a
statement every millisecond or so and waits for the interpreter's lock, which Python takes from the
loop only after five.

A worker is left as it is, for the tasks in it are not ours.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_YOUNG = 50_000
"""Objects more than were let go, some ten megabytes of them, after which it looks."""
_TURN = 0.00005
"""Seconds after which a thread that others wait for lets go of the interpreter's lock."""


@contextmanager
def serving() -> Iterator[None]:
    """Let the collector look seldom, and threads take short turns."""
    threshold, turn = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(_YOUNG, *threshold[1:])
    sys.setswitchinterval(_TURN)
    try:
        yield
    finally:
        sys.setswitchinterval(turn)
        gc.set_threshold(*threshold)
        gc.unfreeze()


def spare() -> None:
    """Never let the collector look at what is there by now; until the end of `serving`."""
    gc.collect()
    gc.freeze()
