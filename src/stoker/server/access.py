"""What a route needs: declared beside the route, in one way, and looked at when the app is made.

::

    @router.get("", responses=answers(Page))
    @needs(Need.READ)
    async def list_jobs(request: Request) -> Response: ...

    api.mount("/assets", needs(Need.OPEN)(StaticFiles(directory=ASSETS)))

A route without a declaration is no route: `check_declared` refuses to make an application that has
one, so it fails the build and not the user.
"""

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TypeVar

import msgspec
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount

T = TypeVar("T")

_MARK = "__stoker_need__"


class Need(StrEnum):
    """What a caller must have, to be answered by a route."""

    OPEN = "open"
    """Nothing: for what tells nothing about jobs, and for logging in."""
    KNOWN = "known"
    """Any valid key."""
    READ = "read"
    SUBMIT = "submit"
    OPERATE = "operate"
    ADMIN = "admin"
    WORKER = "worker"


class Declared(msgspec.Struct, frozen=True, order=True):
    """A route and what it needs."""

    path: str
    method: str
    """``"*"`` for an application that is mounted whole."""
    need: Need


def needs(need: Need) -> Callable[[T], T]:
    """Declare what a route, or an application that is mounted, needs."""

    def mark(answering: T) -> T:
        setattr(answering, _MARK, need)
        return answering

    return mark


def need_of(answering: object) -> Need | None:
    """Return what was declared; None when nothing was."""
    found: Need | None = getattr(answering, _MARK, None)
    return found


def check_declared(api: FastAPI) -> tuple[Declared, ...]:
    """Return every route with what it needs, by path.

    Raises:
        TypeError: One declares nothing. A mistake of ours, not of a user.
    """
    return tuple(sorted(_declared(api)))


def _declared(api: FastAPI) -> Iterator[Declared]:
    for route in iter_route_contexts(api.routes):
        original = route.original_route
        answering = original.app if isinstance(original, Mount) else route.endpoint
        path = route.path_format or route.path or "?"
        need = need_of(answering)
        if need is None:
            raise TypeError(
                f"the route {path!r} does not say what its callers need; put "
                "@needs(Need.READ), say, between its router's decorator and its function"
            )
        for method in sorted(route.methods or {"*"}):
            yield Declared(path, method, need)
