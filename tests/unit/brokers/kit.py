"""What the tests of ringing stores share: a belfry, a store whose own bell is deaf, its ears."""

import asyncio
from collections.abc import Sequence

from stoker.brokers.ringing import RingingStore
from stoker.core.broker import Ring
from stoker.core.store import Store
from stoker.testing import Belfry, FaultyStore, LocalBroker


class DeafStore(FaultyStore):
    """A store whose own bell wakes nobody: whoever wakes was woken by a broker."""

    async def wait(
        self, queues: Sequence[str] = (), *, ids: Sequence[str] = (), timeout: float
    ) -> bool:
        self.calls["wait"] += 1
        await asyncio.sleep(timeout)
        return False


class Tower:
    """A belfry that writes down what was rung."""

    def __init__(self) -> None:
        self.belfry = Belfry()
        self.rings: list[Ring] = []
        self.belfry.loses = self._note

    def ringing(self, inner: Store) -> RingingStore:
        return RingingStore(inner, LocalBroker(self.belfry))

    def _note(self, ring: Ring) -> bool:
        self.rings.append(ring)
        return False

    def of(self, queue: str) -> list[Ring]:
        return [ring for ring in self.rings if ring.queue == queue]

    def ids(self) -> set[str]:
        return {job_id for ring in self.rings for job_id in ring.ids}

    @property
    def waiting(self) -> int:
        """How many rings nobody took."""
        return sum(len(rings) for rings in self.belfry.rings.values())
