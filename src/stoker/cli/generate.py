"""``stoker generate``: a stream of test jobs, to see the system at work."""

import asyncio
import sys
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import click

from stoker.cli.dlq import read_rate
from stoker.cli.exits import DONE, FAILED
from stoker.cli.output import Output, counted
from stoker.cli.shell import Shell, common, json_option
from stoker.core.duration import seconds
from stoker.core.errors import InvalidOption, ResultTimeout
from stoker.core.lifecycle import TERMINAL
from stoker.core.records import MAX_PAGE
from stoker.core.retry import RetryPolicy

if TYPE_CHECKING:
    from stoker.app.calls import Call
    from stoker.app.stoker import Stoker
    from stoker.core.store import Store

TICK = 0.1
"""Seconds between two submits when the rate allows more than one job in that time."""
LONGEST = 20
"""How many times as long as the mean the longest job takes."""
MIX = (("high", 0.2), ("medium", 0.6), ("low", 0.2))
_RETRY = RetryPolicy(1, backoff="fixed", base=0.5, jitter=False)


@click.command()
@click.option("--rate", default="50/s", show_default=True, metavar="N/s", help="How fast.")
@click.option("--jobs", "number", default=500, show_default=True, metavar="N", help="How many.")
@click.option("--fail", default=0.1, show_default=True, help="Share of jobs that fail, 0 to 1.")
@click.option("--seconds", "mean", default=0.05, show_default=True, help="Mean run time.")
@click.option("--queue", "-q", "queues", multiple=True, help="Spread over these queues.")
@click.option("--wait", is_flag=True, help="Wait until all of them have ended.")
@click.option("--timeout-wait", metavar="DURATION", help="How long to wait (with --wait).")
@json_option
@common(without=("jobs",))
def generate(
    shell: Shell,
    *,
    rate: str,
    number: int,
    fail: float,
    mean: float,
    queues: tuple[str, ...],
    wait: bool,
    timeout_wait: str | None,
) -> int:
    """Submit a mix of test jobs at a rate.

    Run times and priorities vary. Of the jobs that fail every second one succeeds in its second
    attempt; the others become dead letters. All of them are jobs of the standard task "trial".
    """
    if number < 1:
        raise InvalidOption(f"--jobs is {number}; expected at least 1")
    if not 0 <= fail <= 1:
        raise InvalidOption(f"--fail is {fail}; expected 0 to 1")
    pace = read_rate(rate)

    async def work(app: "Stoker", store: "Store") -> Counter[str]:
        mix = Mix(app, fail=fail, mean=mean, queues=queues)
        with _meter(shell.out, number, "submitted") as meter:
            ids = await _submit(app, mix, number, pace, meter)
        if not wait:
            return Counter(submitted=len(ids))
        limit = None if timeout_wait is None else seconds(timeout_wait, name="--timeout-wait")
        with _meter(shell.out, number, "ended") as meter:
            return await _await_all(app, store, ids, limit, meter)

    ended = shell.run(work)
    if shell.out.as_json:
        shell.out.document(dict(ended))
    else:
        shell.out.line(counted(ended))
    return DONE if ended.total() == number else FAILED


class Mix:
    """Makes calls of the task ``trial`` that differ."""

    def __init__(self, app: "Stoker", *, fail: float, mean: float, queues: tuple[str, ...]) -> None:
        """Begin a mix.

        Args:
            app: Gives chance, and knows the task.
            fail: Share of jobs that fail.
            mean: Mean run time in seconds.
            queues: Spread over these; the default queue if there are none.
        """
        self._app = app
        self._fail = fail
        self._mean = mean
        self._queues = queues
        self._made = 0
        self._failing = 0

    async def call(self) -> "Call[Any]":
        """Make the next call."""
        chance = self._app.clock.random
        self._made += 1
        payload: dict[str, Any] = {
            "seconds": round(min(self._mean * LONGEST, self._mean * 2 * chance()), 3),
            "message": f"test job {self._made}",
        }
        options: dict[str, Any] = {"priority": _pick(chance()), "retry": _RETRY}
        if self._queues:
            options["queue"] = self._queues[self._made % len(self._queues)]
        # Counted, not drawn: of 100 jobs with --fail 0.1 exactly ten fail.
        if int(self._made * self._fail) > self._failing:
            self._failing += 1
            payload["failures"] = 1 if self._failing % 2 else 2
        return await self._app.acall("trial", payload, **options)


class Meter(Protocol):
    """Shows how far a long work is."""

    def to(self, done: int) -> None:
        """Show that so many are done."""
        ...


async def _submit(app: "Stoker", mix: Mix, number: int, pace: float, meter: Meter) -> list[str]:
    ids: list[str] = []
    begin = app.clock.monotonic()
    while len(ids) < number:
        due = int((app.clock.monotonic() - begin) * pace) + 1 - len(ids)
        batch = min(due, number - len(ids), MAX_PAGE)
        if batch > 0:
            jobs = await app.asubmit_many([await mix.call() for _ in range(batch)])
            ids += [job.id for job in jobs]
            meter.to(len(ids))
        await asyncio.sleep(max(TICK, 1 / pace) if batch < MAX_PAGE else 0)
    return ids


async def _await_all(
    app: "Stoker", store: "Store", ids: list[str], limit: float | None, meter: Meter
) -> Counter[str]:
    deadline = None if limit is None else app.clock.monotonic() + limit
    ended: Counter[str] = Counter()
    left = ids
    while True:
        live: list[str] = []
        for start in range(0, len(left), MAX_PAGE):
            for job in await store.get(left[start : start + MAX_PAGE]):
                if job is None:
                    ended["purged"] += 1
                elif job.state in TERMINAL:
                    ended[str(job.state)] += 1
                else:
                    live.append(job.id)
        meter.to(ended.total())
        left = live
        if not left:
            return ended
        if deadline is not None and app.clock.monotonic() >= deadline:
            raise ResultTimeout(
                f"{len(left):,} of {len(ids):,} jobs did not end in time; they go on",
                left=len(left),
                ended=dict(ended),
            )
        await asyncio.sleep(0.2)


def _pick(chance: float) -> str:
    for name, share in MIX:
        if chance < share:
            return name
        chance -= share
    return MIX[-1][0]


class _Lines:
    def __init__(self, out: Output, total: int, word: str) -> None:
        self._out, self._total, self._word, self._told = out, total, word, 0

    def to(self, done: int) -> None:
        if done == self._total or done - self._told >= max(1, self._total // 10):
            self._told = done
            self._out.note(f"{done:,} of {self._total:,} {self._word}")


def _meter(out: Output, total: int, word: str) -> AbstractContextManager[Meter]:
    if out.as_json or not sys.stderr.isatty():
        return nullcontext(_Lines(out, total, word))
    from stoker.cli.bar import Bar

    return Bar(out.console(stderr=True), total=total, word=word)
