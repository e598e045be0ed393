"""Real servers for tests: each on a free loopback port, with its own data folder, stopped by pid.

A server that cannot be had fails the test: nothing is skipped. `scripts/install-servers` installs
what is needed.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

STOP_WITHIN = 30.0
_LOWEST = 11_000
"""Ports below have owners, and browsers refuse some of them."""
_EPHEMERAL = 32_768


class Server(ABC):
    """One server process that can be killed, paused and started again on the same data.

    Attributes:
        port: Where it listens on 127.0.0.1; the same after a restart.
        folder: Its data and its log.
    """

    name = "server"
    user: str | None = None
    """The account to run as when the tests run as root and the server refuses that."""
    start_within = 60.0
    """Seconds that it may take to start, on a busy machine."""

    def __init__(self) -> None:
        self.port = free_port()
        # Under /tmp, because some servers keep Unix sockets beside their data, and their paths
        # are short; and because another account must be able to reach it.
        self.folder = Path(tempfile.mkdtemp(prefix=f"stoker-{self.name}-"))
        self.folder.chmod(0o755)
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line that starts the server in the foreground."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the server answers."""

    def variables(self) -> dict[str, str]:
        """Return what the server's environment has besides that of the tests."""
        return {}

    def start(self) -> None:
        """Start the server and wait until it answers."""
        log = (self.folder / "server.log").open("ab")
        self.process = subprocess.Popen(
            self.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **self.variables()},  # noqa: TID251 - handed on, not read
            cwd=self.folder,
            user=self.starter(),
            start_new_session=True,
        )
        log.close()
        deadline = time.monotonic() + self.start_within
        while not self.is_ready():
            if self._died_within(0.05) or time.monotonic() > deadline:
                tail = self.log_tail()
                self.kill()
                raise RuntimeError(f"{self.name} did not start on port {self.port}:\n{tail}")

    def stop(self) -> None:
        """Stop the server as an operator would, and kill it if it does not obey."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the server and everything it started, at once."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start the server again on the same data and port, after `stop` or `kill`."""
        self.start()

    def pause(self) -> None:
        """Freeze the server: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen server go on."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill the server and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it and remove its folder."""
        self.close()

    def log_tail(self, size: int = 4_000) -> str:
        """Return the end of the server's log."""
        file = self.folder / "server.log"
        return file.read_text(errors="replace")[-size:] if file.exists() else ""

    def account(self) -> str | None:
        """Return the account to run as; None: whoever runs the tests."""
        return self.user if os.geteuid() == 0 else None

    def starter(self) -> str | None:
        """Return the account that starts it; the command may change to `account` by itself."""
        return self.account()

    def own_folder(self) -> None:
        """Give the folder to the server's account."""
        account = self.account()
        if account is not None:
            shutil.chown(self.folder, account)

    def _died_within(self, seconds: float) -> bool:
        if self.process is None:
            return True
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def _end(self, number: signal.Signals) -> None:
        process = self.process
        if process is None:
            return
        self._signal(number)
        self._signal(signal.SIGCONT)
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            process.wait()
        # What the server itself started may outlive it; it shares the process group.
        self._signal(signal.SIGKILL)
        self.process = None


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now.

    Not one of those that the system gives to whoever connects somewhere: a connection could have it
    before the server does, or while the server is down. And by real chance: tests that run beside
    each other have the same seed.
    """
    span = Path("/proc/sys/net/ipv4/ip_local_port_range")
    end = max(int(span.read_text().split()[0]) if span.exists() else 0, _EPHEMERAL)
    while True:
        number = _LOWEST + secrets.randbelow(end - _LOWEST)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", number))
            return number


def accepts(port: int) -> bool:
    """Whether somebody accepts connections on that port."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
