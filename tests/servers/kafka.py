"""Apache Kafka for tests: one node that is broker and controller, of a small heap."""

import atexit
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.servers.server import Server, accepts, free_port

_SCRIPT = Path(__file__).parents[2] / "scripts" / "install-kafka"
_JAVA = (
    "-Xmx256m",
    "-Xss512k",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Xshare:auto",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
)
_CLUSTER = "MkU3OEVBNTcwNTJENDM2Qg"


class KafkaServer(Server):
    """One Kafka server; with ``security``, what clients meet asks for TLS or a password."""

    name = "kafka"

    def __init__(self, *, scheme: str = "PLAINTEXT", **settings: str) -> None:
        """Prepare a server and format its storage.

        Args:
            scheme: The security protocol that clients meet, such as ``"SASL_SSL"``.
            settings: More settings of the server, with ``__`` for ``.`` in their names.
        """
        super().__init__()
        controller = free_port()
        self._settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "CLIENTS",
            "listeners": f"CLIENTS://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"CLIENTS://127.0.0.1:{self.port}",
            "listener.security.protocol.map": f"CLIENTS:{scheme},CONTROLLER:PLAINTEXT",
            "log.dirs": str(self.folder / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": "1",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            # Nobody waits for a second member before the first one may work.
            "group.initial.rebalance.delay.ms": "0",
            # One that was killed may come back as soon as its old self counts as gone.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "group.min.session.timeout.ms": "1000",
            "group.consumer.min.heartbeat.interval.ms": "500",
            "group.consumer.heartbeat.interval.ms": "500",
            **{name.replace("__", "."): value for name, value in settings.items()},
        }
        self._file.write_text("".join(f"{key}={value}\n" for key, value in self._settings.items()))
        subprocess.run(
            _java("kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(self._file)),
            check=True,
            capture_output=True,
            cwd=self.folder,
        )

    @property
    def _file(self) -> Path:
        return self.folder / "server.properties"

    @property
    def url(self) -> str:
        """Where it is, for a broker."""
        return f"kafka://127.0.0.1:{self.port}/"

    def command(self) -> list[str]:
        """See `Server.command`."""
        return _java("kafka.Kafka", str(self._file))

    def is_ready(self) -> bool:
        """Whether the server answers; one that asks for TLS or a password: whether it listens."""
        if not accepts(self.port):
            return False
        if ":PLAINTEXT," not in self._settings["listener.security.protocol.map"]:
            return True
        try:
            return bool(self.administrator().list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    def administrator(self, more: Mapping[str, str | int] | None = None) -> AdminClient:
        """Return a client that may make and look at everything."""
        return AdminClient(
            {"bootstrap.servers": f"127.0.0.1:{self.port}", "log_level": 0, **(more or {})}
        )


@cache
def shared_server() -> KafkaServer:
    """Return the server that all tests of this process share: nobody kills or pauses it."""
    server = KafkaServer()
    atexit.register(server.close)
    server.start()
    return server


def _java(*words: str) -> list[str]:
    home = _home()
    jars = sorted(str(jar) for jar in (home / "jars").glob("*.jar"))
    # The archive was made with exactly this list, in the order in which the shell sorts it.
    archive = f"-XX:SharedArchiveFile={home / 'classes.jsa'}"
    return ["java", *_JAVA, archive, "-cp", ":".join(jars), *words]


@cache
def _home() -> Path:
    answer = subprocess.run([_SCRIPT, "--where"], check=True, capture_output=True, text=True)
    home = Path(answer.stdout.strip())
    if not home.is_dir() or shutil.which("java") is None:
        raise RuntimeError(f"there is no Kafka in {home}; run scripts/install-servers")
    return home
