"""Hosts with addresses of their own, and cables between them that can be pulled.

`Namespaces` are real ones, as far as one kernel goes: each host is a network namespace with its own
address and name, on a bridge in a further namespace, and a cable is pulled by taking the bridge's
end of it down. That takes rights that not every machine gives; `missing_right` says which.

`Cables` need no rights: all hosts are this one, each reaches the server at a loopback address of
its own, and what goes through is held up while the cable is pulled, as a network that loses packets
holds up what TCP sends again later.
"""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol

SERVER = "server"
WORKERS = ("alpha", "beta")
_REFUSED = ("Operation not permitted", "Permission denied", "Read-only file system")


class Network(Protocol):
    """A server and hosts that reach it.

    Attributes:
        what: How it is made, for the test's report.
        has_names: Whether each host has a name of its own.
    """

    what: str
    has_names: bool

    def addresses(self) -> Sequence[str]:
        """Return every address at which the server is reached."""
        ...

    def listens_at(self) -> str:
        """Return the address at which the server is to listen."""
        ...

    def reaches(self, host: str, port: int) -> str:
        """Return ``address:port`` of the server as a host reaches it."""
        ...

    def command(self, host: str, words: Sequence[str]) -> list[str]:
        """Return the command that runs another one on a host, as the same process."""
        ...

    async def connect(self, port: int) -> None:
        """Lay the cables to the server's port."""
        ...

    def cut(self, host: str) -> None:
        """Pull the cable of a host."""
        ...

    def join(self, host: str) -> None:
        """Plug it in again."""
        ...


def missing_right() -> str:
    """Return the right that this process lacks for namespaces; empty if it has them.

    Raises:
        AssertionError: It has the rights, and the tools are not there.
    """
    words = ("/usr/bin/env", "unshare", "--net", "--uts", "true")
    tried = subprocess.run(words, capture_output=True, check=False)
    said = tried.stderr.decode(errors="replace").strip()
    if tried.returncode:
        assert any(word in said for word in _REFUSED), f"no namespace could be made: {said}"
        return said
    assert shutil.which("ip", path=_PATH), (
        "this machine may make network namespaces and has no program `ip`: run "
        "scripts/install-servers (Debian: iproute2)"
    )
    name = f"stoker-try-{os.getpid()}"
    tried = subprocess.run([*_IP, "netns", "add", name], capture_output=True, check=False)
    said = tried.stderr.decode(errors="replace").strip()
    subprocess.run([*_IP, "netns", "del", name], capture_output=True, check=False)
    if tried.returncode:
        assert any(word in said for word in _REFUSED), f"ip netns add failed: {said}"
        return said
    return ""


_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_IP = ("/usr/bin/env", f"PATH={_PATH}", "ip")


class Namespaces:
    """Hosts as network namespaces."""

    what = "network namespaces"
    has_names = True

    def __init__(self) -> None:
        """Name them after this process, so that two runs do not meet."""
        self._mark = f"stk{os.getpid() % 100_000}"
        self._hosts = (SERVER, *WORKERS)

    def build(self) -> None:
        """Make the hosts, the bridge and the cables."""
        switch = self._space("switch")
        self._ip("netns", "add", switch)
        self._ip("-n", switch, "link", "add", "br0", "type", "bridge")
        self._ip("-n", switch, "link", "set", "br0", "up")
        for number, host in enumerate(self._hosts, 1):
            space = self._space(host)
            self._ip("netns", "add", space)
            self._ip(
                *("link", "add", "eth0", "netns", space, "type", "veth"),
                *("peer", "name", host, "netns", switch),
            )
            self._ip("-n", switch, "link", "set", host, "master", "br0", "up")
            self._ip("-n", space, "addr", "add", f"{self._address(number)}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                self._ip("-n", space, "link", "set", device, "up")

    def tear_down(self) -> None:
        """Take all of it away, however much of it was made."""
        for host in (*self._hosts, "switch"):
            subprocess.run(
                [*_IP, "netns", "del", self._space(host)], capture_output=True, check=False
            )

    def addresses(self) -> Sequence[str]:
        """See `Network.addresses`."""
        return [self.listens_at()]

    def listens_at(self) -> str:
        """See `Network.listens_at`."""
        return self._address(1)

    def reaches(self, host: str, port: int) -> str:
        """See `Network.reaches`."""
        del host
        return f"{self.listens_at()}:{port}"

    def command(self, host: str, words: Sequence[str]) -> list[str]:
        """See `Network.command`. Each step becomes the next one: it stays one process."""
        named = 'hostname "$0" && exec "$@"'
        return [
            *(*_IP, "netns", "exec", self._space(host), "unshare", "--uts"),
            *("sh", "-c", named, host, *words),
        ]

    async def connect(self, port: int) -> None:
        """See `Network.connect`: they are laid."""
        del port

    def cut(self, host: str) -> None:
        """See `Network.cut`."""
        self._ip("-n", self._space("switch"), "link", "set", host, "down")

    def join(self, host: str) -> None:
        """See `Network.join`."""
        self._ip("-n", self._space("switch"), "link", "set", host, "up")

    def _space(self, host: str) -> str:
        return f"{self._mark}-{host}"

    def _address(self, number: int) -> str:
        return f"10.213.77.{number}"

    def _ip(self, *words: str) -> None:
        done = subprocess.run([*_IP, *words], capture_output=True, check=False)
        assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.decode()}"


class Cables:
    """Hosts that are all this one, each with a cable that can be pulled."""

    what = "loopback addresses, each behind a proxy that holds up what goes through"
    has_names = False

    def __init__(self) -> None:
        """Plug in every cable."""
        self._open = {host: asyncio.Event() for host in WORKERS}
        self._servers: dict[str, asyncio.Server] = {}
        self._flows: list[asyncio.Task[None]] = []
        for gate in self._open.values():
            gate.set()

    def addresses(self) -> Sequence[str]:
        """See `Network.addresses`."""
        return ["127.0.0.1", *(self._address(host) for host in WORKERS)]

    def listens_at(self) -> str:
        """See `Network.listens_at`."""
        return "127.0.0.1"

    def reaches(self, host: str, port: int) -> str:
        """See `Network.reaches`."""
        del port
        return f"{self._address(host)}:{self._servers[host].sockets[0].getsockname()[1]}"

    def command(self, host: str, words: Sequence[str]) -> list[str]:
        """See `Network.command`."""
        del host
        return list(words)

    async def connect(self, port: int) -> None:
        """See `Network.connect`."""
        for host in WORKERS:
            taken = partial(self._take, host, port)
            self._servers[host] = await asyncio.start_server(taken, self._address(host), 0)

    def cut(self, host: str) -> None:
        """See `Network.cut`."""
        self._open[host].clear()

    def join(self, host: str) -> None:
        """See `Network.join`."""
        self._open[host].set()

    async def close(self) -> None:
        """Hang up."""
        for server in self._servers.values():
            server.close()
        for flow in self._flows:
            flow.cancel()
        await asyncio.gather(*self._flows, return_exceptions=True)

    def _take(
        self, host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        # It ends when either side hangs up; `close` awaits it.
        self._flows.append(asyncio.create_task(self._carry(host, port, reader, writer)))  # noqa: TID251

    async def _carry(
        self, host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await self._open[host].wait()
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(
                self._flow(host, reader, there_writer), self._flow(host, there_reader, writer)
            )
        finally:
            for end in (writer, there_writer):
                end.close()

    async def _flow(
        self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                await self._open[host].wait()
                writer.write(data)
                await writer.drain()
        await self._open[host].wait()
        writer.close()

    def _address(self, host: str) -> str:
        return f"127.0.0.{11 + WORKERS.index(host)}"


@asynccontextmanager
async def namespaces() -> AsyncIterator[Namespaces]:
    """Give hosts that are network namespaces."""
    network = Namespaces()
    try:
        network.build()
        yield network
    finally:
        network.tear_down()


@asynccontextmanager
async def cables() -> AsyncIterator[Cables]:
    """Give hosts that need no rights."""
    network = Cables()
    try:
        yield network
    finally:
        await network.close()
