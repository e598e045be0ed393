"""The suite, assembled."""

from stoker.testing.conformance.leasing import Leases, Limits, Order, Repeating, RungIds
from stoker.testing.conformance.settling import Fences, Outcomes
from stoker.testing.conformance.submitting import Parents, Submitting, UniqueKeys, WholeWorkflows
from stoker.testing.conformance.transitions import Transitions


class StoreConformance(
    Transitions,
    Submitting,
    UniqueKeys,
    Parents,
    WholeWorkflows,
    Order,
    Limits,
    RungIds,
    Leases,
    Repeating,
    Outcomes,
    Fences,
):
    """Every promise of `stoker.core.store.Store`, as tests.

    A store proves itself by a subclass that opens it::

        class TestMine(StoreConformance):
            @asynccontextmanager
            async def open_store(self, clock: Clock) -> AsyncIterator[Store]:
                with fresh_database() as url:
                    async with MyStore(url, clock=clock) as store:
                        yield store

            @asynccontextmanager
            async def open_second(self, store: Store, clock: Clock) -> AsyncIterator[Store]:
                async with MyStore(store.url, clock=clock) as second:
                    yield second

    pytest-asyncio runs it, in its mode ``auto``; hypothesis drives the model.
    """
