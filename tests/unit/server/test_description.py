"""The OpenAPI document and the page that shows it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from stoker.app.stoker import Stoker
from stoker.core.lifecycle import State
from stoker.server.http import make_server_app
from tests.unit.server.asking import Asking

EXPECTED = """
    GET /api/v1/activity
    GET POST /api/v1/api-keys
    DELETE /api/v1/api-keys/{key}
    GET /api/v1/dead-letters
    POST /api/v1/dead-letters/drop
    POST /api/v1/dead-letters/replay
    GET /api/v1/events
    GET /api/v1/fleets
    GET /api/v1/fleets/{fleet}
    POST /api/v1/fleets/{fleet}/drain
    POST /api/v1/fleets/{fleet}/reload
    POST /api/v1/fleets/{fleet}/scale
    POST /api/v1/fleets/{fleet}/stop
    GET POST /api/v1/jobs
    POST /api/v1/jobs/batch
    POST /api/v1/jobs/bulk
    GET /api/v1/jobs/count
    GET /api/v1/jobs/export
    GET /api/v1/jobs/suggestions
    DELETE GET /api/v1/jobs/{job_id}
    POST /api/v1/jobs/{job_id}/cancel
    GET /api/v1/jobs/{job_id}/events
    GET /api/v1/jobs/{job_id}/explain
    POST /api/v1/jobs/{job_id}/retry
    GET /api/v1/live
    GET /api/v1/me
    GET /api/v1/overview
    GET /api/v1/queues
    GET /api/v1/queues/{name}
    DELETE /api/v1/queues/{name}/jobs
    POST /api/v1/queues/{name}/limit
    POST /api/v1/queues/{name}/pause
    POST /api/v1/queues/{name}/resume
    GET /api/v1/scaling
    GET POST /api/v1/scheduled-jobs
    DELETE GET PATCH /api/v1/scheduled-jobs/{name}
    POST /api/v1/scheduled-jobs/{name}/pause
    POST /api/v1/scheduled-jobs/{name}/resume
    POST /api/v1/scheduled-jobs/{name}/run
    GET /api/v1/settings
    GET /api/v1/stats
    GET /api/v1/tasks
    GET /api/v1/workers
    DELETE GET /api/v1/workers/{worker}
    POST /api/v1/workers/{worker}/drain
    POST /api/v1/workers/{worker}/stop
    GET POST /api/v1/workflows
    GET /api/v1/workflows/{workflow_id}
    POST /api/v1/workflows/{workflow_id}/cancel
    GET /api/v1/workflows/{workflow_id}/graph
    POST /api/v1/workflows/{workflow_id}/retry
    GET /health
    POST /login
    POST /logout
    GET /metrics
    GET /ready
"""


@pytest.fixture
def document(app: Stoker) -> dict[str, Any]:
    return make_server_app(app).openapi()


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_route_is_described(document: dict[str, Any]) -> None:
    found = [
        f"{' '.join(sorted(method.upper() for method in methods))} {path}"
        for path, methods in sorted(document["paths"].items())
    ]
    assert found == [line.strip() for line in EXPECTED.strip().splitlines()]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    targets = {
        reference.removeprefix("#/components/schemas/") for reference in references(document)
    }
    assert targets - set(schemas) == set()
    assert "HTTPValidationError" not in schemas


def test_every_operation_says_what_it_does_takes_and_gives(document: dict[str, Any]) -> None:
    identities = []
    for name, operation in operations(document):
        identities.append(operation["operationId"])
        assert operation["description"].endswith((".", "}`")), name
        assert operation["tags"], name
        good = [status for status in operation["responses"] if status < "300"]
        assert good, name
        for status, answer in operation["responses"].items():
            if status >= "400":
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Error"}, (name, status)
        assert {"403", "422", "503"} <= set(operation["responses"]), name
        if "requestBody" in operation:
            assert {"400", "413", "415"} <= set(operation["responses"]), name
            assert "application/json" in operation["requestBody"]["content"], name
    assert len(set(identities)) == len(identities)


def test_the_schema_of_a_job_says_states_moments_and_what_is_always_there(
    document: dict[str, Any],
) -> None:
    schemas = document["components"]["schemas"]
    job = schemas["JobRecord"]
    assert set(schemas["State"]["enum"]) == {str(state) for state in State}
    assert job["properties"]["submitted_at"] == {"type": "string", "format": "date-time"}
    assert {"format": "date-time", "type": "string"} in job["properties"]["finished_at"]["anyOf"]
    assert set(job["required"]) == set(job["properties"])
    assert not schemas["SubmitBody"].get("required")
    assert schemas["SubmitBody"]["anyOf"] == [{"required": ["task"]}, {"required": ["job_type"]}]
    assert schemas["SubmitBody"]["additionalProperties"] is False


async def test_the_examples_of_the_description_are_accepted(
    ask: Asking, document: dict[str, Any]
) -> None:
    """All but those that name a thing which is not there."""
    accepted = []
    for name, operation in operations(document):
        media = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        method, path = name.split(" ")
        if "example" not in media or "{" in path:
            continue
        answer = await ask.send(method, path, media["example"])
        assert answer.status < 300, (name, answer.text)
        accepted.append(path.rpartition("/")[2])
    assert accepted == [
        "bulk",
        "jobs",
        "batch",
        "replay",
        "drop",
        "scheduled-jobs",
        "workflows",
        "api-keys",
    ]


async def test_the_page_of_the_api_loads_nothing_from_elsewhere(ask: Asking) -> None:
    page = await ask.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert {"/docs/docs.css", "/docs/docs.js", "/openapi.json"} <= set(addresses)
    assert all(address.startswith("/") or address == "data:," for address in addresses)
    # What the content security policy would block anyway.
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|style=", page.text)
    for name, kind in (("docs.css", "text/css"), ("docs.js", "text/javascript")):
        file = await ask.get(f"/docs/{name}")
        assert file.headers["content-type"].startswith(kind)
        assert not re.search(r"https?://|@import|innerHTML|eval\(", file.text)


async def test_the_document_is_served_as_it_is_made(ask: Asking) -> None:
    served = (await ask.get("/openapi.json")).ok()
    assert served["openapi"].startswith("3.1")
    assert served["info"]["title"] == "Stoker"
    assert served["paths"].keys() == ask.api.openapi()["paths"].keys()
