"""Write what the dashboard takes from the Python code: the API's description and the states.

``python -m scripts.generate_dashboard`` writes ``dashboard/openapi.json`` (ignored by git; input
of openapi-typescript) and ``dashboard/src/generated/lifecycle.ts``. ``make dashboard`` calls it; a
test in ``tests/repo`` compares the second one.
"""

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from stoker.app.stoker import Stoker
from stoker.core.events import Kind
from stoker.core.job import PRIORITIES
from stoker.core.lifecycle import LEASED, LIVE, TABLE, TERMINAL, WAITING, State
from stoker.server.http import make_server_app

DASHBOARD = Path(__file__).resolve().parents[1] / "dashboard"
LIFECYCLE = DASHBOARD / "src" / "generated" / "lifecycle.ts"
OPENAPI = DASHBOARD / "openapi.json"


def lifecycle() -> str:
    """Return the states and their moves as TypeScript."""
    moves = sorted({(str(s), str(to)) for (s, _), to in TABLE.items() if s is not to})
    lines = [
        "// Written by scripts/generate_dashboard.py from stoker/core/lifecycle.py. Do not edit.",
        f"// The API's description that schema.ts was made from: {_digest(openapi())}",
        "",
        f"export const STATES = {_tuple(State)};",
        "export type State = (typeof STATES)[number];",
        f"export const WAITING: readonly State[] = {_ordered(WAITING)};",
        f"export const LEASED: readonly State[] = {_ordered(LEASED)};",
        f"export const LIVE: readonly State[] = {_ordered(LIVE)};",
        f"export const TERMINAL: readonly State[] = {_ordered(TERMINAL)};",
        f"export const PRIORITIES = {_tuple(PRIORITIES)};",
        f"export const KINDS = {_tuple(Kind)};",
        "export const MOVES: readonly (readonly [State, State])[] = [",
        *(f'  ["{source}", "{target}"],' for source, target in moves),
        "];",
        "",
    ]
    return "\n".join(lines)


def openapi() -> str:
    """Return the API's description."""
    api = make_server_app(Stoker(store="memory://"))
    return json.dumps(api.openapi(), indent=1) + "\n"


def main() -> int:
    """Write both files."""
    LIFECYCLE.parent.mkdir(parents=True, exist_ok=True)
    LIFECYCLE.write_text(lifecycle(), encoding="utf-8")
    OPENAPI.write_text(openapi(), encoding="utf-8")
    return 0


def _digest(text: str) -> str:
    """Name a text, so that a test without Node sees that the types are old."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _tuple(names: Iterable[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "] as const"


def _ordered(states: Iterable[State]) -> str:
    return "[" + ", ".join(f'"{state}"' for state in State if state in set(states)) + "]"


if __name__ == "__main__":
    sys.exit(main())
