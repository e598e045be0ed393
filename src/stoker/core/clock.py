"""The one place where time, chance and ids come from.

Everything that needs the time, a random number, an id or a nonce takes a ``Clock``. Production
uses ``SystemClock``; tests and the simulator pass their own, so a one-hour backoff is tested in
a millisecond and a run repeats from its seed.
"""

import os
import random
import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Time and chance as an argument."""

    def now(self) -> float:
        """Return the wall clock: seconds since 1970-01-01 UTC."""
        ...

    def monotonic(self) -> float:
        """Return a clock that never steps back, in seconds; only differences mean something."""
        ...

    def random(self) -> float:
        """Return a random number in ``[0, 1)``, for jitter. Never for secrets."""
        ...

    def new_id(self) -> str:
        """Return a new UUIDv7 (RFC 9562) in its canonical text form, rising within a process."""
        ...

    def new_nonce(self) -> str:
        """Return 128 random bits as 32 hexadecimal digits, the second half of a fence."""
        ...


class SystemClock:
    """The clock of the machine. Safe to share between threads."""

    def __init__(self) -> None:
        """Make a clock with its own source of randomness."""
        self._random = random.Random()  # noqa: S311 - jitter, not secrets
        self._lock = threading.Lock()
        self._last = 0

    def now(self) -> float:
        """See `Clock.now`."""
        return time.time()

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()

    def random(self) -> float:
        """See `Clock.random`."""
        return self._random.random()

    def new_id(self) -> str:
        """See `Clock.new_id`."""
        return uuid7(self._next_tick(), int.from_bytes(os.urandom(8), "big"))

    def new_nonce(self) -> str:
        """See `Clock.new_nonce`."""
        return os.urandom(16).hex()

    def _next_tick(self) -> int:
        # Two ids made in the same 1/4096 ms must still rise, or a batch would lose its order.
        with self._lock:
            tick = (time.time_ns() << 12) // 1_000_000
            self._last = tick if tick > self._last else self._last + 1
            return self._last


def uuid7(tick: int, noise: int) -> str:
    """Make a UUIDv7 from a tick and 62 bits of noise.

    Args:
        tick: Milliseconds since 1970 times 4096; its low 12 bits go where RFC 9562 (section 6.2,
            method 3) puts a finer clock.
        noise: Random bits; the lowest 62 are used.
    """
    value = ((tick >> 12) & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76 | (tick & 0xFFF) << 64
    value |= 0x2 << 62 | noise & 0x3FFF_FFFF_FFFF_FFFF
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
