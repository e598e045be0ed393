"""``make screenshots``: pictures of every screen of the dashboard, into ``docs/images/dashboard/``.

An hour in the life of a shop goes into a store by the store's own verbs, with a clock that is put
forward; then a server and two workers run on it for real, and a browser takes the pictures
(``dashboard/browser/screenshots.mjs``).
"""

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from stoker.connect import open_store
from stoker.core.clock import Clock, SystemClock
from stoker.core.job import (
    ErrorInfo,
    JobSpec,
    Leased,
    Outcome,
    Priority,
    SessionSpec,
    SessionState,
    Settlement,
)
from stoker.core.retry import RetryPolicy
from stoker.core.store import Store
from stoker.testing.clock import FakeClock

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images" / "dashboard"
SHOP = ROOT / "dashboard" / "browser" / "shop"
HOUR = 3600.0
STEP = 4.0
"""Seconds between two looks of the worker of the past."""
BUSY = 12
"""The most jobs a step brings."""
URGENT = 0.9
RETRIED = 0.6
"""Which share of failures was tried again."""
TASKS: dict[str, tuple[str, float]] = {
    "invoice.send": ("mail", 0.45),
    "search.index": ("search", 0.16),
    "image.resize": ("images", 2.8),
    "webhook.deliver": ("hooks", 0.25),
    "order.import": ("imports", 0.35),
}
"""Task to its queue, and the seconds that it takes."""
FAILS = {
    "webhook.deliver": (
        0.09,
        "ConnectionError",
        "https://partner.example/hooks answered 502 Bad Gateway",
    ),
    "order.import": (0.03, "ValueError", "order {number} has no address"),
    "image.resize": (0.01, "OSError", "cannot identify image file 'products/{number}.heic'"),
}
"""Task to how often it fails, and of what."""


class Shop:
    """What happened in the hour before."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        """Make it on an open store whose time is the clock's."""
        self.store = store
        self.clock = clock
        self.session = SessionSpec(
            id=clock.new_id(),
            name="web-0",
            host="shop-1",
            queues=tuple({queue for queue, _ in TASKS.values()}),
            tasks=tuple(TASKS),
            concurrency=100,
        )

    async def live(self) -> None:
        """Live through the hour, step by step."""
        for step in range(int(HOUR / STEP)):
            await self.store.beat(self.session, [], ttl=60)
            await self.store.submit([self._job(step) for _ in range(self._traffic(step))])
            delay = 0.01 + 0.12 * self.clock.random() ** 3
            self.clock.advance(delay)
            leased = await self._exchange([], 100)
            self.clock.advance(STEP - delay)
            await self._exchange([self._end(one) for one in leased], 0)
        gone = msgspec.structs.replace(self.session, state=SessionState.LEFT)
        await self.store.beat(gone, [], ttl=60)

    def _traffic(self, step: int) -> int:
        wave = abs((step % 240) - 120) / 120
        return int(BUSY * (0.25 + 0.75 * wave) * (0.5 + self.clock.random()))

    def _job(self, step: int) -> JobSpec:
        dice = self.clock.random()
        task = list(TASKS)[int(dice * dice * len(TASKS))]
        number = 10_000 + step * BUSY + int(self.clock.random() * BUSY)
        return JobSpec(
            id=self.clock.new_id(),
            task=task,
            queue=TASKS[task][0],
            payload=msgspec.json.encode(_payload(task, number)),
            priority=Priority.HIGH if dice > URGENT else Priority.MEDIUM,
            retry=RetryPolicy(max_retries=1),
            tenant="north" if number % 3 else "south",
        )

    def _end(self, leased: Leased) -> Settlement:
        takes = TASKS[leased.task][1] * (0.6 + 1.5 * self.clock.random() ** 4)
        share, kind, message = FAILS.get(leased.task, (0.0, "", ""))
        outcome: dict[str, Any] = {"outcome": Outcome.COMPLETED, "result": b"null"}
        if self.clock.random() < share:
            number = msgspec.json.decode(leased.payload).get("order", 4711)
            error = ErrorInfo(code="task_error", type=kind, message=message.format(number=number))
            outcome = {"outcome": Outcome.FAILED, "error": error}
            outcome["retry_in"] = 8.0 if self.clock.random() < RETRIED else None
        return Settlement(
            id=leased.id, epoch=leased.epoch, nonce=leased.nonce, ran_for=takes, **outcome
        )

    async def _exchange(self, ends: Sequence[Settlement], want: int) -> list[Leased]:
        answer = await self.store.exchange(
            self.session.id,
            ends,
            queues=dict.fromkeys(self.session.queues, want),
            want=want,
            nonce=self.clock.new_id(),
        )
        return answer.leased


def _payload(task: str, number: int) -> dict[str, Any]:
    payloads: dict[str, dict[str, Any]] = {
        "invoice.send": {"order": number, "to": f"customer{number % 97}@example.com"},
        "search.index": {"product": number},
        "image.resize": {"key": f"products/{number}.jpg", "widths": [320, 960]},
        "webhook.deliver": {"url": "https://erp.example/hooks", "event": f"order.{number}.paid"},
        "order.import": {"order": number, "address": "Harbour Street 1"},
    }
    return payloads[task]


async def fill(url: str, clock: Clock) -> None:
    """Put the hour before into a store."""
    past = FakeClock(seed=7, start=clock.now() - HOUR)
    async with open_store(url, clock=past) as store:
        await Shop(store, past).live()


def main() -> int:
    """Fill a store, run the system on it, take the pictures; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m scripts.screenshots", description=__doc__)
    parser.add_argument("--into", type=Path, default=IMAGES)
    parser.add_argument("--png", action="store_true", help="bigger files, for looking at")
    given = parser.parse_args()
    given.into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="stoker-shop-") as folder:
        store = f"sqlite:///{folder}/shop.db"
        asyncio.run(fill(store, SystemClock()))
        environment = {
            "DASHBOARD_TEST_STORE": store,
            "DASHBOARD_TEST_PYTHON": sys.executable,
            "DASHBOARD_TEST_APP": str(shutil.copytree(SHOP, Path(folder) / "shop")),
        }
        program = [str(ROOT / "scripts" / "node"), "dashboard/browser/screenshots.mjs"]
        values = (f"{name}={value}" for name, value in environment.items())
        kind = "png" if given.png else "webp"
        subprocess.run(
            ["/usr/bin/env", *values, *program, str(given.into), kind], cwd=ROOT, check=True
        )
    size = sum(file.stat().st_size for file in given.into.iterdir())
    print(f"{len(list(given.into.iterdir()))} pictures, {size / 1024:.0f} KiB, in {given.into}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
