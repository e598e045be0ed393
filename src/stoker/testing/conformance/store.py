"""The suite, assembled."""

from stoker.testing.conformance.faults import Faults
from stoker.testing.conformance.keyring import Keys, LogIns
from stoker.testing.conformance.leasing import Leases, Limits, Order, Repeating, RungIds
from stoker.testing.conformance.model import Model
from stoker.testing.conformance.moments import Deadlines, Deaths, Waking
from stoker.testing.conformance.operators import Cancelling, Purging, Queues, Requeueing
from stoker.testing.conformance.plans import Firings, Leading, Schedules
from stoker.testing.conformance.reading import Counting, Finding, Itself, Trail
from stoker.testing.conformance.sessions import Commands, Leaving, Living, Reports, Undelivered
from stoker.testing.conformance.settling import Fences, Outcomes
from stoker.testing.conformance.submitting import Parents, Submitting, UniqueKeys, WholeWorkflows
from stoker.testing.conformance.transitions import Transitions
from stoker.testing.conformance.two_hands import Keeping, TwoHands
from stoker.testing.conformance.workflows import Overview, ParentFailures, Readiness, Reviving


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
    Living,
    Leaving,
    Reports,
    Undelivered,
    Commands,
    Cancelling,
    Requeueing,
    Purging,
    Queues,
    Deaths,
    Deadlines,
    Waking,
    Readiness,
    ParentFailures,
    Reviving,
    Overview,
    Schedules,
    Firings,
    Leading,
    Keys,
    LogIns,
    Finding,
    Counting,
    Trail,
    Itself,
    TwoHands,
    Keeping,
    Faults,
    Model,
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
