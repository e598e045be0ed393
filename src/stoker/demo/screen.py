"""How the demo shows its acts: a live table on a terminal, plain lines in a pipe."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from rich.markup import escape
from rich.table import Table

from stoker.core.job import JobRecord
from stoker.demo.acts import Act

COLOURS = {
    "completed": "green",
    "dead_letter": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "retry_queued": "magenta",
}


def table(acts: Sequence[Act]) -> Table:
    """Return the acts as a table."""
    shown = Table(title="Stoker's demo")
    for name in ("act", "task", "state", "attempts", "took", "remark"):
        shown.add_column(name, overflow="fold")
    for act in acts:
        mark = "[green]✔[/]" if act.is_right else "[red]✘[/]" if act.done else " "
        shown.add_row(f"{mark} {act.title}", *_cells(act.record), escape(_remark(act)))
    return shown


async def lines(acts: Sequence[Act]) -> AsyncIterator[str]:
    """Yield a plain line whenever an act's job changed its state, until all acts are done."""
    seen: dict[int, str] = {}
    while True:
        for number, act in enumerate(acts):
            state = str(act.record.state) if act.record else "waiting"
            if seen.get(number, "waiting") != state:
                seen[number] = state
                yield f"{act.title}: {state}"
        if all(act.done for act in acts):
            return
        await asyncio.sleep(0.1)


def _cells(record: JobRecord | None) -> tuple[str, str, str, str]:
    if record is None:
        return ("", "waiting", "", "")
    colour = COLOURS.get(record.state, "white")
    took = ""
    if record.finished_at is not None:
        took = f"{(record.finished_at - record.submitted_at).total_seconds():.2f} s"
    return (record.task, f"[{colour}]{record.state}[/]", str(record.attempt), took)


def _remark(act: Act) -> str:
    if act.failure:
        return act.failure
    if act.remark or act.record is None:
        return act.remark
    if act.record.finished_at is None:
        return act.record.progress_note or ""
    return "" if act.record.error is None else str(act.record.error)
