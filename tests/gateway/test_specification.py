"""The page of the protocol names every verb, every parameter and every code."""

import re
from pathlib import Path

import msgspec
import pytest

from stoker.core.errors import ProtocolError, StokerError, Unauthenticated
from stoker.core.wire import records, verbs
from stoker.core.wire.messages import Hello, Welcome
from stoker.server.gateway.scopes import RULES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "protocol" / "PROTOCOL.md").read_text(encoding="utf-8")
NAMES = set(re.findall(r"`(\w+)`", PAGE))


@pytest.mark.parametrize("verb", sorted(verbs.VERBS))
def test_every_verb_and_parameter_is_on_the_page(verb: str) -> None:
    assert {verb, *verbs.VERBS[verb].params.__struct_fields__} <= NAMES


@pytest.mark.parametrize(
    "kind",
    [
        Hello,
        Welcome,
        records.WireJob,
        records.WireLease,
        records.WireSettlement,
        records.WireHeld,
        records.WireSession,
        records.WireQuery,
        records.WireSchedule,
        records.WireFiring,
    ],
)
def test_every_field_that_travels_is_on_the_page(kind: type) -> None:
    assert sorted({field.name for field in msgspec.structs.fields(kind)} - NAMES) == []


@pytest.mark.parametrize("error", [ProtocolError, Unauthenticated])
def test_the_codes_of_the_gateway_are_on_the_page(error: type[StokerError]) -> None:
    assert error.code in NAMES


def test_every_verb_that_a_worker_may_call_is_named_where_rights_are() -> None:
    rights = PAGE.partition("## 7.")[2].partition("## 8.")[0]
    assert sorted(set(RULES) - set(re.findall(r"`(\w+)`", rights))) == []


def test_every_link_of_the_page_leads_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert targets
    assert [t for t in targets if not (ROOT / "protocol" / t).exists()] == []
