"""The OpenAPI description: schemas from the same types that are read and written.

Routes read raw bodies and write raw bytes, so FastAPI cannot see their types; `answers` and
`takes` name them, and `describe` puts their JSON Schemas into the document.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from stoker.app.demand import Demand
from stoker.app.explain import Explanation
from stoker.app.graph import GraphBody
from stoker.app.keys import KeyView, NewKey
from stoker.app.overview import ActivityView, Overview
from stoker.app.stats import Stats
from stoker.core.job import JobRecord
from stoker.server import schemas
from stoker.server.access import Need, check_declared
from stoker.server.errors import Error
from stoker.server.sifting import SearchPage
from stoker.server.watch import Frame

TYPES: tuple[type[msgspec.Struct], ...] = (
    Error,
    JobRecord,
    SearchPage,
    Stats,
    Explanation,
    GraphBody,
    schemas.SubmitBody,
    schemas.BatchBody,
    schemas.BatchAnswer,
    schemas.ReasonBody,
    schemas.RetryJobBody,
    schemas.JobAnswer,
    schemas.JobCount,
    schemas.SuggestionList,
    schemas.BulkBody,
    schemas.BulkAnswer,
    schemas.SettingsView,
    Overview,
    Frame,
    ActivityView,
    Demand,
    schemas.QueueList,
    schemas.LimitBody,
    schemas.Purged,
    schemas.WorkerList,
    schemas.WorkerAnswer,
    schemas.FleetList,
    schemas.FleetAnswer,
    schemas.ScaleFleetBody,
    schemas.ErrorGroups,
    schemas.ReplayBody,
    schemas.DeadLetterBody,
    schemas.Replayed,
    schemas.Dropped,
    schemas.ScheduleBody,
    schemas.SchedulePatch,
    schemas.ScheduleList,
    schemas.WorkflowList,
    schemas.WorkflowView,
    schemas.GraphView,
    schemas.RetryWorkflowBody,
    schemas.WorkflowAnswer,
    schemas.EventList,
    schemas.TaskList,
    schemas.Health,
    schemas.KeyBody,
    schemas.KeyList,
    schemas.LoginBody,
    schemas.Me,
    KeyView,
    NewKey,
)
"""Every type that a route names."""

_JSON = "application/json"
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_ALWAYS = (401, 403, 422, 429, 503)
_BODY = (400, 408, 413, 415)
_NAMES_A_TASK = ("SubmitBody", "NodeBody", "ScheduleBody")
_REQUESTS = ("Body", "Patch")
_SPARSE = {"ErrorInfo", "BatchItem"}
"""Answers that leave out what is empty."""
_SUMMARY = "Submit jobs, look at them, and run the system."
_DESCRIPTION = """A job is submitted once and lives in the store until it is purged; every route is
a command of that store. Errors have one shape, `{"error": {"code", "message", "details"}}`: decide
on the code. Moments are ISO 8601 with an offset, durations are seconds or texts such as `10m`."""


def answers(
    *kinds: type[msgspec.Struct] | None,
    status: int = 200,
    refuses: tuple[int, ...] = (),
    body: bool = False,
    more: Mapping[int, str] | None = None,
) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route.

    Args:
        *kinds: What it answers with; several mean one of them.
        status: With which status.
        refuses: Statuses of its errors, besides those that every route has.
        body: Whether it reads a body, which can be wrong in more ways.
        more: Other statuses with the same answer, and what they mean.
    """
    content = {_JSON: {"schema": _one_of([ref(kind) for kind in kinds if kind is not None])}}
    found: dict[int | str, dict[str, Any]] = {status: {"description": HTTPStatus(status).phrase}}
    if kinds:
        found[status]["content"] = content
    for code, meaning in (more or {}).items():
        found[code] = {"description": meaning, "content": content}
    for code in sorted({*_ALWAYS, *refuses, *(_BODY if body else ())}):
        found[code] = {
            "description": HTTPStatus(code).phrase,
            "content": {_JSON: {"schema": ref(Error)}},
        }
    return found


def takes(
    kind: type[msgspec.Struct], *, example: Any = None, required: bool = True
) -> dict[str, Any]:
    """Return the ``openapi_extra`` of a route that reads a body."""
    media: dict[str, Any] = {"schema": ref(kind)}
    if example is not None:
        media["example"] = example
    return {"requestBody": {"required": required, "content": {_JSON: media}}}


def ref(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the reference to a type's schema."""
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def describe(api: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of an application."""
    document = get_openapi(
        title="Stoker",
        version=api.version,
        summary=_SUMMARY,
        description=_DESCRIPTION,
        routes=api.routes,
        tags=api.openapi_tags,
    )
    parts = document.setdefault("components", {})
    parts["securitySchemes"] = _SECURITY
    _name_scopes(api, document)
    schemes = parts.setdefault("schemas", {})
    schemes.update(components())
    for unused in ("HTTPValidationError", "ValidationError"):
        schemes.pop(unused, None)
    return document


def _name_scopes(api: FastAPI, document: dict[str, Any]) -> None:
    """Say of every route what its callers need, as it declares it."""
    for route in check_declared(api):
        operation = document["paths"].get(route.path, {}).get(route.method.lower())
        if operation is not None:
            is_open = route.need is Need.OPEN
            operation["x-scope"] = str(route.need)
            operation["security"] = [] if is_open else [{name: []} for name in _SECURITY]


def components() -> dict[str, Any]:
    """Return the JSON Schema of every type that a route names, and of those inside them."""
    _, found = msgspec.json.schema_components(TYPES, ref_template="#/components/schemas/{name}")
    for name in _NAMES_A_TASK:
        found[name]["anyOf"] = [{"required": ["task"]}, {"required": ["job_type"]}]
    found["ScheduleBody"]["oneOf"] = [
        {"required": ["cron_expression"]},
        {"required": ["interval"]},
    ]
    for name in ("JobRecord", "ScheduleView"):
        found[name]["properties"]["payload"] = {"type": "object"}
    found["JobRecord"]["properties"]["retry"] = {"type": "object"}
    for name, schema in found.items():
        _mark_moments(schema)
        if name not in _SPARSE and not name.endswith(_REQUESTS) and "properties" in schema:
            schema["required"] = list(schema["properties"])
    return found


def _mark_moments(schema: Any) -> None:
    """Say of every field named as a moment that its text is one; msgspec leaves it out."""
    for name, inner in schema.get("properties", {}).items():
        if not name.endswith("_at") and name not in {"at", "now"}:
            continue
        for option in inner.get("anyOf", [inner]):
            if option.get("type") == "string":
                option["format"] = "date-time"


def parameters(document: Mapping[str, Any]) -> dict[str, dict[str, bool]]:
    """Return by ``"METHOD /path"`` the query parameters, and whether each may be repeated."""
    return {
        f"{method.upper()} {path}": {
            p["name"]: _is_list(p["schema"])
            for p in operation.get("parameters", ())
            if p["in"] == "query"
        }
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def _is_list(schema: Mapping[str, Any]) -> bool:
    return any(one.get("type") == "array" for one in (schema, *schema.get("anyOf", ())))


def _one_of(schemas_: list[dict[str, Any]]) -> dict[str, Any]:
    return schemas_[0] if len(schemas_) == 1 else {"oneOf": schemas_}
