"""The dashboard: one page for every address that it knows, and the files that it is made of.

Its sources are in ``dashboard/``; the build is part of the package, so that nobody who installs
Stoker needs Node. Names of files carry a hash of what is in them: a browser keeps those for good,
and asks for the page itself each time.
"""

import gzip
import hashlib
import mimetypes
from functools import cache
from pathlib import Path

import msgspec
from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from stoker.server.access import Need, needs
from stoker.server.pages import LOOKING

router = APIRouter(include_in_schema=False)

BUILD = Path(__file__).parent / "static" / "dashboard"
PAGES = (
    "/",
    "/login",
    "/jobs",
    "/jobs/{name:path}",
    "/queues",
    "/workers",
    "/schedules",
    "/workflows",
    "/workflows/{name:path}",
    "/dead-letters",
    "/audit",
    "/settings",
)
"""Addresses that the page itself makes sense of; any other one is no page."""
_ALWAYS = "no-cache"
_FOR_GOOD = "public, max-age=31536000, immutable"
_WORTH_PACKING = 1_024
"""Bytes from which a file is sent packed."""


class Asset(msgspec.Struct, frozen=True):
    """A file of the build, as it is sent."""

    data: bytes
    packed: bytes | None
    """With gzip; None when that saves nothing."""
    media_type: str
    tag: str


@needs(Need.OPEN)
async def show_page(request: Request) -> Response:
    """Show the dashboard; which of its pages, it reads from the address."""
    return _answer(request, "index.html", _ALWAYS)


for _path in PAGES:
    router.add_api_route(_path, show_page, methods=LOOKING, name=f"show_page {_path}")


@router.api_route("/icon.svg", methods=LOOKING)
@needs(Need.OPEN)
async def show_icon(request: Request) -> Response:
    """Return the icon."""
    return _answer(request, "icon.svg", _ALWAYS)


@router.api_route("/assets/{name}", methods=LOOKING)
@needs(Need.OPEN)
async def show_asset(request: Request, name: str) -> Response:
    """Return a script or a style."""
    return _answer(request, f"assets/{name}", _FOR_GOOD)


def _answer(request: Request, name: str, caching: str) -> Response:
    if name not in _names():
        raise HTTPException(404)
    asset = _read(name)
    headers = {"cache-control": caching, "etag": asset.tag, "vary": "accept-encoding"}
    if request.headers.get("if-none-match") == asset.tag:
        return Response(status_code=304, headers=headers)
    data = asset.data
    if asset.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        data, headers["content-encoding"] = asset.packed, "gzip"
    return Response(data, media_type=asset.media_type, headers=headers)


@cache
def _names() -> frozenset[str]:
    """Return what the build holds: nothing beside it can be asked for, whatever a path says."""
    files = (file for file in BUILD.rglob("*") if file.is_file())
    return frozenset(file.relative_to(BUILD).as_posix() for file in files)


@cache
def _read(name: str) -> Asset:
    data = (BUILD / name).read_bytes()
    packed = gzip.compress(data, mtime=0) if len(data) >= _WORTH_PACKING else None
    return Asset(
        data=data,
        packed=packed if packed is not None and len(packed) < len(data) else None,
        media_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
        tag=f'"{hashlib.sha256(data).hexdigest()[:20]}"',
    )
