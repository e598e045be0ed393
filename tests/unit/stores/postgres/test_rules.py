"""The rules that stand in SQL say what those of the core say."""

from itertools import product

import msgspec
import pytest

from stoker.core import rules
from stoker.core.job import ErrorInfo, Outcome
from stoker.core.lifecycle import LEASED, move
from stoker.stores.postgres import PostgresStore
from stoker.stores.postgres.phrases import STATES, fold_of
from tests.servers.postgres import Postgres


@pytest.fixture
def schema(store: PostgresStore) -> str:
    """The schema of an open store."""
    name: str = store.info.details["schema"]
    return name


def test_an_attempt_ends_as_the_core_says(server: Postgres, schema: str) -> None:
    cells = list(product(Outcome, range(3), range(3), range(3), range(1, 3), [None, 5.0], [0, 1]))
    with server.connect() as db:
        for outcome, failed, lost, retries, most_lost, retry_in, asked in cells:
            event = rules.ending(
                outcome,
                failed=failed,
                lost=lost,
                max_retries=retries,
                max_lost=most_lost,
                retry_in=retry_in,
                cancel_requested=bool(asked),
            )
            expected = {move(state, event) for state in LEASED}
            row = db.execute(
                f'SELECT "{schema}".state_after(%s, %s, %s, %s, %s, %s, %s)',
                (outcome.value, failed, lost, retries, most_lost, retry_in, bool(asked)),
            ).fetchone()
            assert row is not None
            code = row[0]
            assert isinstance(code, int)
            assert {STATES[code]} == expected, (outcome, failed, lost, retries, most_lost)


@pytest.mark.parametrize(("label", "outcome"), [("lost", "crashed"), ("timed_out", "failed")])
def test_what_the_reaper_finds_ends_like_what_a_worker_tells(
    server: Postgres, schema: str, label: str, outcome: str
) -> None:
    with server.connect() as db:
        for given in product(range(3), range(3), range(3), range(1, 3), [None, 5.0], [False, True]):
            asked = f'SELECT "{schema}".state_after(%s, %s, %s, %s, %s, %s, %s)'
            answers = [db.execute(asked, (word, *given)).fetchone() for word in (label, outcome)]
            assert answers[0] == answers[1], given


@pytest.mark.parametrize(
    "error", [rules.EXPIRED, rules.PARENT_FAILED, rules.TIMED_OUT, rules.WORKER_LOST]
)
def test_the_stores_own_errors_are_those_of_the_core(
    server: Postgres, schema: str, error: ErrorInfo
) -> None:
    with server.connect() as db:
        db.execute("SELECT set_config('search_path', %s, false)", (schema,))
        row = db.execute(
            "SELECT fault(%(code)s), fault_fold(%(code)s)", {"code": error.code}
        ).fetchone()
    assert row is not None
    assert msgspec.json.decode(str(row[0]), type=ErrorInfo) == error
    assert row[1] == fold_of(error)
