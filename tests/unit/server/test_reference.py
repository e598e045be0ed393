"""The page docs/reference/http.md: its requests are sent, its tables are complete."""

import json
import re
from pathlib import Path

from stoker.app.explain import Explanation
from stoker.server.errors import STATUSES
from stoker.testing.conformance.hand import Hand
from tests.unit.server.asking import Asking

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "reference" / "http.md").read_text(encoding="utf-8")
REQUEST = re.compile(r"^```http (\d+)\n([A-Z]+) (\S+)\n(?:\n(.*?))?^```", re.MULTILINE | re.DOTALL)
ROUTE = re.compile(r"^\| ((?:`[A-Z]+` )+)`(/[^`]+)` \|", re.MULTILINE)


async def test_the_requests_on_the_page_get_the_answers_that_it_says(ask: Asking) -> None:
    found = REQUEST.findall(PAGE)
    assert len(found) >= 20
    job_id = ""
    for status, method, path, body in found:
        value = json.loads(body) if body.strip() else None
        answer = await ask.send(method, path.replace("{job}", job_id), value)
        assert answer.status == int(status), (method, path, answer.text)
        if path == "/api/v1/jobs" and status == "201":
            job_id = answer.json["id"]


async def test_the_error_on_the_page_is_the_one_that_is_given(ask: Asking) -> None:
    shown = re.search(r'^\{"error".*?\}\}$', PAGE, re.MULTILINE | re.DOTALL)
    assert shown is not None
    answer = await ask.post("/jobs", {"task": "send_emial", "payload": {}})
    assert answer.json == json.loads(shown[0])


async def test_the_job_on_the_page_has_the_keys_of_a_job(ask: Asking, hand: Hand) -> None:
    shown = re.search(r'^\{"id": "\.\.\.".*?\}$', PAGE, re.MULTILINE | re.DOTALL)
    assert shown is not None
    job = (await hand.job(await hand.put())).to_dict()
    assert set(json.loads(shown[0])) <= set(job)


async def test_the_table_of_routes_is_complete(ask: Asking) -> None:
    shown = {(method, path) for methods, path in ROUTE.findall(PAGE) for method in methods.split()}
    described = {
        (f"`{method.upper()}`", path)
        for path, operations in ask.api.openapi()["paths"].items()
        for method in operations
    }
    assert shown == described


def test_the_table_of_statuses_is_complete() -> None:
    shown = {int(status) for status in re.findall(r"^\| (\d{3}) \|", PAGE, re.MULTILINE)}
    assert shown == set(STATUSES.values()) - {500}


def test_the_codes_of_an_explanation_are_those_on_the_page() -> None:
    source = Path(str(Explanation.__module__).replace(".", "/")).with_suffix(".py")
    code = (ROOT / "src" / source).read_text(encoding="utf-8")
    used = set(re.findall(r'code="([a-z_]+)"', code))
    told = PAGE.partition("each with a stable `code`:")[2].partition("An empty list")[0]
    assert set(re.findall(r"`([a-z_]+)`", told)) == used
