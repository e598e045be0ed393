"""The dashboard and the alerts in deploy/: /metrics serves every figure that they name."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from stoker.app.stoker import Stoker
from stoker.brokers.ringing import RingingStore
from stoker.core.job import Outcome
from stoker.server.http import make_server_app
from stoker.stores.memory import MemoryStore
from stoker.testing import FakeClock
from stoker.testing.belfry import Belfry, LocalBroker
from stoker.testing.conformance.hand import Hand
from tests.unit.server.asking import Asking

ROOT = Path(__file__).resolve().parents[3]
DASHBOARD = json.loads((ROOT / "deploy/grafana/stoker.json").read_text(encoding="utf-8"))
RULES = yaml.safe_load((ROOT / "deploy/prometheus/stoker.rules.yml").read_text(encoding="utf-8"))
VARIABLES = {"$__rate_interval": "5m", "$job": "stoker"}
GIVEN_BY_PROMETHEUS = {"job", "instance", "le"}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    """Yield each expression with where it stands, its variables filled in."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], _filled(target["expr"])
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        found = re.fullmatch(r"label_values\((\w+), \w+\)", variable.get("definition", ""))
        if found:
            yield variable["name"], found[1]


def _filled(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def selectors(expression: str) -> Iterator[Any]:
    """Yield the selectors of an expression; the parser refuses what is no PromQL."""
    pending: list[Any] = [promql_parser.parse(expression)]
    while pending:
        node = pending.pop()
        match node:
            case promql_parser.VectorSelector():
                yield node
            case promql_parser.MatrixSelector():
                yield node.vector_selector
            case promql_parser.BinaryExpr():
                pending += [node.lhs, node.rhs]
            case promql_parser.Call():
                pending += node.args
            case promql_parser.AggregateExpr() | promql_parser.ParenExpr():
                pending.append(node.expr)
            case promql_parser.NumberLiteral():
                pass
            case _:
                pytest.fail(f"this test does not know {type(node).__name__}; teach it")


@pytest.fixture
async def served(app: Stoker, fake_clock: FakeClock) -> dict[str, set[str]]:
    """Return the samples of a server that has seen everything once, with their labels."""
    async with RingingStore(MemoryStore(clock=fake_clock), LocalBroker(Belfry())) as store:
        before, app._store = app._store, store
        hand = Hand(store, fake_clock)
        await hand.finish(await hand.put())
        await hand.finish(await hand.put(), Outcome.FAILED, retry_in=None)
        await store.set_queue("default", paused=True, limit=5)
        fake_clock.advance(60)
        asking = Asking(make_server_app(app))
        async with asking.http:
            await asking.get("/health")
            text = (await asking.get("/metrics")).text
        app._store = before
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_figure_and_label_that_is_named_is_served(served: dict[str, set[str]]) -> None:
    named: set[str] = set()
    for where, expression in expressions():
        for selector in selectors(expression):
            assert selector.name in served, f"{where}: no figure is named {selector.name}"
            known = served[selector.name] | GIVEN_BY_PROMETHEUS
            used = {matcher.name for matcher in selector.matchers.matchers}
            assert used <= known, f"{where}: {selector.name} has no label {used - known}"
            named.add(selector.name)
    ours = {name for name in served if name.startswith("stoker_") and "_created" not in name}
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for name in named}
    left_out = {re.sub(r"_(bucket|count|sum)$", "", name) for name in ours} - shown
    assert left_out == set(), "figures that neither the dashboard nor an alert shows"


def test_every_panel_says_what_it_shows_and_none_lies_upon_another() -> None:
    taken: set[tuple[int, int]] = set()
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not taken & cells, panel["title"]
        assert grid["x"] + grid["w"] <= 24
        taken |= cells
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    for rule in rules():
        assert rule["alert"].startswith("Stoker")
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert set(rule["annotations"]) == {"summary", "description"}


def test_what_is_no_promql_is_refused() -> None:
    with pytest.raises(ValueError, match="unclosed"):
        list(selectors("sum by (job (stoker_jobs)"))
