"""Options, messages and exit codes: those of `stoker worker`, as far as there are the same."""

import asyncio
import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from stoker.cli.main import cli
from tests.servers.server import free_port
from tests.workers_c.conftest import Desk
from tests.workers_c.program import PROGRAM, c_worker, environment, plugin, run
from tests.workers_c.scripted import scripted

NOWHERE = "tcp://127.0.0.1:9"


def refused(*words: str, **variables: str) -> str:
    """Run it with words that it cannot take; return what it says."""
    done = run(*words, **variables)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    return done.stderr


def test_it_names_the_options_of_the_python_worker_alike() -> None:
    command = cli.get_command(click.Context(cli), "worker")
    assert command is not None
    known = {
        option
        for parameter in command.params
        for option in [*parameter.opts, *parameter.secondary_opts]
    }
    shown = set(re.findall(r"(--?[a-z][a-z-]*)\b", run("--help").stdout))
    missing = known - shown
    # What has no meaning without Python: its tasks, a broker, a file of configuration, an election.
    assert missing == {"--app", "--jobs", "--broker", "--config", "--keeper"}


def test_the_reference_has_each_option_and_variable_of_the_program() -> None:
    page = (PROGRAM.parents[3] / "docs" / "reference" / "c-worker.md").read_text()
    table = page[page.index("## Options") : page.index("## Exit codes")]
    shown = run("--help").stdout
    wanted = set(re.findall(r"(--[a-z-]+)", shown))
    assert wanted == set(re.findall(r"`(--[a-z-]+)`", table))
    assert set(re.findall(r"STOKER_[A-Z_]+", shown)) == set(re.findall(r"STOKER_[A-Z_]+", table))
    codes = re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
    header = (PROGRAM.parents[1] / "src" / "exits.h").read_text()
    assert codes == re.findall(r"= (\d+),? ", header)


def test_it_lists_the_tasks_of_its_plugins() -> None:
    done = run("--plugin", str(plugin()), "--plugin", str(plugin("shapes")), "--list")
    assert done.returncode == 0
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert lines["trial.spin"][:2] == ["process", "trials"]
    assert lines["shape.square"][:2] == ["thread", "shapes"]
    assert list(lines) == sorted(lines)


def test_it_tries_a_task_without_a_server() -> None:
    words = ("--plugin", str(plugin("shapes")), "--try", "shape.square")
    done = run(*words, text='{"side": 3}')
    assert (done.returncode, done.stdout) == (0, '{"area":9.0}\n')
    failed = run(*words, text='{"side": -3}')
    assert failed.returncode == 1
    assert json.loads(failed.stderr)["error"] == {
        "code": "discarded",
        "type": "ValueError",
        "message": "side is -3; expected 0 or more",
    }
    assert run(*words, text="[3]").returncode == 2
    assert run(*words, text="").returncode == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--colour", "red"), "there is no option --colour"),
        (("--concurrency", "0"), "--concurrency is '0'; expected a number from 1 to 10000"),
        (("--concurrency",), "--concurrency needs a value"),
        (("-q", "mail:many"), "expected QUEUE or QUEUE:N, such as mail:5"),
        (("--lease", "soon"), "--lease is 'soon'"),
        (("worker",), "'worker' is no option"),
        (("--token", "secret"), "put it into STOKER_TOKEN"),
        (("--store", NOWHERE), "the worker has no tasks; load some with --plugin"),
        (("--plugin", "./nothing.so"), "the plugin cannot be loaded"),
        (("--plugin", "nothing.so"), "write ./NAME for one in this folder"),
    ],
)
def test_a_wrong_word_is_said_to_be_one(words: tuple[str, ...], message: str) -> None:
    assert message in refused(*words)


def test_plugins_that_cannot_be_used_say_why() -> None:
    assert "was compiled for version 2 of stoker_worker.h, and this worker has version 1" in (
        refused("--plugin", str(plugin("other_abi")))
    )
    assert "could not be opened: the model file is missing" in (
        refused("--plugin", str(plugin("not_opened")))
    )
    twice = refused("--plugin", str(plugin()), "--plugin", str(plugin()))
    assert "brings the task trial.nothing, which trials brings already" in twice
    assert "is no plugin" in refused("--plugin", "libm.so.6")


def test_a_store_that_is_none_of_a_gateway_is_refused() -> None:
    loaded = ("--plugin", str(plugin("shapes")))
    assert "expected tcp:// or tls://" in refused(*loaded, STOKER_STORE="sqlite:///jobs.db")
    assert "expected tcp:// or tls://" in refused(*loaded)
    assert "STOKER_WORKER__LEASE is 'soon'" in refused(*loaded, STOKER_WORKER__LEASE="soon")


def test_a_server_that_is_not_there_is_told_as_python_tells_it() -> None:
    url = f"tcp://127.0.0.1:{free_port()}"
    ours = run("--store", url, "--plugin", str(plugin("shapes")), "--log-level", "error")
    theirs = subprocess.run(
        [sys.executable, "-m", "stoker", "worker", "--store", url],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert (ours.returncode, theirs.returncode) == (3, 3)
    assert ours.stderr == re.sub(r"\[Errno \d+\] ", "", theirs.stderr)


async def test_logs_are_json_for_programs_and_text_on_demand(desk: Desk) -> None:
    async with c_worker(desk.folder, desk.url) as worker:
        await worker.says("began session")
        assert await worker.drain() == 0
    lines = [json.loads(line) for line in worker.said.splitlines()]
    assert {line["level"] for line in lines} == {"info"}
    assert lines[-1]["message"] == "worker press ended: drained"
    async with c_worker(desk.folder, desk.url, "--log-format", "text", name="plain") as worker:
        await worker.says("began session")
        assert await worker.drain() == 0
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} info    worker\.c: worker plain starts", worker.said)


async def test_its_session_says_what_it_is_and_can(desk: Desk) -> None:
    words = ("--queue", "print:2", "--concurrency", "7")
    async with c_worker(desk.folder, desk.url, *words) as worker:
        await worker.says("began session")
        [info] = await desk.jobs.store.sessions()
        assert await worker.drain() == 0
    assert (info.name, info.kind, info.concurrency) == ("press", "c", 7)
    assert info.pid == worker.process.pid
    assert list(info.queues) == ["print"]
    assert "trial.nothing" in info.tasks
    [left] = await desk.jobs.store.sessions(ended=True)
    assert left.state == "left"


async def test_settings_come_from_the_environment_as_for_python(desk: Desk) -> None:
    async with c_worker(
        desk.folder,
        "tcp://127.0.0.1:9",
        STOKER_WORKER__CONCURRENCY="3",
        STOKER_WORKER__QUEUES="a=2,b",
        _STOKER_COMMAND_LINE=json.dumps({"worker.concurrency": 5, "store": "tcp://127.0.0.1:8"}),
    ) as worker:
        assert await worker.ended() == 3
    assert "5 jobs at once" in worker.said
    assert "tcp://127.0.0.1:9" in worker.said


async def test_it_tells_a_supervisor_that_it_is_ready_and_when_it_stops(
    desk: Desk, tmp_path: Path
) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    class Ear(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            heard.put_nowait(data)

    line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    line.bind(str(tmp_path / "notify"))
    line.setblocking(False)  # noqa: FBT003 - the socket's own word
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Ear, sock=line)
    variables = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
    async with c_worker(desk.folder, desk.url, env=variables) as worker:
        words = [await heard.get() for _ in range(4)]
        assert words[0] in {b"READY=1", b"WATCHDOG=1"}
        assert words.count(b"WATCHDOG=1") >= 2
        assert await worker.drain() == 0
        while words[-1] != b"STOPPING=1":
            async with asyncio.timeout(10):
                words.append(await heard.get())
    transport.close()


async def test_a_token_is_shown_to_the_server_and_to_nobody_else(tmp_path: Path) -> None:
    secret = "a-token-of-sixteen-letters"
    async with scripted() as gateway:
        async with c_worker(tmp_path, gateway.url, STOKER_TOKEN=secret) as worker:
            [hello] = await gateway.is_asked("hello")
            assert hello["token"] == secret
            assert await worker.drain() == 0
        with_url = f"tcp://{secret}@127.0.0.1:{gateway.port}"
        async with c_worker(tmp_path, with_url, "--log-level", "debug", name="other") as other:
            hellos = await gateway.is_asked("hello", 2)
            assert hellos[1]["token"] == secret
            assert await other.drain() == 0
    assert secret not in worker.said + other.said
    assert hello["client"].endswith(f":{worker.process.pid}")


def test_the_program_stands_where_the_documents_say() -> None:
    assert run("--version").stdout.startswith("stoker-worker-c ")
    assert PROGRAM.relative_to(PROGRAM.parents[3]).as_posix() == "workers/c/build/stoker-worker-c"
