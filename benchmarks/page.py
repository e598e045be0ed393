"""How soon the dashboard answers with a million jobs in the store, measured in a browser.

``python -m benchmarks.page [--jobs N] [--rounds N]``. The jobs are submitted, leased and settled
through the store's own verbs, in batches, until the store holds a mix of all states. Then a server
runs, a browser opens the page, and the page's own clock says when something was painted, and how
long after a key or a click its answer was on the screen (`dashboard/browser/measure.mjs`).
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from benchmarks import report
from stoker import Stoker
from stoker.core.clock import Clock
from stoker.core.job import ErrorInfo, JobSpec, Leased, Outcome, Priority, SessionSpec, Settlement
from stoker.core.store import Store
from stoker.testing.clock import FakeClock

T = TypeVar("T")

JOBS = 1_000_000
FEW = 10_000
"""Jobs in the store that is measured beside, in the same run: the machine's mood meets both."""
ROUNDS = 9
BATCH = 5_000
ROOT = Path(__file__).resolve().parents[1]
WORKED = ("mail", "invoices", "images", "reports", "hooks")
"""Queues whose jobs were run."""
WAITING = ("imports", "archive", "search")
"""Queues whose jobs wait: nobody takes them."""
DEEDS = ("send", "check", "build")
RUN = 0.6
"""The share of jobs that ran."""
COMPLETED = 0.96
DEAD = 0.98
"""Attempts end up to here as completed, up to there as dead letters, the rest waits for a retry."""
PRIORITIES = (Priority.HIGH, Priority.MEDIUM, Priority.MEDIUM, Priority.LOW)
CAUSES = (
    ("TimeoutError", "upstream did not answer in 30 s"),
    ("ValueError", "order 17 has no address"),
    ("ConnectionError", "502 Bad Gateway"),
    ("KeyError", "'customer'"),
)
LEASE = 600.0


class Figure(msgspec.Struct, frozen=True):
    """One thing that was measured, in milliseconds."""

    what: str
    median: float
    worst: float
    event: float | None
    """The longest event that the browser itself measured, in the middle round."""
    page: float | None
    """What the page's main thread used of a core."""
    server: float | None
    """What the server used of a core meanwhile, its one look a second included."""


async def fill(store: Store, clock: Clock, jobs: int) -> None:
    """Submit jobs, and run six of ten of them, without a handler."""
    chance = FakeClock(seed=17)
    session = SessionSpec(
        id=clock.new_id(), name="filler", queues=WORKED, tasks=("work",), concurrency=BATCH
    )
    specs = _specs(clock, chance, jobs)
    settlements: list[Settlement] = []
    while batch := list(islice(specs, BATCH)):
        await store.beat(session, [], ttl=LEASE)
        await store.submit(batch)
        got = await _exchange(store, clock, session, settlements, BATCH)
        settlements = [_settlement(leased, chance) for leased in got]
    while settlements:
        got = await _exchange(store, clock, session, settlements, BATCH)
        settlements = [_settlement(leased, chance) for leased in got]


async def _exchange(
    store: Store, clock: Clock, session: SessionSpec, settlements: Sequence[Settlement], want: int
) -> list[Leased]:
    answer = await store.exchange(
        session.id,
        settlements,
        queues=dict.fromkeys(WORKED, want),
        want=want,
        nonce=clock.new_id(),
    )
    return answer.leased


def _specs(clock: Clock, chance: FakeClock, jobs: int) -> Iterator[JobSpec]:
    for number in range(jobs):
        waits = chance.random() > RUN
        queue = _choice(chance, WAITING if waits else WORKED)
        yield JobSpec(
            id=clock.new_id(),
            task=f"{queue}.{_choice(chance, DEEDS)}",
            queue=queue,
            payload=msgspec.json.encode({"number": number, "customer": {"id": number % 5_000}}),
            priority=_choice(chance, PRIORITIES),
            delay=86_400.0 if waits and number % 2 else 0.0,
            tenant=f"tenant-{number % 40}" if number % 3 == 0 else None,
        )


def _choice(chance: FakeClock, among: Sequence[T]) -> T:
    return among[int(chance.random() * len(among))]


def _settlement(leased: Leased, chance: FakeClock) -> Settlement:
    fence: dict[str, Any] = {"id": leased.id, "epoch": leased.epoch, "nonce": leased.nonce}
    dice = chance.random()
    if dice < COMPLETED:
        outcome: dict[str, Any] = {"outcome": Outcome.COMPLETED, "result": b'{"ok":true}'}
    else:
        kind, message = _choice(chance, CAUSES)
        error = ErrorInfo(code="task_error", type=kind, message=message)
        retry_in = 36_000.0 if dice > DEAD else None
        outcome = {"outcome": Outcome.FAILED, "error": error, "retry_in": retry_in}
    return Settlement(**fence, **outcome, ran_for=chance.random())


def measure(store: str, rounds: int) -> list[Figure]:
    """Run a server and a browser; return what the page's clock said."""
    values = {
        "DASHBOARD_TEST_STORE": store,
        "DASHBOARD_TEST_PYTHON": sys.executable,
        "DASHBOARD_TEST_APP": str(ROOT / "tests" / "browser"),
    }
    program = [str(ROOT / "scripts" / "node"), "dashboard/browser/measure.mjs", str(rounds)]
    done = subprocess.run(
        ["/usr/bin/env", *(f"{name}={value}" for name, value in values.items()), *program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=list[Figure])


def table(many: Sequence[Figure], few: Sequence[Figure]) -> str:
    """Return what was measured as one table; milliseconds."""
    rows = [
        (
            one.what,
            [
                f"{one.median:.0f}",
                f"{one.worst:.0f}",
                *(_or_dash(figure) for figure in (one.event, one.page, one.server)),
                f"{other.median:.0f}",
                f"{one.median / other.median:.2f}",
            ],
        )
        for one, other in zip(many, few, strict=True)
    ]
    head = ["", "median", "worst", "Event Timing", "CPU page", "CPU server", f"{FEW:,} jobs"]
    return report.markdown([*head, "ratio"], rows)


def _or_dash(figure: float | None) -> str:
    return "–" if figure is None else f"{figure:.0f}"


async def _make(store: str, jobs: int) -> float:
    app = Stoker(store=store)
    began = app.clock.monotonic()
    async with app:
        await app.arun(lambda opened: fill(opened, app.clock, jobs))
    return app.clock.monotonic() - began


def main() -> int:
    """Fill two stores, measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as folder:
        file, small = Path(folder) / "many.db", Path(folder) / "few.db"
        took = asyncio.run(_make(f"sqlite:///{file}?durability=fast", given.jobs))
        asyncio.run(_make(f"sqlite:///{small}?durability=fast", FEW))
        size = f"{file.stat().st_size / 1024 / 1024:,.0f} MB"
        before = os.getloadavg()[0]
        few = measure(f"sqlite:///{small}", given.rounds)
        many = measure(f"sqlite:///{file}", given.rounds)
    for fact, value in report.facts(
        jobs=f"{given.jobs:,} in {size}, made in {took:.0f} s",
        rounds=given.rounds,
        load=f"{before:.1f} before, {os.getloadavg()[0]:.1f} after",
    ).items():
        print(f"{fact}: {value}")
    print(f"\n{table(many, few)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
