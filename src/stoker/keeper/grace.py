"""When nobody may be declared dead: the guard against taking a fleet's jobs away at once.

A session dies by silence. But silence may be the store's (it was down, or its clock jumped), the
machine's (it slept) or ours (the process was stopped): then every session looks dead at the same
moment, and a reaper that believed it would run every job of the fleet twice. So after anything
that could have kept living workers from beating, all of them get one whole lease to beat again.
"""

import logging

from stoker.keeper.leader import Sighting

logger = logging.getLogger(__name__)

_SILENCE = 1 / 3
"""Share of a lease without contact that puts workers in danger: they beat three times a lease."""
_DRIFT = 1 / 10
"""Share of a lease by which two clocks may disagree: it is taken from what a worker has left."""


class Grace:
    """Decides, from what the keeper sees, until when nobody is declared dead."""

    def __init__(self, *, lease: float, interval: float) -> None:
        """Begin without grace.

        Args:
            lease: Seconds for which a silent session keeps its jobs.
            interval: Seconds between two passes when all is well.
        """
        self._lease = lease
        self._interval = interval
        self._until: float | None = None
        self._rested_at: float | None = None
        self._failed_at: float | None = None
        self._seen: Sighting | None = None
        self._has_judged = True

    def begin(self, now: float, reason: str) -> None:
        """Grant one whole lease from now."""
        if self._until is None or self._until <= now:
            logger.info("no worker is declared dead for %.1f s: %s", self._lease, reason)
        self._until = now + self._lease

    def lengthen(self, lease: float, now: float) -> None:
        """Take a longer lease into account, found at a worker that is configured otherwise."""
        if lease > self._lease:
            if self._until is not None and self._until > now:
                self._until += lease - self._lease
            self._lease = lease

    def remaining(self, now: float) -> float:
        """Return the seconds for which nobody may be declared dead; 0 if there is no grace."""
        return 0.0 if self._until is None else max(0.0, self._until - now)

    def failed(self, now: float) -> None:
        """Note that the store did not answer."""
        if self._failed_at is None:
            self._failed_at = now

    def rested(self, now: float) -> None:
        """Note the end of a pass: what comes before the next contact is sleep, not work."""
        self._rested_at = now

    def contact(self, seen: Sighting) -> None:
        """Note an answer of the store, and grant grace if something was wrong before it."""
        reason = self._silence(seen) or self._outage(seen) or self._stall(seen) or self._drift(seen)
        self._seen = seen
        self._failed_at = None
        if reason:
            self.begin(seen.received_at, reason)
        self._has_judged = not self.remaining(seen.received_at)

    def _silence(self, seen: Sighting) -> str:
        if self._rested_at is None:
            return ""
        slept = seen.sent_at - self._rested_at
        if slept - self._interval <= self._lease * _SILENCE:
            return ""
        return f"this process slept for {slept:.1f} s instead of {self._interval:.1f} s"

    def _outage(self, seen: Sighting) -> str:
        if self._failed_at is None:
            return ""
        lasted = seen.received_at - self._failed_at
        # A store that stumbles again and again for a moment must not keep the dead alive for
        # ever: after a grace, only an outage that could have cost a beat begins the next one
        # before the dead were judged once.
        if not self._has_judged and lasted <= self._lease * _SILENCE:
            return ""
        return f"the store was away for {lasted:.1f} s"

    def _stall(self, seen: Sighting) -> str:
        """Say whether the store stood still and then answered: a frozen server or a held lock."""
        lasted = seen.received_at - seen.sent_at
        if lasted <= self._lease * _SILENCE:
            return ""
        return f"the store took {lasted:.1f} s to answer"

    def _drift(self, seen: Sighting) -> str:
        last = self._seen
        if last is None:
            return ""
        # The store read its clock somewhere between question and answer, so the difference of
        # the two clocks is known as a range. Two ranges that do not meet are a jump.
        ahead = (seen.store_at - seen.received_at) - (last.store_at - last.sent_at)
        behind = (last.store_at - last.received_at) - (seen.store_at - seen.sent_at)
        jump = max(ahead, behind)
        if jump <= self._lease * _DRIFT:
            return ""
        return f"the store's clock and this machine's moved apart by {jump:.1f} s"
