"""A clock that stands still until a test moves it."""

import random  # noqa: TID251 - seeded: a test that fails must fail again
from datetime import UTC, datetime

from stoker.core.clock import uuid7

START = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
"""Where the hands of a new `FakeClock` stand."""


class FakeClock:
    """A `stoker.core.clock.Clock` in the hands of a test.

    Two clocks with the same seed that are asked the same things give the same answers. Ids rise,
    as those of the real clock do, even while time stands still.
    """

    def __init__(self, *, seed: int = 0, start: float = START) -> None:
        """Make a clock.

        Args:
            seed: Of random numbers, ids and nonces.
            start: Seconds since 1970.
        """
        self._random = random.Random(seed)  # noqa: S311 - tests, not secrets
        self._now = start
        self._monotonic = 0.0
        self._tick = 0

    def now(self) -> float:
        """See `Clock.now`."""
        return self._now

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self._monotonic

    def random(self) -> float:
        """See `Clock.random`."""
        return self._random.random()

    def new_id(self) -> str:
        """See `Clock.new_id`."""
        self._tick = max(self._tick + 1, int(self._now * 1000) << 12)
        return uuid7(self._tick, self._random.getrandbits(62))

    def new_nonce(self) -> str:
        """See `Clock.new_nonce`."""
        return f"{self._random.getrandbits(128):032x}"

    def advance(self, seconds: float) -> float:
        """Let time pass; return the new time.

        Raises:
            ValueError: Negative: time does not run back. See `step`.
        """
        if seconds < 0:
            raise ValueError(f"advance({seconds}): time does not run back; step() sets the hands")
        self._now += seconds
        self._monotonic += seconds
        return self._now

    def step(self, seconds: float) -> float:
        """Set the hands of the wall clock forward or back, as an administrator might.

        The monotonic clock does not notice.
        """
        self._now += seconds
        return self._now
