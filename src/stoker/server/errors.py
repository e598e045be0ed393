"""From an error's code to its HTTP status, in one table, and the one shape that errors have.

The rule behind the table: 400 what was sent cannot be read, or names a task that nobody knows;
422 it can be read and means nothing; 409 the present state forbids it; 503 the store cannot serve.
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from stoker.core.errors import StokerError, Unauthenticated

log = logging.getLogger(__name__)

STATUSES: Mapping[str, int] = {
    "error": 500,
    # the caller's mistake
    "usage": 400,
    "unknown_task": 400,
    "invalid_payload": 400,
    "payload_too_large": 413,
    "invalid_arguments": 422,
    "invalid_option": 422,
    "invalid_query": 422,
    "invalid_schedule": 422,
    "invalid_task": 422,
    "invalid_workflow": 422,
    "duplicate_task": 422,
    "unsupported": 422,
    # not there
    "not_found": 404,
    "job_not_found": 404,
    "queue_not_found": 404,
    "key_not_found": 404,
    "schedule_not_found": 404,
    "worker_not_found": 404,
    "fleet_not_found": 404,
    "workflow_not_found": 404,
    # the present state forbids it
    "refused": 409,
    "illegal_transition": 409,
    "duplicate_job": 409,
    "port_in_use": 409,
    "lease_lost": 409,
    # the store, or the server itself, cannot serve
    "backend": 503,
    "unavailable": 503,
    "outcome_unknown": 503,
    "store_full": 503,
    "read_only": 503,
    "not_a_store": 503,
    "schema_mismatch": 503,
    "not_open": 503,
    "invalid_config": 503,
    "missing_extra": 503,
    "result_timeout": 503,
    # the gateway
    "protocol_error": 400,
    "frame_too_large": 413,
    # who asks
    "unauthenticated": 401,
    "forbidden": 403,
    "rate_limited": 429,
    # how jobs end: no request ends so
    "job_failed": 409,
    "timeout": 409,
    "crashed": 409,
    "result_too_large": 409,
    "signal": 409,
    "retry": 409,
    "snooze": 409,
    "discarded": 409,
    "cancelled": 409,
    # of HTTP alone
    "bad_request": 400,
    "host_not_allowed": 403,
    "origin_not_allowed": 403,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "unsupported_media_type": 415,
    "too_many_streams": 429,
    "internal": 500,
}
"""Error code to status."""

RETRY_AFTER = "1"
"""Seconds that a client is asked to wait before it repeats a retryable request."""

_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "payload_too_large",
    415: "unsupported_media_type",
}


class ErrorDetail(msgspec.Struct, frozen=True):
    """What went wrong."""

    code: str
    """Stable; decide on this."""
    message: str
    """For people: what was found, what was expected, what to do."""
    details: dict[str, Any] = {}


class Error(msgspec.Struct, frozen=True):
    """The answer to every request that was not carried out."""

    error: ErrorDetail


def detail_of(error: StokerError) -> ErrorDetail:
    """Return an error as data."""
    return ErrorDetail(error.code, error.message, dict(error.details))


def status_of(error: StokerError) -> int:
    """Return the status of an error; a class that the table does not know counts as a bug."""
    return STATUSES.get(error.code, 500)


def encode_error(error: Error) -> bytes:
    """Return an error as JSON; details that JSON cannot say are said as text."""
    return msgspec.json.encode(error, enc_hook=_plain)


def _plain(value: Any) -> Any:
    """Settings are numbers of classes of their own, which msgspec does not know."""
    return int(value) if isinstance(value, int) else str(value)


def error_response(
    code: str,
    message: str,
    *,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the response to a request that was not carried out."""
    body = Error(ErrorDetail(code, message, dict(details or {})))
    return Response(
        encode_error(body),
        status_code=STATUSES[code],
        media_type="application/json",
        headers=dict(headers or {}),
    )


def response_of(error: StokerError) -> Response:
    """Return the response that a Stoker error stands for."""
    return Response(
        encode_error(Error(detail_of(error))),
        status_code=status_of(error),
        media_type="application/json",
        headers=headers_of(error),
    )


def headers_of(error: StokerError) -> dict[str, str]:
    """Return what HTTP asks of an error besides its status."""
    if isinstance(error, Unauthenticated):
        return {"www-authenticate": "Bearer"}
    if error.retryable:
        return {"retry-after": str(error.details.get("retry_after", RETRY_AFTER))}
    return {}


def internal_error() -> Response:
    """Return the response to a request that met a mistake of ours."""
    return error_response(
        "internal", "the server made a mistake; its log says which, please report it"
    )


def install_handlers(api: FastAPI) -> None:
    """Give every error of every route the one shape."""
    api.add_exception_handler(StokerError, _on_stoker_error)
    api.add_exception_handler(RequestValidationError, _on_invalid_query)
    api.add_exception_handler(HTTPException, _on_http_error)


async def _on_stoker_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, StokerError):
        raise error
    if status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning(
            "%s %s was not carried out: %s", request.method, request.url.path, error.message
        )
    return response_of(error)


async def _on_invalid_query(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    wrong = [_wrong(e) for e in error.errors()]
    told = "; ".join(f"{w['parameter']} is {w['found']}: {w['message']}" for w in wrong)
    return error_response(
        "invalid_query", f"the parameters mean nothing: {told}", details={"wrong": wrong}
    )


def _wrong(error: Mapping[str, Any]) -> dict[str, str]:
    # Of a parameter that may be repeated the place is a number behind the name.
    names = [part for part in error["loc"] if isinstance(part, str)]
    return {
        "parameter": names[-1],
        "found": repr(error["input"])[:100],
        "message": str(error["msg"])[:200],
    }


async def _on_http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = _CODES.get(error.status_code, "bad_request")
    headers = dict(error.headers or {})
    if code == "method_not_allowed":
        headers = {"allow": ", ".join(_methods(request))}
    messages = {
        "not_found": f"there is nothing at {request.url.path[:200]!r}; see /docs",
        "method_not_allowed": f"{request.method} is not possible here; see /docs",
    }
    message = messages.get(code, str(error.detail))
    return error_response(code, message, headers=headers)


def _methods(request: Request) -> list[str]:
    """Return what a path can be asked; the router itself knows one route at a time."""
    route = request.scope.get("route")
    known: Mapping[str, object] = request.app.parameters
    path = getattr(route, "path_format", None)
    documented = [key.split(" ", 1)[0] for key in known if key.split(" ", 1)[1] == path]
    return sorted(documented or getattr(route, "methods", None) or {"GET"})
