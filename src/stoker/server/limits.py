"""How often somebody may ask: token buckets by name."""

import ipaddress
import math
from collections import OrderedDict
from functools import lru_cache

from stoker.core.clock import Clock
from stoker.core.errors import RateLimited

KEPT = 10_000
"""Names that are remembered; the one unused for longest goes first, and begins anew."""


class Buckets:
    """A bucket of tokens for each name: it fills at a rate, and each request takes one."""

    def __init__(self, *, rate: float, burst: float, clock: Clock, kept: int = KEPT) -> None:
        """Make full buckets.

        Args:
            rate: Tokens a second; 0: nothing is ever refused.
            burst: Tokens in a full bucket.
            clock: Time.
            kept: Names that are remembered.
        """
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._kept = kept
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> None:
        """Take a token.

        Raises:
            RateLimited: There is none; the error says when to come back.
        """
        if self._rate <= 0:
            return
        self.check(name)
        now, left = self._now(name)
        self._left[name] = (now, left - 1)
        self._left.move_to_end(name)
        if len(self._left) > self._kept:
            self._left.popitem(last=False)

    def check(self, name: str) -> None:
        """Refuse whoever has no token left.

        Raises:
            RateLimited: See `take`.
        """
        if self._rate <= 0:
            return
        _, left = self._now(name)
        if left < 1:
            wait = math.ceil((1 - left) / self._rate)
            raise RateLimited(
                f"too many requests; ask again in {wait} s, and at most {self._rate:g} times a "
                "second",
                retry_after=wait,
            )

    def _now(self, name: str) -> tuple[float, float]:
        now = self._clock.monotonic()
        at, left = self._left.get(name, (now, self._burst))
        return now, min(self._burst, left + (now - at) * self._rate)


@lru_cache(maxsize=KEPT)
def network_of(address: str) -> str:
    """Return what an address is counted as: itself, or the /64 that its owner has for himself."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 4:  # noqa: PLR2004 - IPv4
        return address
    return str(ipaddress.ip_network((found, 64), strict=False))
