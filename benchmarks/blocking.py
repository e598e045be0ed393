"""The task of `benchmarks.tasks` as a plain function: a worker runs it in one of its threads."""

from stoker import Stoker

app = Stoker()


@app.task(timeout="1m")
def nothing(number: int) -> int:
    """Return what it was given."""
    return number
