"""The page ``docs/reference/access.md``: which scope opens which route."""

from collections.abc import Iterator

from scripts.pages.source import NOTICE, table
from stoker.app.stoker import Stoker
from stoker.core.keys import Scope, included
from stoker.server.access import Declared, Need, check_declared
from stoker.server.http import make_server_app
from stoker.settings import Settings

_INTRO = """# Which key opens what

Every route declares what its callers need; a test drives each of them with a key of each scope
and without one. *open*: nothing. *any key*: a valid key, whatever its scopes. How keys are made and
shown, and what a key bound to a tenant or to queues sees, stands in [keys](keys.md).

Without a key the answer is 401, with a key that lacks the scope 403, and where a bound key asks
for a thing that is not its own, 404. Pages answer `HEAD` as `GET`, without a body.

"""
_YES = "✓"


def page() -> str:
    """Return the page."""
    app = make_server_app(Stoker(settings=Settings(store="memory://")))
    head = ("route", "without", *(f"`{scope}`" for scope in Scope))
    return "".join(
        (
            NOTICE.format(source="src/stoker/server/"),
            _INTRO,
            table(head, (_row(route) for route in check_declared(app) if route.method != "HEAD")),
        )
    )


def _row(route: Declared) -> tuple[str, ...]:
    method = "any" if route.method == "*" else route.method
    is_open = route.need is Need.OPEN
    # Not as code: that would name a file of the folder docs.
    path = route.path if route.path.startswith("/docs/") else f"`{route.path}`"
    return (
        f"`{method}` {path}",
        "open" if is_open else "",
        *_cells(route.need),
    )


def _cells(need: Need) -> Iterator[str]:
    for scope in Scope:
        opens = need in {Need.OPEN, Need.KNOWN} or Scope(need) in included([scope])
        yield _YES if opens else ""
