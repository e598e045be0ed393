"""Tasks for the tests in a browser: to succeed, to fail, to be in work for as long as one looks."""

import asyncio

from stoker import Stoker, current_job

app = Stoker()
_held: set[asyncio.Event] = set()


@app.task("count", queue="numbers")
async def count(to: int = 3) -> dict[str, int]:
    """Count, with progress and log lines."""
    job = current_job()
    for number in range(1, to + 1):
        job.progress(number / to, f"{number} of {to}")
        job.log(f"counted {number}")
    return {"counted": to}


@app.task("fail", queue="trouble", max_retries=0)
async def fail(message: str = "no luck") -> None:
    """Fail, saying what it was told to say."""
    job = current_job()
    job.log(message)
    job.progress(0.5, message)
    raise ValueError(message)


@app.task("echo", queue="numbers")
async def echo(value: object = None) -> object:
    """Return what it was given."""
    return value


@app.task("hold", queue="numbers")
async def hold() -> str:
    """Stay in work, half done, until `let_go` runs in the same worker."""
    job = current_job()
    job.progress(0.5, "1 of 2")
    job.log("holding")
    let_go = asyncio.Event()
    _held.add(let_go)
    try:
        await let_go.wait()
    finally:
        _held.discard(let_go)
    job.log("let go")
    return "held"


@app.task("let_go", queue="numbers")
async def let_go() -> None:
    """Let every job go on that is held now."""
    for held in _held:
        held.set()
