"""The task that the benchmark runs: nothing, so that what is measured is the queue."""

from stoker import Stoker

app = Stoker()


@app.task(timeout="1m")
async def nothing(number: int) -> int:
    """Return what it was given."""
    return number
