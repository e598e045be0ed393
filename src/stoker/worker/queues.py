"""Which queues a worker leases from, in which order, and how many jobs of each at once."""

from collections import deque
from collections.abc import Iterable, Mapping


class Queues:
    """The queues of one worker.

    The first queue of a lease takes all it may before the second one is asked, so the order goes
    round: each queue is first in its turn.
    """

    def __init__(self, limits: Mapping[str, int], own: Iterable[str], concurrency: int) -> None:
        """Make the list.

        Args:
            limits: As configured: queue to the most of its jobs at once, 0 for no limit of its
                own. Empty: all queues there are.
            own: Queues of the tasks, known before the store is asked.
            concurrency: The most jobs at once; a limit of that or more is none.
        """
        self.learns = not limits
        """Whether queues that appear in the store are added."""
        self._limits = {q: n for q, n in limits.items() if 0 < n < concurrency}
        names = sorted({"default", *own}) if self.learns else limits
        self._order = deque(names)

    @property
    def names(self) -> tuple[str, ...]:
        """The queues, in the present order."""
        return tuple(self._order)

    @property
    def is_limited(self) -> bool:
        """Whether any queue has a limit of its own."""
        return bool(self._limits)

    def learn(self, names: Iterable[str]) -> bool:
        """Add queues that were found; whether any was new."""
        new = sorted(set(names).difference(self._order))
        self._order.extend(new)
        return bool(new)

    def turn(self) -> None:
        """Let the next queue be first."""
        self._order.rotate(-1)

    def share(self, want: int, load: Mapping[str, int]) -> dict[str, int]:
        """Return the most leases from each queue, in the present order.

        Args:
            want: How many leases in all.
            load: How many jobs of each queue are held now.
        """
        if not self._limits:
            return dict.fromkeys(self._order, want)
        room: dict[str, int] = {}
        for name in self._order:
            limit = self._limits.get(name)
            free = want if limit is None else min(want, limit - load.get(name, 0))
            if free > 0:
                room[name] = free
        return room
