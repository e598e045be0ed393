"""``stoker top``: the system live, in a terminal; in a pipe one plain picture after the other."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from stoker.cli.health import Look, look
from stoker.cli.output import rich_table
from stoker.cli.queues import COLUMNS as QUEUE_COLUMNS
from stoker.cli.queues import queue_row
from stoker.cli.shell import Shell, common
from stoker.cli.status import facts, print_look
from stoker.cli.text import clean
from stoker.cli.workers import COLUMNS as WORKER_COLUMNS
from stoker.cli.workers import worker_row
from stoker.core.duration import seconds
from stoker.core.errors import Unavailable
from stoker.core.job import JobRecord
from stoker.core.lifecycle import LEASED
from stoker.core.records import JobQuery

if TYPE_CHECKING:
    from rich.console import RenderableType

    from stoker.core.store import Store

WINDOW = 900.0
MAX_WAIT = 300.0
ROWS = 12
"""Running jobs on the picture."""
BARS = "▁▂▃▄▅▆▇█"


@click.command()
@click.option("--interval", default="1s", show_default=True, help="Between two pictures.")
@click.option("--count", type=int, metavar="N", help="End after N pictures.")
@common()
def top(shell: Shell, *, interval: str, count: int | None) -> None:
    """Watch the system live.

    q or Ctrl-C ends it.
    """
    pause = max(0.1, seconds(interval, name="--interval"))
    try:
        if shell.out.is_terminal:
            shell.run(lambda _, store: _watch(shell, store, pause, count))
        else:
            shell.run(lambda _, store: _print(shell, store, pause, count))
    except KeyboardInterrupt:
        return


async def _print(shell: Shell, store: "Store", pause: float, count: int | None) -> None:
    shown = 0
    while count is None or shown < count:
        if shown:
            await asyncio.sleep(pause)
            shell.out.line()
        print_look(shell.out, await look(store, window=WINDOW, max_wait=MAX_WAIT))
        shown += 1


async def _watch(shell: Shell, store: "Store", pause: float, count: int | None) -> None:
    from rich.live import Live
    from rich.text import Text

    quit_asked = asyncio.Event()
    shown = 0
    with _keys(quit_asked), Live(console=shell.out.console(), screen=True) as live:
        while not quit_asked.is_set() and (count is None or shown < count):
            try:
                live.update(await _picture(store), refresh=True)
            except Unavailable as error:
                live.update(Text(clean(error.message), style="red"), refresh=True)
            shown += 1
            try:
                async with asyncio.timeout(pause):
                    await quit_asked.wait()
            except TimeoutError:
                continue


async def _picture(store: "Store") -> "RenderableType":
    found = await look(store, window=WINDOW, max_wait=MAX_WAIT)
    page = await store.find(JobQuery(states=tuple(LEASED)), limit=ROWS)
    return picture(found, page.jobs)


def picture(found: Look, running: list[JobRecord]) -> "RenderableType":
    """Draw the system at one moment."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    now = found.stats.now
    head = Table.grid(padding=(0, 2))
    for name, value in facts(found):
        if value not in (None, ""):
            head.add_row(Text(name, style="dim"), Text(clean(value)))
    head.add_row(Text("a minute", style="dim"), Text(sparkline(found), style="green"))
    parts: list[RenderableType] = [
        Text(f"stoker  {now:%H:%M:%S} UTC    q ends", style="bold"),
        *(Text(clean(c.message), style="yellow") for c in found.concerns),
        head,
    ]
    if found.queues:
        parts.append(_table("Queues", QUEUE_COLUMNS, [queue_row(q, now) for q in found.queues]))
    if found.workers:
        rows = [worker_row(worker, now) for worker in found.workers]
        parts.append(_table("Workers", WORKER_COLUMNS, rows))
    if running:
        parts.append(_table("Running", _RUNNING, [_running(job) for job in running]))
    return Group(*parts)


def sparkline(found: Look) -> str:
    """Return the completed jobs of the last minutes as a row of bars."""
    numbers = [minute.completed for minute in found.stats.throughput.minutes][-15:]
    most = max(numbers, default=0)
    if not most:
        return "no job completed"
    bars = "".join(BARS[round(n / most * (len(BARS) - 1))] for n in numbers)
    return f"{bars} {numbers[-1]:,}"


_RUNNING = ("id", "task", "state", "worker", "attempt", "progress")


def _running(job: JobRecord) -> tuple[object, ...]:
    done = "" if job.progress is None else f"{job.progress:.0%} {job.progress_note or ''}"
    return job.id, job.task, job.state, job.worker, job.attempt, done


def _table(
    title: str, columns: tuple[str, ...], rows: list[tuple[object, ...]]
) -> "RenderableType":
    cells = [[clean("" if cell is None else cell) for cell in row] for row in rows]
    table = rich_table(columns, cells)
    table.title = title
    table.title_justify = "left"
    return table


@contextmanager
def _keys(quit_asked: asyncio.Event) -> Iterator[None]:
    """Read single keys from the terminal: q ends."""
    import termios
    import tty

    if not sys.stdin.isatty():
        yield
        return
    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    loop = asyncio.get_running_loop()

    def read() -> None:
        if sys.stdin.read(1) in {"q", "Q", "\x04", ""}:
            quit_asked.set()

    tty.setcbreak(handle)
    loop.add_reader(handle, read)
    try:
        yield
    finally:
        loop.remove_reader(handle)
        termios.tcsetattr(handle, termios.TCSADRAIN, before)
