"""Pages that follow from the code are what the code says."""

import re
from collections import Counter

from scripts import generate_dashboard
from scripts.generate_docs import PAGES, stale
from scripts.pages import lifecycle
from stoker.core.lifecycle import TABLE, State


def test_every_generated_page_is_up_to_date() -> None:
    assert stale() == [], "run `make docs`"
    assert "lifecycle.md" in PAGES


def test_the_dashboard_knows_the_states_and_the_api_as_they_are() -> None:
    written = generate_dashboard.LIFECYCLE.read_text(encoding="utf-8")
    assert written == generate_dashboard.lifecycle(), "run `make dashboard`"


def test_the_dashboard_knows_what_each_route_needs() -> None:
    written = generate_dashboard.ACCESS.read_text(encoding="utf-8")
    assert written == generate_dashboard.access(), "run `make dashboard`"


def test_no_two_errors_share_a_code() -> None:
    codes = re.findall(r"^\| [^|]+ \| `(\w+)` \|", PAGES["reference/errors.md"](), re.MULTILINE)
    assert len(codes) >= 40
    assert sorted(code for code, times in Counter(codes).items() if times > 1) == []


def test_the_diagram_shows_every_move_of_the_table() -> None:
    lines = lifecycle.diagram().splitlines()
    moves = {(s, to, event) for (s, event), to in TABLE.items() if s is not to}
    missing = [
        (state, event, following)
        for state, following, event in sorted(moves)
        if not any(
            line.strip().startswith(f"{state} --> {following}:")
            and event in line.partition(": ")[2].split(", ")
            for line in lines
        )
    ]
    assert missing == []


def test_the_diagram_names_every_state() -> None:
    assert [state for state in State if state not in lifecycle.diagram()] == []
