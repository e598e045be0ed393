"""The conformance suite of stores: subclass `StoreConformance` and run it with pytest."""

from stoker.testing.conformance.store import StoreConformance
from stoker.testing.conformance.suite import Capabilities

__all__ = ["Capabilities", "StoreConformance"]
