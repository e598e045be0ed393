"""The page ``/docs``: a small reader of ``/openapi.json`` that loads nothing from elsewhere."""

from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from stoker.server.access import Need, needs
from stoker.server.caller import Caller, reply

router = APIRouter(include_in_schema=False)

LOOKING = ["GET", "HEAD"]
"""Methods of a page. Whoever checks an address, or shows a preview of it, asks for the head alone;
what runs the application leaves the body out."""
_STATIC = Path(__file__).parent / "static"
_FILES = {"docs.html": "text/html", "docs.css": "text/css", "docs.js": "text/javascript"}
_CACHED = {"cache-control": "no-cache"}


@router.api_route("/docs", methods=LOOKING)
@needs(Need.OPEN)
async def show_docs(request: Request) -> Response:
    """Show the API, and let people try it."""
    Caller(request)
    return _file("docs.html")


@router.api_route("/docs/docs.css", methods=LOOKING)
@needs(Need.OPEN)
async def show_style(request: Request) -> Response:
    """Return the page's style."""
    Caller(request)
    return _file("docs.css")


@router.api_route("/docs/docs.js", methods=LOOKING)
@needs(Need.OPEN)
async def show_script(request: Request) -> Response:
    """Return the page's program."""
    Caller(request)
    return _file("docs.js")


@router.get("/openapi.json")
@needs(Need.KNOWN)
async def show_description(request: Request) -> Response:
    """Return the description of the API, for programs."""
    Caller(request)
    return reply(request.app.openapi())


def _file(name: str) -> Response:
    return Response(_read(name), media_type=_FILES[name], headers=_CACHED)


@cache
def _read(name: str) -> bytes:
    return (_STATIC / name).read_bytes()
