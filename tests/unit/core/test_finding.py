"""The judgments that all engines share."""

import pytest

from stoker.core.finding import (
    Finding,
    is_local,
    judge_clock,
    judge_connections,
    judge_durability,
    judge_encryption,
    judge_layout,
)


@pytest.mark.parametrize("skew", [2.5, -2.5])
def test_clocks_may_differ_by_two_seconds(skew: float) -> None:
    assert judge_clock(skew).verdict == "warning"
    assert judge_clock(skew / 2).verdict == "ok"


@pytest.mark.parametrize(("needed", "verdict"), [(80, "ok"), (81, "warning"), (101, "problem")])
def test_connections_want_room(needed: int, verdict: str) -> None:
    found = judge_connections(needed=needed, used=1, limit=100, processes=3, fix="raise it")
    assert found.verdict == verdict
    assert f"up to {needed} connections" in found.found


@pytest.mark.parametrize(
    ("level", "verdict"), [("full", "ok"), ("fast", "warning"), ("none", "problem")]
)
def test_less_durability_is_worse(level: str, verdict: str) -> None:
    assert judge_durability(level, "nothing", fix="more").verdict == verdict


@pytest.mark.parametrize(
    ("encrypted", "checked", "host", "verdict"),
    [
        (True, True, "db.example.com", "ok"),
        (True, False, "db.example.com", "warning"),
        (False, False, "db.example.com", "warning"),
        (False, False, "127.0.0.1", "ok"),
        (True, False, "localhost", "ok"),
    ],
)
def test_what_leaves_the_machine_wants_tls_that_is_checked(
    *, encrypted: bool, checked: bool, host: str, verdict: str
) -> None:
    found = judge_encryption(encrypted=encrypted, checked=checked, host=host, fix="tls")
    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("", True),
        ("localhost", True),
        ("127.3.2.1", True),
        ("[::1]", True),
        ("/var/run/postgresql", True),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
    ],
)
def test_which_hosts_are_this_machine(host: str, *, local: bool) -> None:
    assert is_local(host) is local


@pytest.mark.parametrize(
    ("current", "may_make", "verdict"),
    [
        (None, True, "ok"),
        (None, False, "problem"),
        (2, True, "problem"),
        (3, False, "ok"),
        (4, True, "problem"),
    ],
)
def test_a_layout_must_be_the_newest(current: int | None, verdict: str, *, may_make: bool) -> None:
    found = judge_layout(current=current, latest=3, may_make=may_make, place="the schema")
    assert found.verdict == verdict
    assert bool(found.fix) == bool(found.risk) == (verdict == "problem")


def test_a_finding_is_in_order_unless_it_says_otherwise() -> None:
    assert Finding(check="x", found="y").verdict == "ok"
