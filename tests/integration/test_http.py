"""A real server, a real worker and a real client, over a real SQLite store."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from stoker.app.running import build_keeper, build_worker, keeping
from stoker.app.stoker import Stoker
from stoker.core.context import current_job
from stoker.core.errors import InvalidOption, PortInUse
from stoker.core.store import Store
from stoker.server import protocol
from stoker.server.run import Listener, listen, serve
from stoker.settings import KeeperSettings, Seconds, Settings, TaskSettings, WorkerSettings
from stoker.testing import wait_until

MAIL = {"to": "user@example.com", "subject": "Hello", "body": "Test"}
QUICK = {"backoff": "exponential", "base": "10ms", "cap": "50ms", "jitter": True}


def make_app(db_path: Path) -> Stoker:
    settings = Settings(
        store=f"sqlite:///{db_path}",
        tasks=TaskSettings(outbox=str(db_path.parent / "outbox")),
        worker=WorkerSettings(name="mill", concurrency=4, beat=Seconds(0.05)),
        keeper=KeeperSettings(interval=Seconds(0.05)),
    )
    app = Stoker(settings=settings)

    @app.task
    def shout(text: str) -> str:
        return text.upper()

    @app.task("total")
    def total(words: list[str]) -> int:
        return sum(len(word) for word in words)

    @app.task("step")
    async def step(count: int) -> str:
        job = current_job()
        for number in range(count):
            job.progress((number + 1) / count, f"step {number + 1}")
            job.log(f"did {number + 1}")
            await asyncio.sleep(0.05)
        return "done"

    return app


class Client:
    """Short words for what a client does."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    async def get(self, path: str) -> Any:
        answer = await self.http.get(f"/api/v1{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: Any = None, *, status: int = 201) -> Any:
        answer = await self.http.post(f"/api/v1{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def ended(self, job_id: str) -> Any:
        ends = {"completed", "dead_letter", "cancelled"}

        async def look() -> Any:
            job = await self.get(f"/jobs/{job_id}")
            return job if job["state"] in ends else None

        return await wait_until(look, f"the end of job {job_id}", timeout=60)


@asynccontextmanager
async def served(app: Stoker) -> AsyncIterator[Client]:
    stop, up = asyncio.Event(), asyncio.Event()
    listener = listen("127.0.0.1", 0)
    async with app, asyncio.TaskGroup() as group:
        running = serve(app, listener=listener, stop=stop, started=lambda _: up.set())
        group.create_task(running)
        await asyncio.wait_for(up.wait(), 30)
        try:
            async with httpx2.AsyncClient(base_url=listener.url, timeout=30) as http:
                yield Client(http)
        finally:
            stop.set()


@asynccontextmanager
async def working(app: Stoker) -> AsyncIterator[None]:
    async def same(store: Store) -> Store:
        return store

    store = await app.arun(same)
    worker = build_worker(app, store)
    async with keeping(build_keeper(app, store, name="mill")), asyncio.TaskGroup() as group:
        group.create_task(worker.run())
        try:
            yield
        finally:
            worker.stop()


@pytest.fixture
async def client(db_path: Path) -> AsyncIterator[Client]:
    app = make_app(db_path)
    async with served(app) as client, working(app):
        yield client


async def test_a_job_submitted_over_http_is_run_and_followed_to_its_end(client: Client) -> None:
    job = await client.post("/jobs", {"task": "step", "payload": {"count": 4}})
    events: list[tuple[str, Any]] = []
    async with client.http.stream("GET", f"/api/v1/jobs/{job['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        name = ""
        async for line in stream.aiter_lines():
            key, _, value = line.partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                events.append((name, json.loads(value)))
    assert events[0][0] == "job"
    assert [name for name, _ in events].count("end") == 1
    name, last = events[-1]
    assert (name, last["state"], last["result"]) == ("end", "completed", "done")
    assert [line["message"] for line in last["logs"]] == ["did 1", "did 2", "did 3", "did 4"]
    steps = [told["progress"] for name, told in events if name == "progress"]
    assert steps == sorted(steps)
    [attempt] = last["attempts"]
    assert (attempt["worker"], attempt["outcome"]) == ("mill", "completed")


async def test_the_job_of_the_issue_is_retried_then_a_dead_letter_then_replayed(
    client: Client,
) -> None:
    body = {
        "job_type": "send_email",
        "priority": "high",
        "payload": MAIL | {"failure_rate": 1.0},
        "max_retries": 3,
        "retry": QUICK,
    }
    job = await client.post("/jobs", body)
    dead = await client.ended(job["id"])
    assert (dead["state"], dead["attempt"], dead["priority"]) == ("dead_letter", 4, "high")
    assert [attempt["outcome"] for attempt in dead["attempts"]] == ["failed"] * 4
    [group] = (await client.get("/dead-letters?group_by=error"))["groups"]
    assert (group["count"], group["tasks"]) == (1, ["send_email"])
    answer = await client.post(f"/jobs/{job['id']}/retry", {"payload": MAIL}, status=200)
    assert answer["answer"] == "requeued"
    sent = await client.ended(job["id"])
    assert (sent["state"], sent["attempt"]) == ("completed", 5)


async def test_the_schedule_of_the_issue_is_made_and_run_by_hand(client: Client) -> None:
    body = {
        "name": "daily-report",
        "job_type": "send_email",
        "cron_expression": "0 9 * * *",
        "payload": MAIL,
        "priority": "medium",
    }
    made = await client.post("/scheduled-jobs", body)
    assert len(made["next_firings"]) == 10
    job = await client.post("/scheduled-jobs/daily-report/run")
    ended = await client.ended(job["id"])
    assert (ended["state"], ended["schedule"]) == ("completed", "daily-report")


async def test_a_schedule_fires_by_itself(client: Client) -> None:
    body = {"name": "tick", "task": "shout", "interval": 1, "payload": {"text": "tick"}}
    await client.post("/scheduled-jobs", body)

    async def fired() -> Any:
        return (await client.get("/jobs?schedule=tick&state=completed"))["jobs"]

    [job, *_] = await wait_until(fired, "a fired job has run", timeout=30)
    assert job["result"] == "TICK"


async def test_results_of_parents_reach_the_child_of_a_workflow(client: Client) -> None:
    outputs = [{"$output": "one"}, {"$output": "two"}]
    jobs = [
        {"name": "one", "task": "shout", "payload": {"text": "ab"}},
        {"name": "two", "task": "shout", "payload": {"text": "cde"}},
        {"name": "sum", "task": "total", "payload": {"words": outputs}},
    ]
    flow = await client.post("/workflows", {"name": "count", "jobs": jobs})
    last = await client.ended(flow["jobs"][-1]["id"])
    assert (last["node"], last["result"]) == ("sum", 5)
    assert (await client.get(f"/workflows/{flow['id']}"))["state"] == "completed"


async def test_a_running_job_is_cancelled_over_http(client: Client) -> None:
    job = await client.post("/jobs", {"task": "step", "payload": {"count": 10_000}})

    async def runs() -> bool:
        state = (await client.get(f"/jobs/{job['id']}"))["state"]
        return bool(state == "running")

    await wait_until(runs, "the job runs")
    explained = await client.get(f"/jobs/{job['id']}/explain")
    assert explained["blockers"] == []
    answer = await client.post(f"/jobs/{job['id']}/cancel", {"reason": "enough"}, status=200)
    assert answer["answer"] == "requested"
    assert (await client.ended(job["id"]))["state"] == "cancelled"


async def test_a_worker_that_is_removed_drains_and_leaves(client: Client) -> None:
    async def joined() -> bool:
        return bool((await client.get("/workers"))["workers"])

    await wait_until(joined, "the worker beats")
    answer = await client.http.delete("/api/v1/workers/mill")
    assert (answer.status_code, answer.json()["answer"]) == (202, "draining")

    async def left() -> bool:
        return not (await client.get("/workers"))["workers"]

    await wait_until(left, "the worker has left", timeout=30)
    job = await client.post("/jobs", {"task": "shout", "payload": {"text": "x"}})
    explained = await client.get(f"/jobs/{job['id']}/explain")
    assert [blocker["code"] for blocker in explained["blockers"]] == ["no_worker"]


async def test_the_head_of_a_page_comes_without_a_body(client: Client) -> None:
    head, page = await client.http.head("/jobs"), await client.http.get("/jobs")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == page.headers["content-length"]
    # The connection goes on: nothing was left on it.
    assert (await client.http.get("/health")).status_code == 200


async def test_many_clients_at_once_lose_nothing(client: Client) -> None:
    async def submit(number: int) -> str:
        body = {"task": "shout", "payload": {"text": f"n{number}"}}
        job_id: str = (await client.post("/jobs", body))["id"]
        return job_id

    ids = await asyncio.gather(*(submit(number) for number in range(60)))
    assert len(set(ids)) == 60
    for number, job_id in enumerate(ids):
        assert (await client.ended(job_id))["result"] == f"N{number}"
    assert (await client.get("/stats"))["states"]["completed"] == 60


def test_two_servers_on_one_port_get_a_clear_error(db_path: Path) -> None:
    first = listen("127.0.0.1", 0)
    try:
        with pytest.raises(PortInUse, match=rf"127.0.0.1:{first.port} already"):
            asyncio.run(serve(make_app(db_path), "127.0.0.1", first.port))
    finally:
        first.close()
    assert list(db_path.parent.iterdir()) == [], "the store was opened before the port was bound"


async def test_beyond_this_machine_a_server_does_not_start_by_accident(db_path: Path) -> None:
    with pytest.raises(InvalidOption, match="--insecure") as caught:
        await serve(make_app(db_path), "0.0.0.0", 0)  # noqa: S104
    assert "127.0.0.1" in caught.value.message
    listener = listen("0.0.0.0", 0, insecure=True)  # noqa: S104
    assert listener.url == f"http://127.0.0.1:{listener.port}"
    listener.close()


@pytest.mark.parametrize(
    ("host", "port"), [("no.such.host.invalid", 0), ("192.0.2.1", 0), ("127.0.0.1", 70_000)]
)
def test_an_address_that_is_not_ours_is_refused(host: str, port: int) -> None:
    with pytest.raises(InvalidOption):
        listen(host, port, insecure=True)


async def test_a_name_with_two_addresses_is_served_on_both(db_path: Path) -> None:
    listener = listen("localhost", 0)
    families = {one.family for one in listener.sockets}
    stop, up = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        app = make_app(db_path)
        group.create_task(serve(app, listener=listener, stop=stop, started=lambda _: up.set()))
        await asyncio.wait_for(up.wait(), 30)
        for address in [one.getsockname()[:2] for one in listener.sockets]:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            writer.close()
        stop.set()
    assert socket.AF_INET in families


async def test_a_stopping_server_ends_streams_and_closes_what_it_opened(db_path: Path) -> None:
    app = make_app(db_path)
    stop, up = asyncio.Event(), asyncio.Event()
    listener = listen("127.0.0.1", 0)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        serving = serve(app, listener=listener, stop=stop, started=lambda _: up.set())
        group.create_task(serving)
        await up.wait()
        assert app.is_open
        async with httpx2.AsyncClient(base_url=listener.url) as http:
            job = await Client(http).post("/jobs", {"task": "shout", "payload": {"text": "x"}})
            async with http.stream("GET", f"/api/v1/jobs/{job['id']}/events") as stream:
                lines = stream.aiter_lines()
                assert await anext(lines) == "event: job"
                stop.set()
                rest = [line async for line in lines]
        assert not any(line.startswith("event: end") for line in rest)
    assert not app.is_open


async def test_a_cancelled_server_still_closes_its_store(db_path: Path) -> None:
    app = make_app(db_path)
    up = asyncio.Event()
    serving = asyncio.create_task(  # noqa: TID251 - cancelled and awaited below
        serve(app, "127.0.0.1", 0, started=lambda _: up.set())
    )
    await asyncio.wait_for(up.wait(), 30)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert not app.is_open


async def test_an_app_that_its_caller_opened_stays_open(db_path: Path) -> None:
    app = make_app(db_path)
    async with app:
        stop = asyncio.Event()
        await serve(app, "127.0.0.1", 0, stop=stop, started=lambda _: stop.set())
        assert app.is_open
        assert await app.afind() == []


async def test_declared_schedules_are_put_into_the_store_by_the_server(db_path: Path) -> None:
    app = make_app(db_path)
    app.schedule("nightly", "0 3 * * *", await app.acall("shout", {"text": "x"}))
    async with served(app) as client:
        [schedule] = (await client.get("/scheduled-jobs"))["schedules"]
    assert schedule["name"] == "nightly"


async def talk(listener: Listener, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return answer


@asynccontextmanager
async def bare(db_path: Path) -> AsyncIterator[Listener]:
    stop, up = asyncio.Event(), asyncio.Event()
    listener = listen("127.0.0.1", 0)
    async with asyncio.TaskGroup() as group:
        serving = serve(make_app(db_path), listener=listener, stop=stop, started=lambda _: up.set())
        group.create_task(serving)
        await asyncio.wait_for(up.wait(), 30)
        try:
            yield listener
        finally:
            stop.set()


async def test_what_is_not_http_gets_an_error_of_the_one_shape(db_path: Path) -> None:
    async with bare(db_path) as listener:
        for nonsense in (b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET \xff HTTP/1.1\r\n\r\n"):
            answer = await talk(listener, nonsense)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400")
            assert json.loads(body)["error"]["code"] == "bad_request"


async def test_a_head_without_end_is_cut_off(db_path: Path) -> None:
    async with bare(db_path) as listener:
        lines = b"".join(b"x-%d: %s\r\n" % (number, b"y" * 1_000) for number in range(80))
        answer = await talk(listener, b"GET /health HTTP/1.1\r\n" + lines)
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"too big" in answer


async def test_a_client_that_says_nothing_is_hung_up_on(
    db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)
    async with bare(db_path) as listener:
        assert await talk(listener, b"") == b""
        assert await talk(listener, b"GET /health HTTP/1.1\r\nhost: loc") == b""


async def test_two_requests_on_one_line_are_both_answered(
    db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    request = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
    last = request.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    async with bare(db_path) as listener:
        answer = await talk(listener, request + last)
        assert answer.count(b'{"status":"alive"') == 2
