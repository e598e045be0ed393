"""The page ``docs/reference/support.md``: what the tests proved about each engine.

It follows from ``docs/reference/support.json``, which a run of the tests writes (``make support``).
An engine that no run has proved is called unproven, whatever its code can do.
"""

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.pages.source import table
from stoker import connect

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "support.json"
UNPROVEN = "unproven"
COMBINATIONS = (
    "sqlite",
    "postgresql",
    "redis",
    "tcp:// over sqlite",
    "tcp:// over postgresql",
    "redis + amqp",
    "postgresql + amqp",
    "redis + kafka",
)
PROMISES = (
    "accepted is not lost",
    "every second execution is explained",
    "one outcome",
    "parents before children",
    "cancels say the truth",
)
Entries = Mapping[str, Mapping[str, Any]]

_INTRO = """<!-- Made by `make support` from docs/reference/support.json. Do not edit it. -->

# What is proved on each engine

This page is generated from the results of tests on real servers; nobody wrote its figures.
`make support` runs the tests again and writes it anew. What no test has proved is *unproven*.

## The contract

Each store passes the same suite, workflows, schedules, fences and faults included, and each
broker its own. `make test-conformance` prints this table; a skipped test counts as a failure.

"""
_COMBINATIONS = """
## The promises under crashes

5,000 jobs with retries, delays, priorities, cancels and a workflow, run by real workers, while
workers are killed and frozen and the servers of the store, the broker and the gateway are killed
with SIGKILL, frozen, and started again. A ledger outside of Stoker, to which every handler writes,
is compared with the store at the end.

"""
_RECOVERY = """
## How long it takes until work goes on

Seconds. A killed worker: until a job that it was running runs again, with a lease of {lease} s
(thirty by default); a fleet that sees the death needs no lease. A server: from the moment it
answers again until the first job that was leased after it is completed. *Alone*: no other fault
fell into that time; median, and the longest. *Among others*: the longest. *Meanwhile*: jobs
that were completed while a server was away, one number a fault.

"""
_LOSS = """
## What can be lost

What each store says of itself with a setting (`stoker doctor` says it for yours), and what was
missing after its server, or the process with the file open, was killed in the middle of submits.
SIGKILL does not empty the disk's cache: what a power failure takes is the engine's own promise.

"""
_FOOT = """
## Run it again

```console
$ make support
```

It writes the results of what ran into `docs/reference/support.json`, each with its date, and this
page from them.
"""


def page() -> str:
    """Return the page."""
    found = load()
    combinations = found.get("combination", {})
    return "".join(
        (
            _INTRO,
            table(("engine", "passed", "failed", "skipped", "on"), _engines(found)),
            _COMBINATIONS,
            table(("engines", *PROMISES), _promises(combinations)),
            "\n",
            table(
                ("engines", "jobs", "executions", "leases lost", "faults", "took", "on"),
                _runs(combinations),
            ),
            _RECOVERY.format(lease=_lease(combinations)),
            table(
                ("engines", "fault", "cases", "alone", "among others", "meanwhile"),
                _recovery(found),
            ),
            _LOSS,
            table(
                ("store", "setting", "level", "can lose", "killed: missing of answered", "on"),
                _losses(found.get("setting", {})),
            ),
            _FOOT,
        )
    )


def load() -> dict[str, Entries]:
    """Return the committed results; none, if there are none."""
    if not RESULTS.is_file():
        return {}
    found: dict[str, Entries] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


def _engines(found: Mapping[str, Entries]) -> Iterator[tuple[str, ...]]:
    entries = found.get("engine", {})
    for scheme in connect.STORES:
        yield _engine(f"`{scheme}://`", entries.get(scheme))
    yield _engine("no broker", entries.get("none"))
    for broker in connect.BROKERS:
        yield _engine(f"broker `{broker}://`", entries.get(broker))


def _engine(name: str, entry: Mapping[str, Any] | None) -> tuple[str, ...]:
    if entry is None:
        return (name, UNPROVEN, "", "", "")
    return (name, *(str(entry[key]) for key in ("passed", "failed", "skipped", "on")))


def _promises(entries: Entries) -> Iterator[tuple[str, ...]]:
    for name in COMBINATIONS:
        entry = entries.get(name)
        word = UNPROVEN if entry is None else _verdict(entry)
        yield (name, *(word for _ in PROMISES))


def _verdict(entry: Mapping[str, Any]) -> str:
    return "proved" if entry["outcome"] == "passed" else "**broken**"


def _passed(entries: Entries) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in COMBINATIONS:
        entry = entries.get(name)
        if entry is not None and entry["outcome"] == "passed":
            yield name, entry


def _runs(entries: Entries) -> Iterator[tuple[str, ...]]:
    for name, entry in _passed(entries):
        happened = entry["happened"]
        counts = {kind: len(times) for kind, times in entry["away"].items()}
        faults = ", ".join(f"{times}× {kind}" for kind, times in sorted(counts.items()))
        numbers = (happened["jobs"], happened["executions"], happened.get("attempts lost", 0))
        shown = (f"{number:,}" for number in numbers)
        engines = f"{name} ({entry['version']})"
        yield (engines, *shown, faults, f"{entry['seconds']:.0f} s", entry["on"])


def _recovery(found: Mapping[str, Entries]) -> Iterator[tuple[str, ...]]:
    for name, entry in sorted(found.get("fleet", {}).items()):
        if entry["outcome"] == "passed":
            cases = entry["cases"]
            yield name, "kill worker of a fleet", str(len(cases)), _middle(cases), "", ""
    for name, entry in _passed(found.get("combination", {})):
        for kind, lists in sorted(entry["recovery"].items()):
            alone, others = lists["alone"], lists["among others"]
            yield (
                name,
                kind,
                str(len(alone) + len(others)),
                _middle(alone),
                f"{max(others):.2f}" if others else "",
                ", ".join(f"{n:,}" for n in entry.get("meanwhile", {}).get(kind, ())),
            )


def _middle(cases: list[float]) -> str:
    return f"{statistics.median(cases):.2f}, {max(cases):.2f}" if cases else ""


def _lease(entries: Entries) -> str:
    leases: Iterable[float] = {entry["lease"] for _, entry in _passed(entries)}
    return " or ".join(f"{lease:g}" for lease in sorted(leases)) or "a few"


def _losses(entries: Entries) -> Iterator[tuple[str, ...]]:
    for name in sorted(entries):
        entry = entries[name]
        answered = entry["answered"]
        missing = "not tried" if not answered else f"{entry['missing']:,} of {answered:,}"
        store, _, setting = name.partition(", ")
        level, words = entry["durability"], entry["can_lose"]
        yield (f"{store} {entry['version']}", setting, level, words, missing, entry["on"])
