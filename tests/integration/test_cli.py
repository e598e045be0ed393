"""The command line as a person uses it: real processes on a real file."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import apsw
import pytest

from stoker.app.stoker import Stoker
from stoker.core.job import JobRecord, SessionInfo
from stoker.core.lifecycle import State
from stoker.core.records import QueueInfo
from stoker.testing import wait_until

T = TypeVar("T")

pytestmark = pytest.mark.slow

PATIENCE = 30.0

SHOUT = """
def run(payload):
    return payload["text"].upper()
"""
FAIL = """
max_retries = 0
def run(payload):
    raise ValueError("no good: \\x1b[2J")
"""
GATE = """
import threading
from pathlib import Path
from stoker.core.context import current_job

def run(payload):
    job = current_job()
    Path(payload["began"]).touch()
    while not Path(payload["gate"]).exists():
        job.check_cancelled()
        threading.Event().wait(0.01)
    return "through"
"""
HANG = """
import threading
timeout = "200ms"
max_retries = 0

def run(payload):
    threading.Event().wait()
"""
LOG = """
from stoker.core.context import current_job

def run(payload):
    job = current_job()
    job.log("packing %d things", 3)
    job.progress(0.5, "half way")
    job.log("done")
"""


class Ended:
    """A command that ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        """Keep what it said."""
        self.code = code
        self.out = out
        self.err = err


class Place:
    """A folder with a store, a jobs folder, and the processes that run there."""

    def __init__(self, folder: Path) -> None:
        """Lay the folder out."""
        self.folder = folder
        self.store = f"sqlite:///{folder / 'stoker.db'}"
        (folder / "jobs").mkdir()
        for name, text in {
            "shout": SHOUT,
            "fail": FAIL,
            "gate": GATE,
            "hang": HANG,
            "talk": LOG,
        }.items():
            (folder / "jobs" / f"{name}.py").write_text(text, encoding="utf-8")
        inherited = dict(os.environ)  # noqa: TID251 - handed on to the commands
        # Unbuffered, Python loses what a pipe did not take, and so the news that it is closed.
        inherited.pop("PYTHONUNBUFFERED", None)
        self.env = {
            **inherited,
            "STOKER_STORE": self.store,
            "STOKER_KEEPER__INTERVAL": "100ms",
            "STOKER_WORKER__BEAT": "500ms",
        }

    async def start(self, *words: str, **more: Any) -> asyncio.subprocess.Process:
        """Start a command."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stoker", *words),
            cwd=self.folder,
            env=self.env,
            **more,
        )

    async def call(self, *words: str, stdin: bytes | None = None) -> Ended:
        """Run a command to its end."""
        pipe = asyncio.subprocess.PIPE
        process = await self.start(*words, stdin=pipe, stdout=pipe, stderr=pipe)
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate(stdin)
        return Ended(process.returncode or 0, out.decode(), err.decode())

    async def json(self, *words: str) -> Any:
        """Run a command with --json and return its answer."""
        ended = await self.call(*words, "--json")
        assert ended.code == 0, ended.err
        return json.loads(ended.out)

    @asynccontextmanager
    async def running(self, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a command beside the block; what is left of it afterwards is killed."""
        log = (self.folder / f"{words[0]}.log").open("ab")
        with log:
            process = await self.start(*words, stdout=log, stderr=log)
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    @asynccontextmanager
    async def worker(self, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a worker that is at work when the block begins."""
        before = {session.id for session in await self.sessions()}
        async with self.running("worker", *words) as process:

            async def joined() -> bool:
                return bool({session.id for session in await self.sessions()} - before)

            await until(joined, "the worker has joined")
            yield process

    async def ends(self, process: asyncio.subprocess.Process) -> int:
        """Wait for a process to end by itself; return its exit code."""
        async with asyncio.timeout(PATIENCE):
            return await process.wait()

    async def sessions(self) -> list[SessionInfo]:
        """Return the living workers."""
        async with Stoker(self.store) as app:
            return await app.arun(lambda store: store.sessions())

    async def job(self, job_id: str) -> JobRecord:
        """Return a job."""
        async with Stoker(self.store) as app:
            return await (await app.aget(job_id)).arecord()

    async def queues(self) -> list[QueueInfo]:
        """Return the queues."""
        async with Stoker(self.store) as app:
            return await app.arun(lambda store: store.queues())

    async def until_state(self, job_id: str, *states: State) -> JobRecord:
        """Wait until a job is in one of the states."""

        async def look() -> JobRecord | None:
            job = await self.job(job_id)
            return job if job.state in states else None

        job = await until(look, f"the job is {' or '.join(states)}")
        assert job is not None
        return job

    async def send_gate(self, name: str) -> str:
        """Send a job that runs until the file ``gate`` appears, and wait until it runs."""
        began = self.folder / name
        words = ("send", "gate", f"began={began}", f"gate={self.folder / 'gate'}")
        ended = await self.call(*words)
        await wait_until(began.exists, "the job has begun", timeout=PATIENCE)
        return ended.out.strip()

    def open_gate(self) -> None:
        """Let the jobs at the gate end."""
        (self.folder / "gate").touch()


async def until(look: Callable[[], Awaitable[T]], description: str) -> T:
    """Wait until an async look finds something."""
    return await wait_until(look, description, timeout=PATIENCE)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_a_job_goes_round_trip_and_its_result_is_printed(place: Place) -> None:
    async with place.worker():
        ended = await place.call("send", "shout", "text=hi", "--wait")
    assert (ended.code, ended.out) == (0, '"HI"\n')
    assert "completed" in ended.err


async def test_a_failed_job_ends_with_1_and_its_traceback(place: Place) -> None:
    async with place.worker():
        ended = await place.call("send", "fail", "--wait")
        as_json = await place.call("send", "fail", "--wait", "--json")
        dead = await place.json("dlq", "ls", "--group-by", "error")
        status = await place.call("status")
    assert (ended.code, ended.out) == (1, "")
    assert "ValueError: no good: \\x1b[2J" in ended.err
    assert "Traceback" in ended.err
    assert as_json.code == 1
    assert json.loads(as_json.out)["state"] == "dead_letter"
    assert dead["groups"][0]["count"] == 2
    assert status.code == 1
    assert "2 jobs died" in status.out


async def test_the_lines_of_a_job_are_printed(place: Place) -> None:
    async with place.worker():
        job_id = (await place.call("send", "talk")).out.strip()
        followed = await place.call("jobs", "logs", "--follow", job_id)
    once = await place.call("jobs", "logs", job_id)
    assert [line.split("  ")[2] for line in followed.out.splitlines()] == [
        "packing 3 things",
        "done",
    ]
    assert once.out == followed.out


async def test_sigterm_lets_a_running_job_end_and_gives_back_what_waits(place: Place) -> None:
    async with place.worker("--concurrency", "1", "--name", "w1") as worker:
        running = await place.send_gate("one")
        waiting = (await place.call("send", "shout", "text=hi")).out.strip()
        worker.send_signal(signal.SIGTERM)
        await wait_until(lambda: "drains" in (place.folder / "worker.log").read_text(), "it drains")
        place.open_gate()
        assert await place.ends(worker) == 0
    assert (await place.job(running)).state is State.COMPLETED
    assert (await place.job(waiting)).state is State.QUEUED
    assert await place.sessions() == []


async def test_a_second_sigterm_interrupts_and_gives_back_what_runs(place: Place) -> None:
    async with place.worker() as worker:
        running = await place.send_gate("one")
        worker.send_signal(signal.SIGTERM)
        await wait_until(lambda: "drains" in (place.folder / "worker.log").read_text(), "it drains")
        worker.send_signal(signal.SIGTERM)
        assert await place.ends(worker) == 0
    job = await place.job(running)
    assert (job.state, job.attempt, job.failed) == (State.QUEUED, 0, 0)


async def test_a_worker_takes_only_the_queues_that_it_was_given(place: Place) -> None:
    async with place.worker("-q", "mail:2", "--concurrency", "3"):
        [session] = await place.sessions()
        other = (await place.call("send", "shout", "text=a")).out.strip()
        mail = await place.call("send", "shout", "text=b", "--queue", "mail", "--wait")
    assert (session.queues, session.concurrency) == (("mail",), 3)
    assert mail.code == 0
    assert (await place.job(other)).state is State.QUEUED


async def test_a_worker_with_a_hanging_thread_is_replaced(place: Place) -> None:
    async with place.worker("--name", "w1") as worker:
        [before] = await place.sessions()
        hung = (await place.call("send", "hang")).out.strip()
        await place.until_state(hung, State.DEAD_LETTER)

        async def replaced() -> bool:
            return any(s.id != before.id and s.pid == worker.pid for s in await place.sessions())

        await until(replaced, "the process was replaced")
        ended = await place.call("send", "shout", "text=hi", "--wait")
        assert ended.out == '"HI"\n'


async def test_a_worker_that_is_told_to_stop_ends(place: Place) -> None:
    async with place.worker("--name", "w1") as worker:
        told = await place.call("workers", "stop", "w1")
        assert told.out == "told w1 to drain\n"
        assert await place.ends(worker) == 0


async def test_ctrl_c_while_waiting_ends_with_130_and_the_job_goes_on(place: Place) -> None:
    pipe = asyncio.subprocess.PIPE
    waiting = await place.start("send", "shout", "text=a", "--wait", stdout=pipe, stderr=pipe)
    assert waiting.stderr is not None
    async with asyncio.timeout(PATIENCE):
        first = await waiting.stderr.readline()
        waiting.send_signal(signal.SIGINT)
        _, rest = await waiting.communicate()
    assert waiting.returncode == 130
    job_id = first.split()[0].decode()
    assert f"the job goes on: stoker jobs show {job_id}" in rest.decode()
    assert (await place.job(job_id)).state is State.QUEUED


async def test_a_keeper_alone_fires_schedules_and_ends_at_sigterm(place: Place) -> None:
    await place.call("schedules", "add", "beat", "--every", "1s", "shout", "text=tick")
    async with place.running("keeper") as keeper:

        async def fired() -> int:
            return sum(sum(queue.counts.values()) for queue in await place.queues())

        await until(fired, "the schedule fired")
        keeper.send_signal(signal.SIGTERM)
        assert await place.ends(keeper) == 0
    jobs = (await place.json("jobs", "ls"))["jobs"]
    assert {job["schedule"] for job in jobs} == {"beat"}


async def test_a_fleet_in_the_background_is_started_looked_at_and_stopped(place: Place) -> None:
    words = ("fleet", "start", "-n", "2", "--name", "crew", "-q", "default", "-q", "mail")
    found = await place.json(*words)
    try:
        assert found["is_running"] is True
        assert {s["name"] for s in found["sessions"]} == {"crew-1", "crew-2"}
        assert {tuple(sorted(s["queues"])) for s in found["sessions"]} == {("default", "mail")}
        for session in found["sessions"]:
            assert "sqlite" not in _words_of(session["pid"])
        again = await place.call(*words)
        assert again.code == 1
        assert "runs already" in again.err
        status = await place.call("fleet", "status", "--name", "crew")
        assert status.code == 0
        assert "2 of 2 workers at work" in status.out
        ended = await place.call("send", "shout", "text=hi", "--wait")
        assert ended.out == '"HI"\n'
    finally:
        stopped = await place.call("fleet", "stop", "--name", "crew")
    assert stopped.code == 0
    assert "has drained" in stopped.out
    assert (await place.call("fleet", "status", "--name", "crew")).code == 1
    assert (await place.call("fleet", "stop", "--name", "crew")).code == 2
    assert await place.sessions() == []


async def test_the_store_of_the_command_line_reaches_the_workers_of_a_fleet(
    place: Place,
) -> None:
    del place.env["STOKER_STORE"]
    words = ("--store", place.store)
    async with place.running("fleet", "--min", "1", *words) as fleet:
        await until(place.sessions, "the worker has joined")
        ended = await place.call("send", "shout", "text=hi", "--wait", *words)
        assert ended.out == '"HI"\n'
        fleet.send_signal(signal.SIGINT)
        assert await place.ends(fleet) == 0
    assert await place.sessions() == []


def _words_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")


def _get(url: str) -> int:
    host = url.removeprefix("http://").partition("/")[0]
    connection = http.client.HTTPConnection(host, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("GET", url)
        return connection.getresponse().status


async def _url(place: Place, log: str, word: str) -> str:
    """Return the address that a starting server prints."""

    def look() -> str:
        text = (place.folder / log).read_text(encoding="utf-8")
        line = next((line for line in text.splitlines() if word in line), "")
        return line[line.index("http://") :].split('"')[0].split(",")[0].rstrip("/") if line else ""

    return await wait_until(look, "the server prints its address", timeout=PATIENCE)


async def test_up_runs_everything_and_ends_at_sigterm(place: Place) -> None:
    async with place.running("up", "--port", "0", "--workers", "2") as up:
        url = await _url(place, "up.log", "Stoker is up")
        assert await asyncio.to_thread(_get, f"{url}/health") == 200
        ended = await place.call("send", "shout", "text=hi", "--wait")
        assert ended.out == '"HI"\n'
        assert await asyncio.to_thread(_get, f"{url}/api/v1/stats") == 200
        up.send_signal(signal.SIGTERM)
        assert await place.ends(up) == 0
    assert await place.sessions() == []
    assert "shout" in (place.folder / "up.log").read_text(encoding="utf-8")


async def test_two_servers_on_one_port_are_one_too_many(place: Place) -> None:
    async with place.running("server", "--port", "0", "--no-keeper") as server:
        url = await _url(place, "server.log", "server listens on")
        port = url.rpartition(":")[2]
        for verb in ("server", "up"):
            second = await place.call(verb, "--port", port)
            assert second.code == 1
            assert "[port_in_use]" in second.err
            assert "--port" in second.err
        server.send_signal(signal.SIGTERM)
        assert await place.ends(server) == 0


async def test_a_server_for_other_machines_must_be_asked_for(place: Place) -> None:
    ended = await place.call("server", "--host", "0.0.0.0", "--port", "0")  # noqa: S104 - refused
    assert ended.code == 2
    assert "--insecure" in ended.err


@pytest.mark.parametrize(
    "words", [("jobs", "ls"), ("worker",), ("server", "--port", "0"), ("up", "--port", "0")]
)
async def test_a_file_that_is_no_database_is_refused_and_left_alone(
    place: Place, words: tuple[str, ...]
) -> None:
    file = place.folder / "letter.db"
    file.write_text("Dear Anna, " * 100, encoding="utf-8")
    ended = await place.call(*words, "--store", f"sqlite:///{file}")
    assert ended.code == 3
    assert "[not_a_store]" in ended.err
    assert file.read_text(encoding="utf-8").startswith("Dear Anna, ")


async def test_a_database_of_a_newer_version_is_refused(place: Place) -> None:
    await place.call("send", "shout", "text=a")
    connection = apsw.Connection(str(place.folder / "stoker.db"))
    connection.pragma("user_version", 9_999)
    connection.close()
    ended = await place.call("jobs", "ls")
    assert ended.code == 3
    assert "[schema_mismatch]" in ended.err
    assert "Upgrade Stoker" in ended.err


@pytest.mark.parametrize("url", ["sqlite:////proc/stoker.db", "sqlite:////nowhere/at/all.db"])
async def test_a_folder_that_cannot_be_written_is_refused(place: Place, url: str) -> None:
    ended = await place.call("send", "shout", "text=a", "--store", url)
    assert ended.code == 3
    assert ended.err.count("\n") == 1


async def test_bench_runs_in_the_source_tree_only(place: Place) -> None:
    ended = await place.call("bench")
    assert ended.code == 2
    assert "source tree" in ended.err


async def test_the_shell_completes_commands(place: Place) -> None:
    place.env |= {
        "_STOKER_COMPLETE": "bash_complete",
        "COMP_WORDS": "stoker sche",
        "COMP_CWORD": "1",
    }
    assert (await place.call()).out == "plain,schedules\n"


async def test_fleets_and_up_refuse_a_store_that_lives_in_one_process(place: Place) -> None:
    for words in (("fleet",), ("fleet", "start"), ("up",)):
        ended = await place.call(*words, "--store", "memory://")
        assert ended.code == 2
        assert "lives in one process" in ended.err


async def test_a_closed_pipe_ends_a_listing_without_a_word(place: Place) -> None:
    await place.call("generate", "--jobs", "2000", "--rate", "100000/s")
    pipe = asyncio.subprocess.PIPE
    listing = await place.start("jobs", "ls", "--limit", "2000", stdout=pipe, stderr=pipe)
    assert listing.stdout is not None
    assert listing.stderr is not None
    async with asyncio.timeout(PATIENCE):
        await listing.stdout.readline()
        transport: Any = listing.stdout._transport  # type: ignore[attr-defined]
        transport.close()
        said = await listing.stderr.read()
        code = await listing.wait()
    assert said == b""
    assert code == 141


async def test_generated_jobs_end_as_they_should(place: Place) -> None:
    async with place.worker():
        ended = await place.call(
            *("generate", "--jobs", "20", "--rate", "1000/s", "--fail", "0.2", "--seconds", "0.01"),
            *("--wait", "--json"),
        )
    assert ended.code == 0
    assert json.loads(ended.out) == {"completed": 18, "dead_letter": 2}


async def test_send_test_completes_a_job_of_each_quick_kind(place: Place) -> None:
    async with place.worker():
        jobs = (await place.json("send-test"))["jobs"]
    assert {job["state"] for job in jobs} == {"completed"}
    assert len(jobs) >= 5


async def test_a_workflow_is_waited_for(place: Place) -> None:
    flow = {
        "name": "loud",
        "jobs": [
            {"name": "a", "task": "shout", "payload": {"text": "x"}},
            {"name": "b", "task": "shout", "payload": {"text": {"$output": "a"}}},
        ],
    }
    async with place.worker():
        ended = await place.call(
            "workflows", "submit", "-", "--wait", stdin=json.dumps(flow).encode()
        )
    assert ended.code == 0
    assert "is completed: 2 completed" in ended.err


async def test_followed_events_print_what_happens_later(place: Place) -> None:
    await place.call("send", "shout", "text=a")
    pipe = asyncio.subprocess.PIPE
    follower = await place.start("events", "--follow", "--json", stdout=pipe, stderr=pipe)
    assert follower.stdout is not None
    try:
        await place.call("queues", "pause", "default")
        async with asyncio.timeout(PATIENCE):
            event = json.loads(await follower.stdout.readline())
        assert event["kind"] == "queue_paused"
    finally:
        follower.send_signal(signal.SIGINT)
    assert await place.ends(follower) == 130


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, place: Place, words: tuple[str, ...]) -> None:
        """Prepare a command."""
        self._place = place
        self._words = words
        self.text = ""

    async def run(self, until: Callable[[str], bool], keys: bytes = b"") -> int:
        """Run it; press keys once it printed what is waited for; return its exit code."""
        ours, theirs = os.openpty()
        process = await self._place.start(*self._words, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        loop = asyncio.get_running_loop()

        def read() -> None:
            try:
                self.text += os.read(ours, 65_536).decode(errors="replace")
            except OSError:
                loop.remove_reader(ours)

        loop.add_reader(ours, read)
        try:
            await wait_until(lambda: until(self.text), "the screen", timeout=PATIENCE)
            os.write(ours, keys)
            return await self._place.ends(process)
        finally:
            loop.remove_reader(ours)
            os.close(ours)


async def test_a_terminal_gets_colours_and_whole_ids(place: Place) -> None:
    job_id = (await place.call("send", "shout", "text=a")).out.strip()
    place.env |= {"TERM": "xterm-256color", "COLUMNS": "80"}
    terminal = Terminal(place, ("jobs", "ls"))
    assert await terminal.run(lambda text: "task" in text) == 0
    assert "\x1b[" in terminal.text
    assert job_id in terminal.text


async def test_top_shows_the_system_and_q_ends_it(place: Place) -> None:
    await place.call("send", "shout", "text=a")
    place.env |= {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    terminal = Terminal(place, ("top",))
    assert await terminal.run(lambda text: "q ends" in text, keys=b"q") == 0
    assert "Queues" in terminal.text
    assert "no worker runs" in terminal.text


async def test_a_question_is_asked_on_a_terminal(place: Place) -> None:
    await place.call("send", "shout", "text=a")
    words = ("queues", "purge", "default")
    no = await Terminal(place, words).run(lambda text: "[y/N]" in text, keys=b"n\n")
    assert no == 1
    assert len((await place.json("jobs", "ls"))["jobs"]) == 1
    yes = await Terminal(place, words).run(lambda text: "[y/N]" in text, keys=b"y\n")
    assert yes == 0
    assert (await place.json("jobs", "ls"))["jobs"] == []
