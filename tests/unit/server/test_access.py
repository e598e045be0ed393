"""Every route says what its callers need; one that does not makes no application."""

import pytest
from fastapi import APIRouter, FastAPI
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from stoker.app.stoker import Stoker
from stoker.server.access import Declared, Need, check_declared, needs
from stoker.server.http import make_server_app

WRITES = {"POST", "PATCH", "PUT", "DELETE"}


async def silent() -> None:
    """Answer nothing."""


def test_every_route_of_the_server_says_what_it_needs(app: Stoker) -> None:
    declared = {(one.method, one.path): one.need for one in check_declared(make_server_app(app))}
    assert declared["GET", "/health"] is Need.OPEN
    assert declared["POST", "/api/v1/jobs"] is Need.SUBMIT
    assert declared["GET", "/api/v1/jobs/{job_id}/events"] is Need.READ
    assert declared["*", "/gateway/v1/{path}"] is Need.WORKER
    assert {"/docs", "/openapi.json", "/metrics"} <= {path for _, path in declared}


def test_no_route_that_writes_is_open_or_for_readers(app: Stoker) -> None:
    reading = {Need.OPEN, Need.KNOWN, Need.READ}
    found = [one for one in check_declared(make_server_app(app)) if one.need in reading]
    assert [one.path for one in found if one.method in WRITES] == ["/login", "/logout"]


def test_nothing_under_the_api_is_open(app: Stoker) -> None:
    found = check_declared(make_server_app(app))
    assert [one for one in found if one.need is Need.OPEN and one.path.startswith("/api")] == []


def test_a_route_that_declares_nothing_makes_no_application() -> None:
    router = APIRouter(prefix="/new")
    router.get("/thing")(silent)
    api = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    api.include_router(router)
    with pytest.raises(TypeError, match="'/new/thing' does not say what its callers need"):
        check_declared(api)


def test_nor_does_a_mounted_application_or_a_plain_route(tmp_path: object) -> None:
    api = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    api.mount("/files", StaticFiles(directory=str(tmp_path)))
    with pytest.raises(TypeError, match=r"'/files/\{path\}' does not say"):
        check_declared(api)
    with pytest.raises(TypeError, match=r"'/openapi\.json' does not say"):
        check_declared(FastAPI())
    plain = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    plain.router.routes.append(Route("/plain", silent))
    with pytest.raises(TypeError, match="'/plain' does not say"):
        check_declared(plain)


def test_a_mounted_application_declares_itself_in_the_same_way(tmp_path: object) -> None:
    api = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    api.mount("/files", needs(Need.OPEN)(StaticFiles(directory=str(tmp_path))))
    assert check_declared(api) == (Declared("/files/{path}", "*", Need.OPEN),)
