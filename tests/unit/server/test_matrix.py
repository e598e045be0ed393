"""What the page about scopes says, cell by cell, is what the server answers (S6)."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stoker.app.stoker import Stoker
from stoker.server.http import make_server_app
from tests.unit.server.asking import Answer, Asking
from tests.unit.server.keyed import asking_with, log_in, new_key

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "access.md"
_ROW = re.compile(r"^\| `(?P<method>\w+)` `?(?P<path>/[^ `]*)`? \|(?P<cells>.*)\|$", re.MULTILINE)
_NAMED = re.compile(r"\{(?P<name>\w+)\}")
SCOPES = ("read", "submit", "operate", "admin", "worker")
UNENDING = {"/api/v1/live"}
"""A stream that goes on: who may not see it is answered at once."""


class Cell(msgspec.Struct, frozen=True):
    """A route, and whether the page says that some caller is let in."""

    method: str
    path: str
    is_let_in: bool


def column(scope: str | None) -> Iterator[Cell]:
    """Yield what the page says about a caller; None: one without a key."""
    place = 0 if scope is None else 1 + SCOPES.index(scope)
    for row in _ROW.finditer(PAGE.read_text(encoding="utf-8")):
        cell = row["cells"].split("|")[place].strip()
        assert cell in {"", "✓", "open"}
        yield Cell(row["method"], row["path"], bool(cell))


async def ask_for(asking: Asking, cell: Cell, **headers: str) -> Answer:
    path = _NAMED.sub(lambda named: "hello" if named["name"] == "path" else "none", cell.path)
    method = "POST" if cell.method == "any" else cell.method
    given: dict[str, Any] = {} if method == "GET" else {"json": {}}
    return Answer(await asking.http.request(method, path, headers=headers, **given))


def test_the_page_has_a_row_for_every_route_and_a_column_for_every_scope(app: Stoker) -> None:
    from stoker.server.access import check_declared

    head = PAGE.read_text(encoding="utf-8").partition("| route |")[2].partition("\n")[0]
    assert re.findall(r"`(\w+)`", head) == list(SCOPES)
    said = [("*" if c.method == "any" else c.method, c.path) for c in column(None)]
    routes = check_declared(make_server_app(app))
    declared = [(one.method, one.path) for one in routes if one.method != "HEAD"]
    assert sorted(said) == sorted(declared)
    # The page has no row for it: it is answered as GET is.
    heads = {msgspec.structs.replace(one, method="GET") for one in routes if one.method == "HEAD"}
    assert heads <= set(routes)


@pytest.mark.parametrize("scope", [None, *SCOPES])
async def test_each_cell_is_what_the_server_answers(app: Stoker, scope: str | None) -> None:
    for kept in SCOPES:
        await new_key(app, f"kept-{kept}", kept)
    key = None if scope is None else await new_key(app, "asking", scope)
    async with asking_with(Asking(make_server_app(app)), key) as asking:
        for cell in column(scope):
            if cell.is_let_in and cell.path in UNENDING:
                continue
            answer = await ask_for(asking, cell)
            place = (scope, cell, answer.text[:200])
            assert answer.status < 500, place
            if cell.is_let_in:
                assert answer.status != 403, place
                # Whoever logs in with nothing is nobody.
                assert answer.status != 401 or cell.path == "/login", place
            else:
                assert answer.status == (401 if scope is None else 403), place


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_log_in_opens_what_its_key_opens_and_never_the_gateway(
    app: Stoker, scope: str
) -> None:
    key = await new_key(app, "asking", scope)
    async with asking_with(Asking(make_server_app(app)), None) as asking:
        csrf = (await log_in(asking, key))["csrf"]
        for cell in column(scope):
            if cell.path in {*UNENDING, "/login", "/logout"} and cell.is_let_in:
                continue
            answer = await ask_for(asking, cell, **{"x-csrf-token": csrf})
            is_let_in = cell.is_let_in and not cell.path.startswith("/gateway/")
            assert (answer.status not in {401, 403}) == is_let_in, (cell, answer.text[:200])
            if is_let_in and cell.method != "GET":
                forged = await ask_for(asking, cell)
                assert forged.status == 403, (cell, forged.text[:200])
