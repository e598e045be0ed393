"""Texts that mean something to a database, a terminal, a log or a regular expression.

S14: log lines, S16: parsers, S17: queries.
"""

import io
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stoker.app.stoker import Stoker
from stoker.cli.logs import set_up_logging
from stoker.core.records import JobQuery
from stoker.server.http import make_server_app
from stoker.settings import LogSettings, Settings
from stoker.testing import FakeClock
from tests.unit.server.asking import Asking
from tests.unit.server.keyed import asking_with, new_key

TEXTS = (
    "'; DROP TABLE jobs; --",
    "x' OR '1'='1",
    'x" OR "1"="1',
    "%",
    "_",
    "100%_\\%",
    "\\' OR 1=1 --",
    "$1",
    "?1",
    ":id",
    "{}:jobs",
    "{stoker}:jobs\r\nDEL {stoker}:jobs",
    "*",
    "[a-z]",
    "\x1b[2J\x1b]0;title\x07",
    'line\r\n{"level":"error","message":"forged"}',
    "\u2028\u2029\u202e",
    '"},"admin":true,"x":{"y":"',
    "{{7*7}}${7*7}",
    "../../etc/passwd",
)
SLOW = (
    "a" * 400,
    "(" * 200 + ")" * 200,
    '"' + "\\" * 400,
    "task:" * 90,
    '"a",' * 100,
    "1h" * 200,
    "0" * 400 + "x",
    ",-/*" * 100,
)
"""What makes a regular expression that backtracks take years."""


@pytest.fixture(params=["memory", "sqlite"])
async def app(
    request: pytest.FixtureRequest, tmp_path: Path, fake_clock: FakeClock
) -> AsyncIterator[Stoker]:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'stoker.db'}"
    made = Stoker(settings=Settings(store=url), clock=fake_clock)

    @made.task
    def shout(text: str) -> str:
        return text.upper()

    async with made:
        yield made


@pytest.fixture
async def ask(app: Stoker) -> AsyncIterator[Asking]:
    asking = Asking(make_server_app(app))
    async with asking.http:
        yield asking


async def put(ask: Asking, text: str) -> str:
    body = {"task": "shout", "payload": {"text": text}, "tenant": text, "unique_key": text}
    made = await ask.post("/jobs", {**body, "headers": {"x": text}})
    job_id: str = made.ok(201)["id"]
    return job_id


async def test_a_text_is_kept_as_it_is_and_means_nothing(app: Stoker, ask: Asking) -> None:
    ids = {text: await put(ask, text) for text in TEXTS}
    for text, job_id in ids.items():
        job = (await ask.get(f"/jobs/{job_id}")).ok()
        assert (job["payload"]["text"], job["tenant"], job["unique_key"]) == (text, text, text)
        found = (await ask.get("/jobs", tenant=text)).ok()["jobs"]
        assert [one["id"] for one in found] == [job_id], text
    counted = await app.arun(lambda store: store.find(JobQuery(), limit=1000))
    assert len(counted.jobs) == len(TEXTS)


@pytest.mark.parametrize(
    "name", ["queue", "task", "tenant", "workflow", "schedule", "error", "worker", "cursor", "q"]
)
async def test_a_filter_finds_what_it_says_and_nothing_by_accident(ask: Asking, name: str) -> None:
    await put(ask, "harmless")
    for text in TEXTS:
        answer = await ask.get("/jobs", **{name: text})
        if answer.status == 200:
            assert answer.json["jobs"] == [], (name, text)
        else:
            assert answer.status == 422, (name, text, answer.text)
    assert len((await ask.get("/jobs")).ok()["jobs"]) == 1


async def test_a_change_by_such_a_filter_changes_nothing(app: Stoker, ask: Asking) -> None:
    job_id = await put(ask, "harmless")
    for text in TEXTS:
        for path, body in (
            ("/dead-letters/drop", {"tenant": text}),
            ("/dead-letters/replay", {"error": text, "queue": text}),
            ("/jobs/bulk", {"action": "delete", "reason": text, "ids": [text]}),
        ):
            assert (await ask.post(path, body)).status < 500, (path, text)
    assert (await ask.get(f"/jobs/{job_id}")).ok()["state"] == "queued"


async def test_such_a_text_names_no_key_and_forges_no_tenant(app: Stoker, ask: Asking) -> None:
    jobs = {text: await put(ask, text) for text in TEXTS}
    for text in TEXTS:
        key = await new_key(app, f"k{TEXTS.index(text)}", "read", tenant=text)
        async with asking_with(ask, key) as tenant:
            found = (await tenant.get("/jobs")).ok()["jobs"]
            assert [job["id"] for job in found] == [jobs[text]], text
    async with asking_with(ask, await new_key(app, "root", "admin")) as root:
        for text in set(TEXTS) - {"_"}:
            body = {"name": text, "scopes": ["read"]}
            (await root.post("/api-keys", body)).refused(422, "invalid_option")


async def test_each_line_of_the_log_is_one_event_whatever_a_caller_sends(ask: Asking) -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    set_up_logging(LogSettings(level="debug", format="json"), stream=stream)
    try:
        for text in TEXTS:
            await ask.get("/jobs", tenant=text)
            await ask.raw("GET", "/jobs", headers={"x-api-key": text.encode().hex()})
            await ask.post("/jobs", {"task": text, "payload": {"text": text}})
            logging.getLogger("stoker.server").warning("%s failed", text, extra={"queue": text})
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.getLogger("stoker").setLevel(logging.NOTSET)
        logging.captureWarnings(capture=False)
    lines = stream.getvalue().splitlines()
    assert len(lines) >= len(TEXTS)
    events = [json.loads(line) for line in lines]
    assert not any(event["message"] == "forged" for event in events)
    assert not any(char in stream.getvalue() for char in "\x1b\x07\u2028\u202e\r")


async def test_no_text_keeps_a_parser_busy(ask: Asking) -> None:
    """A parser that backtracks would run into the time limit of all tests."""
    for text in SLOW:
        for name in ("q", "since", "until", "error", "cursor"):
            assert (await ask.get("/jobs", **{name: text})).status < 500
        assert (await ask.get("/jobs/suggestions", text=text)).status < 500
        rule = {"name": "n", "task": "shout", "payload": {"text": "x"}, "cron_expression": text}
        (await ask.post("/scheduled-jobs", rule)).refused(422, "invalid_schedule")
        job = {"task": "shout", "payload": {"text": "x"}, "delay": text}
        assert (await ask.post("/jobs", job)).status == 422
