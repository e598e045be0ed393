"""The demo's own tasks: one fails once, one until it is mended, some are steps of a workflow."""

from pathlib import Path

from stoker.app.stoker import Stoker
from stoker.core.context import current_job
from stoker.core.retry import RetryPolicy

app = Stoker()

QUICK = RetryPolicy(2, backoff="fixed", base="300ms", jitter=False)


@app.task("demo.flaky", retry=QUICK)
def flaky(city: str) -> str:
    """Fail at the first attempt, as a service that is just restarting would make it."""
    if current_job().attempt == 1:
        raise ConnectionError(f"the weather service of {city} does not answer yet")
    return f"sunny in {city}"


@app.task("demo.invoice", retry=RetryPolicy(1, backoff="fixed", base="200ms", jitter=False))
def invoice(rates: str) -> int:
    """Fail until somebody puts the missing file there: a dead letter that is worth a replay."""
    return len(Path(rates).read_text(encoding="utf-8").splitlines())


@app.task("demo.patient")
async def patient(seconds: float) -> None:
    """Take long, so that there is time to cancel it while it runs."""
    import asyncio

    job = current_job()
    for step in range(100):
        job.progress(step / 100, f"step {step}")
        await asyncio.sleep(seconds / 100)


@app.task("demo.tick")
def tick(note: str) -> str:
    """Do what a schedule says."""
    current_job().log("fired by a schedule: %s", note)
    return note


@app.task("demo.count_words")
def count_words(file: str) -> dict[str, int]:
    """Count the words of a text file."""
    text = Path(file).read_text(encoding="utf-8")
    return {"words": len(text.split()), "lines": text.count("\n")}


@app.task("demo.add_up")
def add_up(counts: list[dict[str, int]]) -> int:
    """Add up what the parents counted."""
    return sum(count["words"] for count in counts)


@app.task("demo.report")
def report(total: int, file: str) -> str:
    """Write the workflow's last page."""
    Path(file).write_text(f"{total} words in all\n", encoding="utf-8")
    return file
