"""How the server finds jobs: by the index that was made for it, however many there are.

What is looked at is what the functions really did: `auto_explain` tells the plan of every statement
inside them.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import psycopg
import pytest

from stoker.core.job import Outcome
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.stores.postgres import PostgresStore, reading
from stoker.stores.postgres.phrases import Names
from stoker.testing.conformance.hand import BOOM, Hand, settlement
from tests.servers.postgres import Postgres

MANY = 50_000
SOME = 12_000
KNOWN = ["never", "empty", "drained", "full"]


class Plans:
    """A connection that tells the plans of what it runs."""

    def __init__(self, server: Postgres, schema: str) -> None:
        self.db = server.connect()
        self.schema = schema
        self.told: list[dict[str, Any]] = []
        self.db.execute("LOAD 'auto_explain'")
        for name, value in {
            "auto_explain.log_min_duration": "0",
            "auto_explain.log_nested_statements": "on",
            "auto_explain.log_analyze": "on",
            "auto_explain.log_format": "json",
            "auto_explain.log_level": "notice",
            "client_min_messages": "notice",
            "search_path": schema,
        }.items():
            self.db.execute("SELECT set_config(%s, %s, false)", (name, value))
        self.db.add_notice_handler(self._keep)

    def run(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        """Run a statement and keep the plans of all that it did."""
        self.told.clear()
        return self.db.execute(statement.encode(), parameters).fetchall()

    def scans(self) -> dict[str, int]:
        """Return how many rows were read by each index and by reading whole tables, and how many
        pairs of rows were compared in vain.
        """
        found: dict[str, int] = {}
        for told in self.told:
            _walk(told["Plan"], found)
        return found

    def _keep(self, notice: psycopg.errors.Diagnostic) -> None:
        text = notice.message_primary or ""
        if "plan:" in text:
            self.told.append(msgspec.json.decode(text.partition("plan:")[2]))


def _walk(plan: dict[str, Any], found: dict[str, int]) -> None:
    rows = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    if "Scan" in plan["Node Type"] and ("Index Name" in plan or "Relation Name" in plan):
        name = plan.get("Index Name") or f"all of {plan['Relation Name']}"
        found[name] = found.get(name, 0) + int(rows)
    removed = plan.get("Rows Removed by Join Filter", 0) * plan["Actual Loops"]
    found["compared in vain"] = found.get("compared in vain", 0) + int(removed)
    for child in plan.get("Plans", ()):
        _walk(child, found)


@pytest.fixture
def url(fresh_url: str) -> str:
    """A schema without a past: what tests before left in the indexes counts in the plans."""
    return fresh_url


@pytest.fixture
def plans(server: Postgres, store: PostgresStore) -> Iterator[Plans]:
    """A connection that tells its plans, on the schema of the store."""
    plans = Plans(server, store.info.details["schema"])
    yield plans
    plans.db.close()


async def fill(hand: Hand, plans: Plans, analyzed: str) -> None:
    """Queue many jobs, and let a session join.

    The plans of the functions are made while there is nothing, as in production; and what the
    server knows about the tables may be nothing, wrong, or right. Indexes that were full once are
    taller than others, which makes the planner look for ways round them.
    """
    await hand.beat("w1")
    if analyzed == "drained":
        await drain(hand)
    if analyzed in {"empty", "drained"}:
        plans.db.execute("ANALYZE live")
    lease(plans, 1)
    reap(plans)
    for _ in range(MANY // 1_000):
        await hand.put_many(1_000, payload=b'{"some": "payload"}')
    if analyzed == "full":
        plans.db.execute("ANALYZE live")


async def drain(hand: Hand) -> None:
    """Let many jobs come and go, of each kind that an index was made for."""
    for _ in range(6):
        await hand.put_many(1_000, delay=5.0, expires=50.0)
        await hand.put_many(1_000)
        hand.clock.advance(10.0)
        await hand.beat("w1")
        while leases := await hand.lease(1_000):
            await hand.exchange(*[settlement(lease, Outcome.COMPLETED) for lease in leases])


def reap(plans: Plans, sessions: str = "{}") -> None:
    """Reap as a keeper does."""
    plans.run(
        "SELECT * FROM reap(NULL, 'k', %s, 1e9, 1000, 86400, 5, 1000000, '{}', '{}', '{}')",
        sessions,
    )


def live(plans: Plans) -> int:
    """Return how many rows of unfinished jobs were read."""
    return sum(rows for name, rows in plans.scans().items() if "live" in name)


def lease(plans: Plans, want: int, *, nonce: str = "n") -> list[tuple[object, ...]]:
    """Lease as a worker does, eighth by age."""
    return plans.run(
        """SELECT * FROM exchange(
            NULL, 'w1', %s, false, %s, %s, '{default,other}', '{1000,1000}', '{}',
            '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}',
            '{}', '{}', '{}', '{}', '{}', '{}', '{}') WHERE kind = 1""",
        nonce, want, want // 8,
    )  # fmt: skip


@pytest.mark.parametrize("analyzed", KNOWN)
async def test_a_lease_reads_little_more_than_it_takes(
    hand: Hand, plans: Plans, analyzed: str
) -> None:
    await fill(hand, plans, analyzed)
    for number in range(3):
        assert len(lease(plans, 100, nonce=f"n{number}")) == 100
        scans = plans.scans()
        assert [name for name in scans if name.startswith("all of")] == []
        assert 100 <= scans["live_ready"] <= 600, scans
        assert sum(scans.values()) < 2_000, scans


@pytest.mark.parametrize("analyzed", KNOWN)
async def test_a_settlement_finds_its_job_by_id(hand: Hand, plans: Plans, analyzed: str) -> None:
    await fill(hand, plans, analyzed)
    leases = await hand.lease(1_000)
    told = [lease.id for lease in leases[:100]]
    plans.run(
        """SELECT * FROM exchange(
            NULL, 'w1', 'x', false, 0, 0, '{}', '{}', '{}',
            %s, %s, %s, %s, %s, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}',
            '{}', '{}', '{}', '{}', '{}', '{}', '{}')""",
        told,
        [lease.epoch for lease in leases[:100]],
        [lease.nonce for lease in leases[:100]],
        [b"1"] * 100,
        [0.1] * 100,
    )
    scans = plans.scans()
    assert [name for name in scans if name.startswith("all of")] == []
    assert (scans["live_pkey"], scans["live_seq"]) == (100, 100), scans
    assert "live_leased" not in scans
    assert sum(scans.values()) < 500, scans


@pytest.mark.parametrize("analyzed", KNOWN)
async def test_a_reaper_reads_little_more_than_what_was_lost(
    hand: Hand, plans: Plans, analyzed: str
) -> None:
    await fill(hand, plans, analyzed)
    reap(plans)
    assert live(plans) < 100, plans.scans()
    leases = await hand.lease(100)
    reap(plans, "{w1}")
    assert set(await hand.states([lease.id for lease in leases])) == {State.QUEUED}
    assert live(plans) < 2_000, plans.scans()


async def many(hand: Hand, plans: Plans, analyzed: str) -> None:
    """Make many jobs that wait and many that ended, and a few that are rare among both."""
    await hand.beat("w1")
    for waits in (False, True):
        await hand.put_many(3, task="rare", queue="rare", tenant="rare", schedule="rare")
        for number in range(SOME // 1_000):
            await hand.put_many(1_000, task=f"work-{number % 4}", queue=f"queue-{number % 3}")
        while not waits:
            queues = {f"queue-{number}": 1_000 for number in range(3)} | {"rare": 3}
            leases = await hand.lease(1_000, queues=queues)
            if not leases:
                break
            ends = [settlement(lease, Outcome.COMPLETED) for lease in leases]
            ends[0] = settlement(leases[0], Outcome.FAILED, error=BOOM)
            await hand.exchange(*ends)
    # What was leased and is no more stands in the indexes until then; autovacuum comes by itself.
    plans.db.execute("VACUUM live")
    if analyzed == "full":
        plans.db.execute("ANALYZE live, ended, attempts")


def search(plans: Plans, query: JobQuery) -> list[str]:
    """Look for jobs as `find` does; return their ids."""
    asked = reading.page(query, None, 20)
    assert asked is not None
    statement, parameters = asked
    plans.told.clear()
    with psycopg.RawCursor(plans.db) as cursor:
        cursor.execute(Names(plans.schema).fill(statement).encode(), parameters, prepare=False)
        return [str(row[1]) for row in cursor.fetchall()]


RARE = {
    "task": JobQuery(tasks=("rare",)),
    "one task of two": JobQuery(tasks=("rare", "nobody's")),
    "nobody's task": JobQuery(tasks=("nobody's",)),
    "queue": JobQuery(queues=("rare",)),
    "nobody's queue": JobQuery(queues=("nobody's",)),
    "queue and task": JobQuery(queues=("rare",), tasks=("rare",)),
    "a task in another queue": JobQuery(queues=("queue-1",), tasks=("rare",)),
    "tenant": JobQuery(tenant="rare"),
    "schedule": JobQuery(schedule="rare"),
    "tenant among the dead": JobQuery(tenant="rare", states=(State.DEAD_LETTER,)),
    "task among the completed": JobQuery(tasks=("rare",), states=(State.COMPLETED,)),
    "error": JobQuery(error="unheard-of"),
    "task in work": JobQuery(tasks=("rare",), states=(State.RUNNING,)),
}
COMMON = {
    "all": JobQuery(),
    "task": JobQuery(tasks=("work-1",)),
    "queue": JobQuery(queues=("queue-1",)),
    "task among the completed": JobQuery(tasks=("work-1",), states=(State.COMPLETED,)),
}


@pytest.mark.parametrize("analyzed", ["never", "full"])
async def test_looking_for_what_is_rare_reads_little_more_than_it_finds(
    hand: Hand, plans: Plans, analyzed: str
) -> None:
    await many(hand, plans, analyzed)
    for name, query in RARE.items():
        found = search(plans, query)
        scans = plans.scans()
        assert len(found) <= 6, name
        assert sum(scans.values()) < 500, (name, scans)
    assert len(search(plans, RARE["task"])) == 6


async def test_a_page_of_what_is_common_ends_soon(hand: Hand, plans: Plans) -> None:
    await many(hand, plans, "full")
    for name, query in COMMON.items():
        assert len(search(plans, query)) == 21, name
        scans = plans.scans()
        # The tasks came in by the thousand, one after the other.
        assert sum(scans.values()) < SOME // 2, (name, scans)


async def test_no_search_is_compiled_before_it_runs(store: PostgresStore) -> None:
    assert store._handle is not None
    [[jit]] = await store._handle.search("SELECT current_setting('jit')")
    assert jit == "off"
