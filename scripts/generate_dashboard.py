"""Write what the dashboard takes from the Python code: the API's description, states and needs.

``python -m scripts.generate_dashboard`` writes ``dashboard/openapi.json`` (ignored by git; input
of openapi-typescript), ``lifecycle.ts`` and ``access.ts`` in ``dashboard/src/generated/``. ``make
dashboard`` calls it; a test in ``tests/repo`` compares the last two.
"""

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from fastapi import FastAPI

from stoker.app.stoker import Stoker
from stoker.core.events import Kind
from stoker.core.job import PRIORITIES
from stoker.core.lifecycle import LEASED, LIVE, TABLE, TERMINAL, WAITING, State
from stoker.server.access import Need, check_declared
from stoker.server.caller import PREFIX
from stoker.server.http import make_server_app

DASHBOARD = Path(__file__).resolve().parents[1] / "dashboard"
LIFECYCLE = DASHBOARD / "src" / "generated" / "lifecycle.ts"
ACCESS = DASHBOARD / "src" / "generated" / "access.ts"
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


def access() -> str:
    """Return what each route of the API needs as TypeScript, so that no button is shown in vain."""
    routes = (one for one in check_declared(_api()) if one.path.startswith(f"{PREFIX}/"))
    lines = [
        "// Written by scripts/generate_dashboard.py from the routes of the server. Do not edit.",
        "",
        f"export type Need = {' | '.join(json.dumps(str(need)) for need in Need)};",
        "/** What each route needs: a scope, or any key (`known`), or nothing (`open`). */",
        "export const NEEDS = {",
        *(f'  "{one.method.lower()} {one.path}": "{one.need}",' for one in routes),
        "} as const satisfies Record<string, Need>;",
        "",
    ]
    return "\n".join(lines)


def openapi() -> str:
    """Return the API's description."""
    api = _api()
    return json.dumps(api.openapi(), indent=1) + "\n"


def main() -> int:
    """Write the files."""
    LIFECYCLE.parent.mkdir(parents=True, exist_ok=True)
    LIFECYCLE.write_text(lifecycle(), encoding="utf-8")
    ACCESS.write_text(access(), encoding="utf-8")
    OPENAPI.write_text(openapi(), encoding="utf-8")
    return 0


def _api() -> FastAPI:
    return make_server_app(Stoker(store="memory://"))


def _digest(text: str) -> str:
    """Name a text, so that a test without Node sees that the types are old."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _tuple(names: Iterable[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "] as const"


def _ordered(states: Iterable[State]) -> str:
    return "[" + ", ".join(f'"{state}"' for state in State if state in set(states)) + "]"


if __name__ == "__main__":
    sys.exit(main())
