"""I2 to I6 on each combination of engines, with 5,000 jobs, while its parts are killed.

Workers are killed and frozen, the server of the store is killed and frozen, the gateway is
killed. What must hold is in `judge`; what took how long is in `measures`, and goes with the
results of the run.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.combinations.herd import LEASE
from tests.integration.combinations.judge import complaints, tally
from tests.integration.combinations.measures import away, meanwhile, recovery
from tests.integration.combinations.play import Play
from tests.integration.combinations.site import Site, behind_gateway, with_broker
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.redis import RedisServer

pytestmark = [pytest.mark.slow, pytest.mark.servers, pytest.mark.timeout(900)]
Record = Callable[[str, object], None]
Prove = Callable[[Site, Path], Awaitable[None]]
WORKER_FAULTS = {"kill worker": 6, "pause worker": 1}
STORE_FAULTS = {**WORKER_FAULTS, "kill store": 3, "pause store": 1}


@pytest.fixture
def prove(request: pytest.FixtureRequest, record_property: Record) -> Prove:
    """Play a combination with the seed of the command, and judge it."""
    seed: int = request.config.getoption("--seed")

    async def proving(site: Site, folder: Path) -> None:
        await _prove(site, folder, seed, record_property)

    return proving


async def _prove(site: Site, folder: Path, seed: int, record_property: Record) -> None:
    record_property("combination", site.name)
    play = Play(site, folder, seed)
    evidence = play.evidence
    told = [f"seed {seed}", *map(str, evidence.schedule)]
    try:
        await play.run()
    except BaseException as error:
        happenings = map(str, evidence.incidents)
        error.add_note("\n".join([*told, *happenings, play.told(), play.herd.log_tail()]))
        raise
    record_property("version", evidence.version)
    wrong = complaints(evidence)
    assert not wrong, "\n".join([f"{len(wrong)} complaints", *wrong[:20], *told])
    happened = tally(evidence)
    assert happened.get("attempts lost", 0) > 0, "no fault hit a running job: nothing was proved"
    record_property("lease", LEASE)
    record_property("happened", happened)
    record_property("recovery", recovery(evidence))
    record_property("away", away(evidence))
    record_property("meanwhile", meanwhile(evidence))
    record_property("seconds", round(evidence.took, 1))


def sqlite_site(folder: Path) -> Site:
    return Site("sqlite", f"sqlite:///{folder}/jobs.db", faults=WORKER_FAULTS)


def postgres_site(server: Postgres) -> Site:
    return Site("postgresql", server.url(timeout=3), faults=STORE_FAULTS, servers={"store": server})


@contextmanager
def redis_site() -> Iterator[Site]:
    with RedisServer(fsync="always") as server:
        yield Site("redis", server.url, faults=STORE_FAULTS, servers={"store": server})


async def test_sqlite_keeps_its_promises_while_workers_die(tmp_path: Path, prove: Prove) -> None:
    await prove(sqlite_site(tmp_path), tmp_path)


async def test_postgresql_keeps_its_promises_while_it_is_killed(
    tmp_path: Path, prove: Prove
) -> None:
    with Postgres() as server:
        await prove(postgres_site(server), tmp_path)


async def test_redis_keeps_its_promises_while_it_is_killed(tmp_path: Path, prove: Prove) -> None:
    with redis_site() as site:
        await prove(site, tmp_path)


async def test_redis_with_rabbitmq_keeps_its_promises_while_both_are_killed(
    tmp_path: Path, prove: Prove
) -> None:
    rabbit = RabbitMQ()
    with redis_site() as behind, with_broker(behind, "amqp", rabbit, rabbit.url) as site:
        await prove(site, tmp_path)


async def test_postgresql_with_rabbitmq_keeps_its_promises_while_both_are_killed(
    tmp_path: Path, prove: Prove
) -> None:
    rabbit = RabbitMQ()
    with Postgres() as server:
        behind = postgres_site(server)
        with with_broker(behind, "amqp", rabbit, rabbit.url) as site:
            await prove(site, tmp_path)


async def test_redis_with_kafka_keeps_its_promises_while_both_are_killed(
    tmp_path: Path, prove: Prove
) -> None:
    kafka = KafkaServer()
    with redis_site() as behind, with_broker(behind, "kafka", kafka, kafka.url) as site:
        await prove(site, tmp_path)


async def test_postgresql_with_kafka_keeps_its_promises_while_both_are_killed(
    tmp_path: Path, prove: Prove
) -> None:
    kafka = KafkaServer()
    with Postgres() as server:
        behind = postgres_site(server)
        with with_broker(behind, "kafka", kafka, kafka.url) as site:
            await prove(site, tmp_path)


async def test_sqlite_with_kafka_keeps_its_promises_while_it_is_killed(
    tmp_path: Path, prove: Prove
) -> None:
    kafka = KafkaServer()
    behind = sqlite_site(tmp_path)
    with with_broker(behind, "kafka", kafka, kafka.url) as site:
        await prove(site, tmp_path)


async def test_sqlite_with_rabbitmq_keeps_its_promises_while_it_is_killed(
    tmp_path: Path, prove: Prove
) -> None:
    rabbit = RabbitMQ()
    with with_broker(sqlite_site(tmp_path), "amqp", rabbit, rabbit.url) as site:
        await prove(site, tmp_path)


async def test_workers_behind_a_server_lose_nothing_over_sqlite(
    tmp_path: Path, prove: Prove
) -> None:
    with behind_gateway(sqlite_site(tmp_path), tmp_path) as site:
        await prove(site, tmp_path)


async def test_workers_behind_a_server_lose_nothing_over_postgresql(
    tmp_path: Path, prove: Prove
) -> None:
    with Postgres() as server, behind_gateway(postgres_site(server), tmp_path) as site:
        await prove(site, tmp_path)
