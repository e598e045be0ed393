"""How often the garbage collector looks in a process that only serves.

Each request makes thousands of small records and lets all of them go: nearly nothing is ever part
of a cycle. Python's collector looks after every 700 objects more, walks through the long lists of
the requests under way each time, and now and then through every module of the server. A worker is
left as it is, for the tasks in it are not ours.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_YOUNG = 50_000
"""Objects more than were let go, some ten megabytes of them, after which it looks."""


@contextmanager
def seldom() -> Iterator[None]:
    """Let the collector look seldom."""
    before = gc.get_threshold()
    gc.set_threshold(_YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def spare() -> None:
    """Never look at what is there by now; until the end of `seldom`."""
    gc.collect()
    gc.freeze()
