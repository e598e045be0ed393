"""The page ``docs/lifecycle.md``: states, events, the diagram and the table."""

from scripts.pages.source import NOTICE, field_docs, table
from stoker.core import lifecycle
from stoker.core.lifecycle import LEASED, TABLE, TERMINAL, WAITING, Event, State

_INTRO = """# The life of a job

A job is in exactly one state, and only the table below moves it. A pair of state and event
that is not in the table is refused with [`illegal_transition`](reference/errors.md) and
changes nothing. Ended jobs stay as they are; only a requeue (`stoker jobs retry`,
`stoker dlq replay`) leaves an ended state. Every store obeys this one table, and the
conformance suite proves each of its cells.

"""


def page() -> str:
    """Return the page."""
    return "".join(
        (
            NOTICE.format(source="src/stoker/core/lifecycle.py"),
            _INTRO,
            "```mermaid\n",
            diagram(),
            "```\n\n## States\n\n",
            _states(),
            "\n## Events\n\n",
            _events(),
            "\n## The table\n\nWhat can happen in each state, and what follows.\n\n",
            _moves(),
        )
    )


def diagram() -> str:
    """Return the state diagram; edges between the same two states are one arrow."""
    edges: dict[tuple[State, State], list[Event]] = {}
    for (state, event), following in TABLE.items():
        if state is not following:
            edges.setdefault((state, following), []).append(event)
    lines = ["stateDiagram-v2", *(f"    [*] --> {s}" for s in _FIRST)]
    for (state, following), events in sorted(edges.items(), key=_edge_order):
        lines.append(f"    {state} --> {following}: {', '.join(events)}")
    return "\n".join([*lines, *(f"    {state} --> [*]" for state in _ordered(TERMINAL))]) + "\n"


_FIRST = (State.BLOCKED, State.SCHEDULED, State.QUEUED)


def _edge_order(edge: tuple[tuple[State, State], list[Event]]) -> tuple[int, int]:
    (state, following), _ = edge
    order = list(State)
    return order.index(state), order.index(following)


def _ordered(states: frozenset[State]) -> list[State]:
    return [state for state in State if state in states]


def _states() -> str:
    docs = field_docs(lifecycle, "State")
    groups = {"waiting": WAITING, "leased": LEASED, "ended": TERMINAL}
    return table(
        ("state", "group", "meaning"),
        (
            (f"`{state}`", next(g for g, members in groups.items() if state in members), doc)
            for state, doc in ((State[name], doc) for name, doc in docs.items())
        ),
    )


def _events() -> str:
    docs = field_docs(lifecycle, "Event")
    return table(
        ("event", "what happened", "from", "to"),
        (
            (
                f"`{event}`",
                docs[event.name],
                _listed([s for s in State if (s, event) in TABLE]),
                _listed(_ordered(frozenset(to for (_, e), to in TABLE.items() if e is event))),
            )
            for event in Event
        ),
    )


def _listed(states: list[State]) -> str:
    return ", ".join(f"`{state}`" for state in states)


def _moves() -> str:
    return table(
        ("state", "event → next state"),
        (
            (
                f"`{state}`",
                " · ".join(
                    f"{event} → `{TABLE[state, event]}`"
                    for event in Event
                    if (state, event) in TABLE
                ),
            )
            for state in State
        ),
    )
