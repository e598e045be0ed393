"""What a supervisor of services sees: systemd's protocol, exit codes, signals, arguments."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from stoker.settings import Supervision, supervision

pytestmark = pytest.mark.slow

PATIENCE = 30.0
COMMANDS = {
    "server": ("server", "--port", "0"),
    "worker": ("worker",),
    "keeper": ("keeper",),
    "fleet": ("fleet", "--min", "1", "--max", "1"),
}
Process = subprocess.Popen[bytes]


class Site:
    """A folder with a store, and the services that run there."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.variables = {
            **os.environ,  # noqa: TID251 - handed on to the services
            "STOKER_STORE": f"sqlite:///{folder / 'stoker.db'}",
            "STOKER_WORKER__BEAT": "300ms",
            "STOKER_WORKER__LEASE": "2s",
        }
        self._stack = stack

    def start(self, *words: str, prefix: tuple[str, ...] = (), **variables: str) -> Process:
        """Start a command, whose log lines go into a file."""
        log = self._stack.enter_context((self.folder / "log").open("ab"))
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "stoker", *words],
            cwd=self.folder,
            env={**self.variables, **variables},
            stdout=log,
            stderr=log,
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def call(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "stoker", *words],
            cwd=self.folder,
            env={**self.variables, **variables},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def lines(self) -> list[str]:
        """Return what the services wrote."""
        return (self.folder / "log").read_text().splitlines()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


@contextmanager
def ear(name: str) -> Iterator[Callable[[str], None]]:
    """Listen where a supervisor does; the function waits until it heard a word."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(name)
        line.settimeout(PATIENCE)

        def hear(word: str) -> None:
            while line.recv(1_024).decode() != word:
                pass

        yield hear


@pytest.mark.parametrize("command", COMMANDS)
def test_a_service_says_that_it_is_ready_that_it_lives_and_that_it_ends(
    command: str, site: Site
) -> None:
    name = str(site.folder / "notify")
    with ear(name) as hear:
        process = site.start(*COMMANDS[command], NOTIFY_SOCKET=name, WATCHDOG_USEC="400000")
        hear("READY=1")
        hear("WATCHDOG=1")
        hear("WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        hear("STOPPING=1")
    assert process.wait(PATIENCE) == 0
    # Nobody reads a terminal here: every line is one JSON object.
    assert all("level" in json.loads(line) for line in site.lines())
    assert site.lines() or command == "fleet"  # which speaks when a worker does not come up


def test_an_abstract_socket_is_understood(site: Site) -> None:
    name = f"stoker-test-{os.getpid()}"
    with ear(f"\0{name}") as hear:
        process = site.start("keeper", NOTIFY_SOCKET=f"@{name}")
        hear("READY=1")
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_a_worker_is_healthy_as_long_as_it_beats(site: Site) -> None:
    assert site.call("workers", "check").returncode == 1
    away = {"STOKER_STORE": "redis://127.0.0.1:1/0"}
    assert site.call("workers", "check", **away).returncode == 3
    assert site.call("workers", "check", "--ignore-outage", **away).returncode == 0
    name = str(site.folder / "notify")
    with ear(name) as hear:
        process = site.start("worker", "--name", "encoder-1", NOTIFY_SOCKET=name)
        hear("READY=1")
        site.call("workers", "check")
        while site.call("workers", "check").returncode:
            assert process.poll() is None
        named = site.call("workers", "check", "encoder-*", "--json")
        assert (named.returncode, json.loads(named.stdout)["missing"]) == (0, [])
        stranger = site.call("workers", "check", "encoder-2", "--json")
        assert (stranger.returncode, json.loads(stranger.stdout)["missing"]) == (1, ["encoder-2"])
        process.send_signal(signal.SIGSTOP)
        while site.call("workers", "check").returncode == 0:
            assert process.poll() is None
        process.send_signal(signal.SIGCONT)
        process.terminate()
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_a_service_without_a_store_ends_with_3_and_no_traceback(command: str, site: Site) -> None:
    ended = site.call(*COMMANDS[command], STOKER_STORE="postgresql://eve:s3cret@127.0.0.1:1/jobs")
    assert ended.returncode == 3
    assert "unavailable" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "s3cret" not in ended.stdout + ended.stderr


def test_no_argument_of_a_child_holds_a_secret(site: Site) -> None:
    name = str(site.folder / "notify")
    store = f"{site.variables['STOKER_STORE']}?durability=fast"
    with ear(name) as hear:
        words = ("fleet", "--min", "1", "--max", "1", "--store", store)
        process = site.start(*words, NOTIFY_SOCKET=name, STOKER_TOKEN="s3cret-token")
        hear("READY=1")
        while site.call("workers", "check").returncode:
            assert process.poll() is None
        arguments = [_arguments(pid) for pid in _family(process.pid) if pid != process.pid]
        assert any("worker" in words for words in arguments)
        assert not any("s3cret" in words or "sqlite:" in words for words in arguments)
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_in_a_container_of_its_own_a_worker_drains_and_leaves_no_zombie(site: Site) -> None:
    """Process 1 is tini, as in the image: signals pass from the first moment on."""
    jobs = site.folder / "jobs"
    jobs.mkdir()
    (jobs / "orphan.py").write_text(
        "import subprocess\n"
        "def run(payload):\n"
        "    # The shell leaves at once, and what it started becomes an orphan.\n"
        "    subprocess.run(['/bin/sh', '-c', 'true & exit 0'], check=True)\n"
        "    return 'left'\n"
    )
    name = str(site.folder / "notify")
    inside = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "tini", "--")
    with ear(name) as hear:
        process = site.start("worker", prefix=inside, NOTIFY_SOCKET=name)
        hear("READY=1")
        assert json.loads(site.call("send", "orphan", "--wait").stdout) == "left"
        [tini] = [pid for pid in _family(process.pid) if _arguments(pid).startswith("tini")]
        states = [_state(pid) for pid in _family(tini)]
        assert "Z" not in states
        os.kill(tini, signal.SIGTERM)
        hear("STOPPING=1")
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Supervision()),
        ({"NOTIFY_SOCKET": ""}, Supervision()),
        ({"NOTIFY_SOCKET": "/run/n"}, Supervision("/run/n")),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "3000000"}, Supervision("@n", 3.0)),
        (
            {"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"},
            Supervision("@n", 3.0),
        ),
        (
            {"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"},
            Supervision("@n"),
        ),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "soon"}, Supervision("@n")),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "0"}, Supervision("@n")),
    ],
)
def test_what_a_supervisor_says_is_understood(
    variables: dict[str, str], expected: Supervision
) -> None:
    assert supervision(variables, pid=7) == expected


def _family(root: int) -> list[int]:
    """Return a process and all that it started."""
    found = [root]
    for pid in found:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        found += [int(child) for child in children]
    return found


def _arguments(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
