"""What a run of the tests keeps about engines: counts, gaps, and a file that is merged."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import results
from tests.results import BROKERS, STORES, Results


def run(file: Path | None = None, *, every: bool = False) -> Results:
    options = {"--results": None if file is None else str(file), "--all-engines": every}
    config: Any = SimpleNamespace(getoption=options.__getitem__)
    return Results(config)


def report(outcome: str = "passed", *, when: str = "call", **told: object) -> Any:
    return SimpleNamespace(when=when, outcome=outcome, user_properties=list(told.items()))


def finish(run: Results) -> int:
    session: Any = SimpleNamespace(exitstatus=pytest.ExitCode.OK)
    run.pytest_sessionfinish(session)
    return int(session.exitstatus)


def test_each_test_is_counted_once_and_a_broken_setup_as_a_failure(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    one = run(file)
    for when in ("setup", "call", "teardown"):
        one.pytest_runtest_logreport(report(when=when, engine="redis"))
    one.pytest_runtest_logreport(report("failed", when="setup", engine="redis"))
    one.pytest_runtest_logreport(report("skipped", when="setup", engine="redis"))
    finish(one)
    kept = json.loads(file.read_text())["engine"]["redis"]
    assert (kept["passed"], kept["failed"], kept["skipped"]) == (1, 1, 1)


def test_what_was_not_run_keeps_its_former_entry(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    for engine, outcome in (("redis", "passed"), ("memory", "passed"), ("redis", "failed")):
        one = run(file)
        one.pytest_runtest_logreport(report(outcome, engine=engine, combination=engine))
        finish(one)
    kept = json.loads(file.read_text())
    assert kept["engine"]["memory"]["passed"] == 1
    assert (kept["engine"]["redis"]["passed"], kept["engine"]["redis"]["failed"]) == (0, 1)
    assert kept["combination"]["redis"]["outcome"] == "failed"


def test_a_run_about_no_engine_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    one = run(file)
    one.pytest_runtest_logreport(report())
    assert finish(one) == pytest.ExitCode.OK
    assert not file.exists()


@pytest.mark.parametrize("spoilt", ["passed", "skipped", "absent"])
def test_an_engine_that_was_skipped_or_left_out_fails_the_run_that_wants_all(spoilt: str) -> None:
    one = run(every=True)
    for engine in (*STORES, *BROKERS):
        if engine != "redis" or spoilt != "absent":
            one.pytest_runtest_logreport(report(engine=engine))
    if spoilt == "skipped":
        one.pytest_runtest_logreport(report("skipped", when="setup", engine="redis"))
    wanted = pytest.ExitCode.OK if spoilt == "passed" else pytest.ExitCode.TESTS_FAILED
    assert finish(one) == wanted


def test_the_kinds_of_entries_are_those_that_the_page_reads() -> None:
    assert results.KINDS == ("combination", "setting", "fleet")
