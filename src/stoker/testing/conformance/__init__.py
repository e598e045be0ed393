"""The conformance suites: subclass `StoreConformance` or `BrokerConformance` and run pytest."""

from stoker.testing.conformance.brokers import (
    BrokerCapabilities,
    BrokerConformance,
    BrokerWorld,
)
from stoker.testing.conformance.store import StoreConformance
from stoker.testing.conformance.suite import Capabilities

__all__ = [
    "BrokerCapabilities",
    "BrokerConformance",
    "BrokerWorld",
    "Capabilities",
    "StoreConformance",
]
