"""What tests of Stoker, of its stores, and of programs that use it need.

The conformance suites of stores and brokers are in `stoker.testing.conformance`.
"""

from stoker.testing.belfry import Belfry, LocalBroker
from stoker.testing.clock import FakeClock
from stoker.testing.faults import After, Before, Delay, FaultyStore, Hold
from stoker.testing.waiting import wait_until

__all__ = [
    "After",
    "Before",
    "Belfry",
    "Delay",
    "FakeClock",
    "FaultyStore",
    "Hold",
    "LocalBroker",
    "wait_until",
]
