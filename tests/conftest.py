"""Fixtures that tests of several rooms share. `fake_clock` comes with `stoker.testing`."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.results import mark_engine, pytest_addoption, pytest_configure

__all__ = ["pytest_addoption", "pytest_configure"]  # pytest finds its hooks here

TESTS = Path(__file__).parent
NEED_SERVERS = (
    "conformance/test_kafka.py",
    "conformance/test_pgbouncer.py",
    "conformance/test_postgres.py",
    "conformance/test_rabbitmq.py",
    "conformance/test_redis.py",
    "conformance/test_remote.py",
    "deploy/test_scripts.py",
    "deploy/test_units.py",
    "gateway",
    "integration/test_c_worker.py",
    "integration/test_clear_errors.py",
    "rabbitmq",
    "transactions",
    "kafka",
    "unit/stores/postgres",
    "unit/stores/redis",
    "workers_c",
)
"""Where the tests are that start a real PostgreSQL, Redis, Kafka or gateway, or a C compiler."""


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Mark what `make test-fast`, which needs nothing but Python, leaves out."""
    for item in items:
        if item.path.relative_to(TESTS).as_posix().startswith(NEED_SERVERS):
            item.add_marker(pytest.mark.servers)
        mark_engine(item)


@pytest.fixture
def db_path(tmp_path: Path) -> Path:
    """The path of an SQLite store that nobody made yet."""
    return tmp_path / "stoker.db"
