"""Whether the present task was told to end, for loops that outlive the faults of a driver."""

import asyncio


def is_cancelled() -> bool:
    """Tell whether this task was cancelled, though perhaps nothing was raised for it.

    A cancellation that meets a driver while that gives up comes out as the error that the driver
    was about to raise: of aiormq at a login that is refused, of psycopg while it asks a server that
    is gone to let go of a statement. Whoever catches such errors and tries again asks here first.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
