"""A secret in every place that takes one, and in a payload: none of them comes out again (S15).

Looked through: what the processes say, the lines of their arguments, the spans that they export,
what the commands for people print, and every page, list, metric and event that somebody may read
who was never told the secret.
"""

import asyncio
import json
import os
import re
import secrets
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import httpx2
import psutil  # type: ignore[import-untyped]
import pytest

from stoker.testing import wait_until
from tests.servers.postgres import PASSWORD, shared_schemas

PATIENCE = 60.0
TASKS = {
    "fail": """
import logging
def run(payload):
    logging.getLogger("shop").warning("this job will fail")
    raise ValueError("no good")
""",
    "apart": """
import logging
from opentelemetry import trace
run_in = "process"
def run(payload):
    with trace.get_tracer("shop").start_as_current_span("span-of-the-shop"):
        logging.getLogger("shop").warning("this job ends in a process")
""",
}
COMMANDS = (
    ("doctor",), ("doctor", "--json"), ("config", "show"), ("dlq", "ls"), ("events",),
    ("keys", "ls"),
)  # fmt: skip
"""What people type to see how things are."""
READ = (
    "/", "/docs", "/openapi.json", "/metrics", "/health", "/ready", "/nowhere",
    "/api/v1/settings", "/api/v1/events", "/api/v1/overview", "/api/v1/stats", "/api/v1/workers",
    "/api/v1/queues", "/api/v1/tasks", "/api/v1/api-keys", "/api/v1/me", "/api/v1/activity",
    "/api/v1/dead-letters?group_by=error", "/api/v1/jobs/none", "/api/v1/scaling", "/audit",
    "/api/v1/jobs/suggestions?text=tenant:", "/api/v1/workflows", "/api/v1/scheduled-jobs",
    "/jobs", "/settings", "/assets/nothing",
)  # fmt: skip


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'stoker.db'}"
        return
    with shared_schemas().borrow() as url:
        assert PASSWORD.replace(" ", "+") in url or PASSWORD.replace(" ", "%20") in url
        yield url


def canary(what: str) -> str:
    return f"canary-{what}-{secrets.token_hex(16)}"


class Collector:
    """Takes spans, as a collector of OpenTelemetry does, and keeps what it got."""

    def __init__(self) -> None:
        kept: list[bytes] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["content-length"])
                kept.append(self.path.encode() + b" " + self.rfile.read(size))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.kept = kept
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def text(self) -> str:
        return b"\n".join(self.kept).decode("utf-8", "replace")


class Town:
    """One system: its environment, its folder, and what it said."""

    def __init__(self, folder: Path, store: str, collector: str) -> None:
        self.folder = folder
        self.store = store
        self.secrets = {
            name: canary(name)
            for name in ("token", "worker", "client", "encrypt", "payload", "broker", "traces")
        }
        (folder / "jobs").mkdir()
        for name, text in TASKS.items():
            whole = f"max_retries = 0\n{text}"
            (folder / "jobs" / f"{name}.py").write_text(whole, encoding="utf-8")
        given = dict(os.environ)  # noqa: TID251 - handed on to the commands
        self.env = {
            **given,
            "STOKER_STORE": store,
            "STOKER_LOG__LEVEL": "debug",
            "STOKER_LOG__FORMAT": "json",
            "STOKER_TOKEN": self.secrets["client"],
            "STOKER_GATEWAY__TOKEN": self.secrets["token"],
            "STOKER_GATEWAY__WORKER_TOKEN": self.secrets["worker"],
            "STOKER_TASKS__ENCRYPTION_KEY": self.secrets["encrypt"],
            # Nobody listens there: what is said of it is said often.
            "STOKER_BROKER": f"amqp://guest:{self.secrets['broker']}@127.0.0.1:9/",
            "STOKER_TRACING__ENABLED": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={self.secrets['traces']}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        self.said: list[str] = []

    async def start(self, *words: str, output: Any) -> asyncio.subprocess.Process:
        command = (sys.executable, "-m", "stoker", *words)
        return await asyncio.create_subprocess_exec(
            *command, cwd=self.folder, env=self.env, stdout=output, stderr=output
        )

    async def key(self, name: str) -> str:
        process = await self.start(
            "keys", "create", name, "--scope", "admin", output=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(PATIENCE):
            out, _ = await process.communicate()
        return next(word for word in out.decode().split() if word.startswith("stk_"))

    async def look(self) -> list[str]:
        """Return all that the commands for people print."""
        told = []
        for words in COMMANDS:
            process = await self.start(*words, output=asyncio.subprocess.PIPE)
            async with asyncio.timeout(PATIENCE):
                out, err = await process.communicate()
            text = out.decode() + err.decode()
            assert "Usage" not in text, text
            told.append(text)
        return told

    @property
    def log(self) -> str:
        return (self.folder / "up.log").read_text(encoding="utf-8")

    def address(self) -> str:
        found = re.search(r"Stoker is up: (http://[^/\s]+)", self.log)
        return found[1] if found else ""


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_no_secret_comes_out_again(tmp_path: Path, store: str) -> None:
    with Collector() as collector:
        await _no_secret_comes_out(Town(tmp_path, store, collector.url), collector)


async def _no_secret_comes_out(town: Town, collector: Collector) -> None:
    key, wrong = await town.key("root"), "stk_" + "0" * 16 + "_" + secrets.token_hex(32)
    with (town.folder / "up.log").open("wb") as log:
        up = await town.start("up", "--port", "0", "--workers", "1", output=log)
    try:
        await wait_until(town.address, "the server prints its address", timeout=PATIENCE)
        async with httpx2.AsyncClient(base_url=town.address(), timeout=PATIENCE) as http:
            login = await _use(http, town, key, wrong)
        arguments = _arguments(up.pid)
        assert len(arguments) >= 3
        printed = await town.look()
        await wait_until(
            lambda: "span-of-the-shop" in collector.text and "process default" in collector.text,
            "the spans of the worker and of its child",
            timeout=PATIENCE,
        )
    finally:
        up.terminate()
        async with asyncio.timeout(PATIENCE):
            await up.wait()
    found = [*town.said, *arguments, *printed, town.log, collector.text]
    hidden = {
        **town.secrets,
        "key": key.rpartition("_")[2],
        "wrong": wrong.rpartition("_")[2],
        "login": login.rpartition("_")[2],
        "password": PASSWORD,
        "quoted password": PASSWORD.replace(" ", "%20"),
        "other password": PASSWORD.replace(" ", "+"),
    }
    lines = [json.loads(line) for line in town.log.splitlines() if line.startswith("{")]
    told = {line["message"]: line for line in lines if line["logger"] == "shop"}
    assert set(told) == {"this job will fail", "this job ends in a process"}
    assert all(line["job_id"] and line["attempt"] for line in told.values())
    for word in ("amqp://", "stoker_jobs", "sqlite:" if "sqlite" in town.store else "postgresql:"):
        assert any(word in text for text in found), word
    for name, secret in hidden.items():
        assert [text[:300] for text in found if secret in text] == [], name


async def _use(http: httpx2.AsyncClient, town: Town, key: str, wrong: str) -> str:
    """Do what people do, right and wrong, and keep what is said; return the log-in's cookie."""
    shown = {"authorization": f"Bearer {key}"}
    body = {"task": "fail", "payload": {"card": town.secrets["payload"]}}

    async def state_of(place: str) -> str:
        return str((await http.get(place, headers=shown)).json()["state"])

    for task, end in (("apart", "completed"), ("fail", "dead_letter")):

        async def submitted(task: str = task) -> str:
            answer = await http.post(
                "/api/v1/jobs", json={**body, "task": task, "max_retries": 0}, headers=shown
            )
            town.said.append(answer.text if answer.status_code != 201 else "")
            return str(answer.json().get("id", ""))

        job_id = await wait_until(submitted, "the worker announced its task", timeout=PATIENCE)

        async def has_ended(place: str = f"/api/v1/jobs/{job_id}", end: str = end) -> bool:
            return await state_of(place) == end

        await wait_until(has_ended, f"the job {task} is {end}", timeout=PATIENCE)
    for path in READ:
        for headers in ({}, {"x-api-key": wrong}, shown):
            answer = await http.get(path, headers=headers)
            town.said += [answer.text, str(answer.headers)]
    bad = await http.post("/api/v1/jobs", json={**body, "priority": "x"}, headers=shown)
    unknown = await http.post("/api/v1/jobs", json={**body, "task": "nobody"}, headers=shown)
    logged_in = await http.post("/login", json={"key": key})
    town.said += [bad.text, unknown.text, logged_in.text]
    return str(logged_in.cookies["stoker_login"])


def _arguments(pid: int) -> list[str]:
    """Return the command lines of a process and of all that it started."""
    parent = psutil.Process(pid)
    return [" ".join(one.cmdline()) for one in (parent, *parent.children(recursive=True))]
