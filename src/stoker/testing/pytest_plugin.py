"""The pytest plugin: readable failures from the shipped suites, and fixtures for users' tests.

It is loaded by its entry point wherever Stoker is installed beside pytest.
"""

import pytest

from stoker.testing.clock import FakeClock

pytest.register_assert_rewrite("stoker.testing.conformance")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the shipped suites."""
    group = parser.getgroup("stoker")
    group.addoption(
        "--model-examples",
        type=int,
        default=None,
        help="how many random stories a store is told (default: the same 60 each time)",
    )


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock that stands still until the test moves it."""
    return FakeClock()
