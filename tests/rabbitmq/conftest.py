"""One RabbitMQ for all tests of a process: its consumer timeout is short, and it speaks TLS too."""

import atexit
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from ipaddress import ip_address
from itertools import count
from pathlib import Path

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from cryptography import x509

from stoker.brokers.rabbitmq import RabbitBroker
from stoker.core.clock import SystemClock
from tests.gateway.certificates import Office
from tests.servers.rabbitmq import RabbitMQ

CONSUMER_TIMEOUT = 2_000
"""Milliseconds; the server looks once a second."""
_numbers = count()


@cache
def shared_server() -> tuple[RabbitMQ, Path]:
    """Return the server, and the certificate of the authority that vouches for it."""
    folder = Path(tempfile.mkdtemp(prefix="stoker-certificates-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    office = Office(folder)
    pair = office.vouch("server", [x509.IPAddress(ip_address("127.0.0.1"))])
    shutil.copy(office.file, folder / "ca.pem")
    shutil.copy(pair.certificate, folder / "server.pem")
    shutil.copy(pair.key, folder / "server.key")
    server = RabbitMQ(consumer_timeout=CONSUMER_TIMEOUT, tls=folder)
    atexit.register(server.close)
    server.start()
    return server, folder / "ca.pem"


@pytest.fixture
def server() -> RabbitMQ:
    """A server that runs."""
    found, _ = shared_server()
    if found.process is None:
        found.start()
    return found


@pytest.fixture
def authority() -> Path:
    """Who vouches for the server."""
    return shared_server()[1]


@pytest.fixture
def namespace() -> str:
    """Of this test alone."""
    return f"test-{next(_numbers)}"


@pytest.fixture
def url(server: RabbitMQ, namespace: str) -> str:
    """Of a broker that nobody else uses."""
    return server.url_of(options=f"namespace={namespace}")


@pytest.fixture
def make(url: str) -> Callable[[], RabbitBroker]:
    """Makes handles at that broker."""
    return lambda: RabbitBroker(url, clock=SystemClock())


@asynccontextmanager
async def raw(server: RabbitMQ) -> AsyncIterator[AbstractChannel]:
    """A channel of somebody who is not Stoker."""
    connection = await aiormq.connect(server.url)
    try:
        yield await connection.channel(publisher_confirms=False)
    finally:
        await connection.close()


async def length(channel: AbstractChannel, name: str) -> int:
    """Return how many messages of a queue nobody was given."""
    answer = await channel.queue_declare(name, passive=True)
    return answer.message_count or 0
