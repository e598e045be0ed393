"""What tests of Stoker, of its stores, and of programs that use it need.

The conformance suite of stores is `stoker.testing.conformance.StoreConformance`.
"""

from stoker.testing.clock import FakeClock
from stoker.testing.faults import After, Before, Delay, FaultyStore, Hold
from stoker.testing.waiting import wait_until

__all__ = ["After", "Before", "Delay", "FakeClock", "FaultyStore", "Hold", "wait_until"]
