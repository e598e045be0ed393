"""Read by mypy only: the typed task API.

Every line with a ``type: ignore`` must be an error, or mypy reports the ignore as unused.
"""

from typing import assert_type

from stoker import Job, RetryPolicy, Stoker

app = Stoker(settings=None)


@app.task
def shout(text: str) -> str:
    return text.upper()


@app.task("video.process", queue="video", timeout="15m", run_in="process", retry=RetryPolicy(5))
def process(file: str, height: int = 720) -> str:
    return f"{file}.{height}"


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


def submit_keeps_the_parameters() -> None:
    assert_type(shout("x"), str)
    assert_type(shout.submit("hi"), Job[str])
    assert_type(shout.submit("hi").result(timeout="10s"), str)
    assert_type(process.submit("movie.mp4", height=480), Job[str])
    assert_type(shout.options(priority="high", delay="10m").submit("hi"), Job[str])
    assert_type(shout.options(connection=object()).submit("hi"), Job[str])
    shout.submit(1)  # type: ignore[arg-type]
    shout.submit()  # type: ignore[call-arg]
    shout.submit("a", "b")  # type: ignore[call-arg]
    process.submit("movie.mp4", heigth=480)  # type: ignore[call-arg]
    shout.options(priority="high").submit(2)  # type: ignore[arg-type]
    shout.options(prioritee="high")  # type: ignore[call-arg]


async def async_tasks_give_their_result_not_a_coroutine() -> None:
    assert_type(await fetch("x"), bytes)
    assert_type(await fetch.asubmit("x"), Job[bytes])
    assert_type(await (await fetch.asubmit("x")).aresult(), bytes)
    assert_type(await shout.options(connection=object()).asubmit("hi"), Job[str])
    await shout.asubmit(3)  # type: ignore[arg-type]


def nodes_carry_the_type_of_their_result() -> None:
    flow = app.workflow("ingest")
    video = flow.add(process.call("movie.mp4"))
    flow.add(shout.call(video.output))
    flow.add(process.call("x", video.output))  # type: ignore[arg-type]
