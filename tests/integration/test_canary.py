"""A secret in every place that takes one, and in a payload: none of them comes out again (S15).

Looked through: what the processes say, the lines of their arguments, and every page, list, metric
and event that somebody may read who was never told the secret.
"""

import asyncio
import os
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil  # type: ignore[import-untyped]
import pytest

from stoker.testing import wait_until
from tests.servers.postgres import PASSWORD, shared_schemas

PATIENCE = 60.0
TASK = """
max_retries = 0
def run(payload):
    raise ValueError("no good")
"""
READ = (
    "/", "/docs", "/openapi.json", "/metrics", "/health", "/ready", "/nowhere",
    "/api/v1/settings", "/api/v1/events", "/api/v1/overview", "/api/v1/stats", "/api/v1/workers",
    "/api/v1/queues", "/api/v1/tasks", "/api/v1/api-keys", "/api/v1/me", "/api/v1/activity",
    "/api/v1/dead-letters?group_by=error", "/api/v1/jobs/none",
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


class Town:
    """One system: its environment, its folder, and what it said."""

    def __init__(self, folder: Path, store: str) -> None:
        self.folder = folder
        self.secrets = {
            name: canary(name) for name in ("token", "worker", "client", "encrypt", "payload")
        }
        (folder / "jobs").mkdir()
        (folder / "jobs" / "fail.py").write_text(TASK, encoding="utf-8")
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

    @property
    def log(self) -> str:
        return (self.folder / "up.log").read_text(encoding="utf-8")

    def address(self) -> str:
        found = re.search(r"Stoker is up: (http://[^/\s]+)", self.log)
        return found[1] if found else ""


@pytest.mark.slow
async def test_no_secret_comes_out_again(tmp_path: Path, store: str) -> None:
    town = Town(tmp_path, store)
    key, wrong = await town.key("root"), "stk_" + "0" * 16 + "_" + secrets.token_hex(32)
    with (tmp_path / "up.log").open("wb") as log:
        up = await town.start("up", "--port", "0", "--workers", "1", output=log)
    try:
        await wait_until(town.address, "the server prints its address", timeout=PATIENCE)
        async with httpx2.AsyncClient(base_url=town.address(), timeout=PATIENCE) as http:
            login = await _use(http, town, key, wrong)
        arguments = _arguments(up.pid)
        assert len(arguments) >= 2
    finally:
        up.terminate()
        async with asyncio.timeout(PATIENCE):
            await up.wait()
    found = [*town.said, *arguments, town.log]
    hidden = {
        **town.secrets,
        "key": key.rpartition("_")[2],
        "wrong": wrong.rpartition("_")[2],
        "login": login.rpartition("_")[2],
        "password": PASSWORD,
        "quoted password": PASSWORD.replace(" ", "%20"),
        "other password": PASSWORD.replace(" ", "+"),
    }
    assert '"level":"' in town.log.replace(" ", "")
    for name, secret in hidden.items():
        assert [text[:300] for text in found if secret in text] == [], name


async def _use(http: httpx2.AsyncClient, town: Town, key: str, wrong: str) -> str:
    """Do what people do, right and wrong, and keep what is said; return the log-in's cookie."""
    shown = {"authorization": f"Bearer {key}"}
    body = {"task": "fail", "payload": {"card": town.secrets["payload"]}}

    async def submitted() -> str:
        answer = await http.post("/api/v1/jobs", json=body, headers=shown)
        town.said.append(answer.text if answer.status_code != 201 else "")
        return str(answer.json().get("id", ""))

    job_id = await wait_until(submitted, "the worker announced its task", timeout=PATIENCE)
    place = f"/api/v1/jobs/{job_id}"

    async def is_dead() -> bool:
        return bool((await http.get(place, headers=shown)).json()["state"] == "dead_letter")

    await wait_until(is_dead, "the job failed for good", timeout=PATIENCE)
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
