"""The page that says what was proved names every engine, and says nothing that no run has shown."""

import pytest

from scripts.pages import support
from stoker import connect
from tests import results


def test_every_store_that_can_be_opened_has_a_row() -> None:
    page = support.page()
    assert [scheme for scheme in connect.STORES if f"| `{scheme}://` |" not in page] == []


def test_every_broker_has_a_row() -> None:
    page = support.page()
    rows = ("no broker", *(f"broker `{scheme}://`" for scheme in connect.BROKERS))
    assert [row for row in rows if f"| {row} |" not in page] == []


def test_the_engines_that_have_to_be_proved_are_those_of_the_page() -> None:
    assert set(results.STORES) <= set(connect.STORES)
    assert set(results.BROKERS) <= {"none", *connect.BROKERS}


def test_an_engine_without_a_result_is_called_unproven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "load", dict)
    rows = [line for line in support.page().splitlines() if line.startswith("| `")]
    assert len(rows) == len(connect.STORES)
    assert all(f"| {support.UNPROVEN} |" in row for row in rows)


def test_a_broken_promise_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {"outcome": "failed", "on": "2026-01-01"}
    monkeypatch.setattr(support, "load", lambda: {"combination": {"redis": broken}})
    [row] = [line for line in support.page().splitlines() if line.startswith("| redis |")]
    assert row.count("**broken**") == len(support.PROMISES)
