"""What a combination of engines consists of: its servers, and the URLs by which they are found."""

import contextlib
import http.client
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.combinations.herd import configuration
from tests.servers.server import Server, free_port

TOKEN = "for whatever looks and submits"
WORKER_TOKEN = "for whatever runs jobs"


@dataclass
class Site:
    """One combination.

    Attributes:
        name: As the support table has it: ``"redis"``, ``"tcp:// over sqlite"``.
        store: URL of the store itself, for the judge.
        door: URL by which jobs are submitted and called off.
        entrance: URL that the workers are given.
        faults: Kind of fault to how often it happens in a run.
        servers: The servers that can be killed, by the name that faults use.
        broker: URL of the broker, for whoever submits and for the workers.
    """

    name: str
    store: str
    door: str = ""
    entrance: str = ""
    faults: dict[str, int] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)
    broker: str = ""

    def __post_init__(self) -> None:
        """Without a gateway everybody opens the store itself."""
        self.door = self.door or self.store
        self.entrance = self.entrance or self.store


class Gateway(Server):
    """A ``stoker server`` with its gateway, in a process of its own."""

    name = "gateway"

    def __init__(self, store: str) -> None:
        """Prepare a server before a store."""
        super().__init__()
        self._http = free_port()
        config = configuration(store, app="")
        config += f'[gateway]\ntoken = "{TOKEN}"\nworker_token = "{WORKER_TOKEN}"\n'
        (self.folder / "stoker.toml").write_text(config)

    def command(self) -> list[str]:
        """See `Server.command`."""
        ports = ("--port", str(self._http), "--gateway-port", str(self.port))
        return [sys.executable, "-m", "stoker", "server", *ports]

    def is_ready(self) -> bool:
        """See `Server.is_ready`. The port is taken, and calls wait there, before the store is open.

        A server that finds its store away in that moment ends, for its supervisor to start again.
        """
        asking = http.client.HTTPConnection("127.0.0.1", self._http, timeout=5)
        with contextlib.closing(asking), contextlib.suppress(OSError):
            asking.request("GET", "/ready")
            return asking.getresponse().status == http.HTTPStatus.OK
        return False

    def url(self, token: str, folder: Path) -> str:
        """Return the URL for a client with that token, which is kept in a file in a folder."""
        file = folder / f"token-{len(token)}"
        file.write_text(token)
        file.chmod(0o600)
        return f"tcp://127.0.0.1:{self.port}?token_file={file}"


@contextmanager
def with_broker(behind: Site, scheme: str, server: Server, url: str) -> Iterator[Site]:
    """Put a broker in front of a site: whoever submits rings it, and the workers listen to it."""
    with server:
        yield Site(
            name=f"{behind.name} + {scheme}",
            store=behind.store,
            faults={**behind.faults, "kill broker": 2, "pause broker": 1},
            servers={**behind.servers, "broker": server},
            broker=url,
        )


@contextmanager
def behind_gateway(behind: Site, folder: Path) -> Iterator[Site]:
    """Put a server before a site: workers know its address and their token, nothing else."""
    gateway = Gateway(behind.store)
    try:
        gateway.start()
        yield Site(
            name=f"tcp:// over {behind.name}",
            store=behind.store,
            door=gateway.url(TOKEN, folder),
            entrance=gateway.url(WORKER_TOKEN, folder),
            faults={**behind.faults, "kill gateway": 2},
            servers={**behind.servers, "gateway": gateway},
        )
    finally:
        gateway.close()
