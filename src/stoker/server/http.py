"""The application: routes, errors, guard and lifespan put together."""

from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI
from starlette.requests import Request
from starlette.responses import Response

from stoker.app.stoker import Stoker
from stoker.server import dashboard, pages
from stoker.server.access import Need, check_declared, needs
from stoker.server.caller import PREFIX, UnsupportedMediaType
from stoker.server.describe import describe, parameters
from stoker.server.errors import install_handlers
from stoker.server.feed import Feed
from stoker.server.gate import Gate, admit
from stoker.server.gateway.desk import Desk
from stoker.server.gateway.http import PATHS, HttpGateway
from stoker.server.gateway.http import PREFIX as GATEWAY
from stoker.server.guard import LOOPBACK, Guard
from stoker.server.live import Streams
from stoker.server.metrics import Traffic
from stoker.server.routes import (
    dead_letters,
    events,
    fleets,
    health,
    jobs,
    keys,
    login,
    overview,
    queues,
    schedules,
    search,
    stats,
    workers,
    workflows,
)
from stoker.server.watch import Watch

BULK_PATHS = frozenset({f"{PREFIX}/jobs/batch", f"{PREFIX}/workflows"})
"""Paths whose bodies hold many payloads."""
_BIRTH = 8
"""Characters that tell one life of the server from the next."""
_TAGS = [
    {"name": "jobs", "description": "One piece of work each."},
    {"name": "queues", "description": "Named lanes of jobs."},
    {"name": "workers", "description": "Processes that run jobs."},
    {"name": "fleets", "description": "Supervisors that keep workers alive, on any machine."},
    {"name": "dead letters", "description": "Jobs that failed for good."},
    {"name": "schedules", "description": "Cron and interval rules that submit jobs."},
    {"name": "workflows", "description": "Jobs that wait for jobs."},
    {"name": "events", "description": "The audit trail."},
    {"name": "keys", "description": "Who may ask, and logging in."},
    {"name": "system", "description": "Figures, tasks, health."},
]
# Spans and OTLP exporters are no part of this version, and must not switch themselves on.
_NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


class Api(FastAPI):
    """The application, with its own description of itself."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document; made once."""
        if self.openapi_schema is None:
            self.openapi_schema = describe(self)
        return self.openapi_schema

    @cached_property
    def parameters(self) -> dict[str, dict[str, bool]]:
        """By ``"METHOD /path"`` the query parameters, and whether each may be repeated."""
        return parameters(self.openapi())


def make_server_app(
    app: Stoker, *, hosts: Collection[str] | None = LOOPBACK, anonymous: bool = True
) -> FastAPI:
    """Make the HTTP API of an app.

    Its lifespan opens the app's store on the server's loop, unless the caller has opened it, and
    puts the app's declared schedules into the store.

    Args:
        app: The app.
        hosts: Names that the ``Host`` header of a request may have; None: any. The default is for
            servers on loopback: without the check, any web page could reach them.
        anonymous: Whether callers without a key are let in until the store has one (or as the
            setting ``server.require_key`` says). False for a server that others reach.
    """
    api = Api(
        telemetry=_NO_TELEMETRY,
        title="Stoker",
        version=version("stoker"),
        docs_url=None,
        openapi_url=None,
        redoc_url=None,
        redirect_slashes=False,
        openapi_tags=_TAGS,
        dependencies=[Depends(admit)],
        lifespan=_lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    api.state.stoker = app
    # Of the same store, by the same rules, as the listener that may stand beside this one.
    api.state.gateway = Desk(
        app.arun, settings=app.settings.gateway, limits=app.settings.limits, clock=app.clock
    )
    api.state.gate = Gate(
        api.state.gateway, anonymous=anonymous, settings=app.settings.server, clock=app.clock
    )
    api.state.traffic = Traffic()
    api.state.streams = Streams()
    api.state.watch = Watch(app)
    api.state.feed = Feed(api.state.watch, api.state.streams, birth=app.clock.new_nonce()[:_BIRTH])
    install_handlers(api)
    api.add_exception_handler(UnsupportedMediaType, _on_unsupported)
    # The searches stand before the jobs: "count" is no job's id.
    for module in (search, jobs, queues, workers, fleets, dead_letters, schedules, workflows):
        api.include_router(module.router)
    for module in (events, stats, overview):
        api.include_router(module.router)
    api.include_router(keys.router)
    api.include_router(login.router)
    api.include_router(health.router)
    api.include_router(pages.router)
    api.include_router(dashboard.router)
    api.mount(GATEWAY, needs(Need.WORKER)(HttpGateway(api.state.gateway)))
    check_declared(api)
    api.add_middleware(
        Guard,
        hosts=hosts,
        payload_limit=int(app.settings.limits.payload),
        bulk_paths=BULK_PATHS | PATHS,
        observe=api.state.traffic.observe,
    )
    return api


@asynccontextmanager
async def _lifespan(api: FastAPI) -> AsyncIterator[None]:
    app: Stoker = api.state.stoker
    async with AsyncExitStack() as stack:
        if not app.is_open:
            await stack.enter_async_context(app)
        await app.sync_schedules()
        yield
        api.state.streams.close()


async def _on_unsupported(_: Request, error: Exception) -> Response:
    if not isinstance(error, UnsupportedMediaType):
        raise error
    return error.response()
