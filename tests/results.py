"""What the tests proved about each engine: counted, shown as a table, and kept as JSON.

A class of tests says by ``@pytest.mark.engine("redis")`` whose conformance it is about. A test of
a combination of engines hands in what it measured through `record_property`. With
``--results FILE`` both go into a file from which ``docs/reference/support.md`` is made; what was
not run keeps its former entry, with the date of its own run.
"""

import datetime as dt
import json
import os
import platform
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.servers.rabbitmq import RabbitMQ

STORES = ("memory", "sqlite", "postgresql", "redis", "valkey", "tcp", "tls")
BROKERS = ("none", "amqp", "kafka")
"""The engines that have to pass their suite; ``tcp`` is a server before SQLite, ``tls`` one before
memory."""
OUTCOMES = ("passed", "failed", "skipped")
ENGINE = "engine"
KINDS = ("combination", "setting", "fleet")
"""What a test may hand in besides, each under a name of its own."""
SEED = 20_261_128
"""What the tests of combinations are made from unless the command says another number."""
Properties = dict[str, Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that keep results."""
    group = parser.getgroup("engines")
    group.addoption("--results", metavar="FILE", help="Keep what was proved about each engine.")
    group.addoption(
        "--all-engines",
        action="store_true",
        help="Fail unless every engine was tested and no test of it was skipped.",
    )
    group.addoption(
        "--rabbitmq",
        type=Path,
        metavar="FOLDER",
        help="Start the RabbitMQ of another Debian, which scripts/install-rabbitmq-4 unpacked.",
    )
    group.addoption(
        "--seed",
        type=int,
        default=SEED,
        help="Choose the jobs and the faults of the tests of combinations.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Count, in the one process that hears of every test."""
    RabbitMQ.system = config.getoption("--rabbitmq")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results(config), "engine-results")


def mark_engine(item: pytest.Item) -> None:
    """Let the report of a test say which engine it is about."""
    marker = item.get_closest_marker("engine")
    if marker is not None:
        item.user_properties.append((ENGINE, marker.args[0]))


class Results:
    """What was proved in this run."""

    def __init__(self, config: pytest.Config) -> None:
        """Begin with nothing."""
        self._file: str | None = config.getoption("--results")
        self._all = bool(config.getoption("--all-engines"))
        self._engines: dict[str, Counter[str]] = {}
        self._kept: dict[str, dict[str, Properties]] = {kind: {} for kind in KINDS}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test once: when it was called, or when it could not be."""
        if report.when != "call" and report.outcome == "passed":
            return
        told = dict(report.user_properties)
        engine = told.get(ENGINE)
        if isinstance(engine, str):
            self._engines.setdefault(engine, Counter())[report.outcome] += 1
        for kind, kept in self._kept.items():
            if kind in told:
                kept[str(told[kind])] = {**told, "outcome": report.outcome}

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Keep the results, and fail if an engine is missing that has to be there."""
        if self._file is not None and self._has_any():
            self._keep(Path(self._file))
        if self._all and self._gaps() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table."""
        if not self._engines:
            return
        terminalreporter.section("engines")
        terminalreporter.write_line(f"{'engine':<12}" + "".join(f"{o:>9}" for o in OUTCOMES))
        names = (*STORES, *BROKERS) if self._all else ()
        for name in dict.fromkeys((*names, *self._engines)):
            counts = self._engines.get(name, Counter())
            numbers = "".join(f"{counts[outcome]:>9}" for outcome in OUTCOMES)
            terminalreporter.write_line(f"{name:<12}{numbers}")
        for gap in self._gaps() if self._all else ():
            terminalreporter.write_line(f"NOT PROVED: {gap}", red=True)

    def _has_any(self) -> bool:
        return bool(self._engines or any(self._kept.values()))

    def _gaps(self) -> list[str]:
        return [
            f"{name}: {counts['passed']} passed, {counts['skipped']} skipped"
            for name in (*STORES, *BROKERS)
            if not (counts := self._engines.get(name, Counter()))["passed"] or counts["skipped"]
        ]

    def _keep(self, file: Path) -> None:
        found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        run = _run()
        engines = {name: {o: counts[o] for o in OUTCOMES} for name, counts in self._engines.items()}
        for kind, entries in {ENGINE: engines, **self._kept}.items():
            dated = {name: {**entry, **run} for name, entry in entries.items()}
            found[kind] = {**found.get(kind, {}), **dated}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _run() -> dict[str, str]:
    """Return when and on what the tests ran."""
    return {
        "on": dt.datetime.now(dt.UTC).date().isoformat(),  # noqa: TID251 - a label
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
