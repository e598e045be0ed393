"""PostgreSQL for tests: one server for a whole session of tests, an empty schema for each test."""

import atexit
import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlencode

import psutil  # type: ignore[import-untyped]
import psycopg
from psycopg import sql

from stoker.stores.postgres.schema import migrations
from tests.servers.server import Server

PASSWORD = "in tests only"
ROLES = Path(__file__).parents[2] / "deploy" / "postgres" / "roles.sql"
GONE_WITHIN = 10.0
"""Seconds in which what was killed is gone: the next server shares no memory with the dead."""
_SAFE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres(Server):
    """One PostgreSQL server.

    Attributes:
        durable: Whether it syncs to the disk. Those that nobody kills need not.
    """

    name = "postgres"
    user: str | None = "postgres"

    def __init__(self, *, durable: bool = True, **settings: str) -> None:
        super().__init__()
        self.durable = durable
        self._settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "max_connections": "200",
            "shared_buffers": "256MB",
            "max_wal_size": "4GB",
            "log_min_messages": "warning",
            **(_SAFE if durable else _FAST),
            **settings,
        }
        self.own_folder()
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        subprocess.run(
            [
                _program("initdb"),
                f"--pgdata={self.data}",
                "--username=stoker",
                f"--pwfile={secret}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                *(() if durable else ("--no-sync",)),
            ],
            check=True,
            capture_output=True,
            user=self.account(),
            cwd=self.folder,
        )

    @property
    def data(self) -> Path:
        """The folder of its databases."""
        return self.folder / "data"

    def command(self) -> list[str]:
        """Return the command line that starts the server in the foreground."""
        options = [f"--{name.replace('_', '-')}={value}" for name, value in self._settings.items()]
        return [_program("postgres"), "-D", str(self.data), *options]

    def is_ready(self) -> bool:
        """Whether the server answers."""
        with contextlib.suppress(psycopg.Error):
            self.connect().close()
            return True
        return False

    def connect(self, user: str = "stoker") -> "psycopg.Connection[tuple[object, ...]]":
        """Return a connection that commits by itself."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=user,
            password=PASSWORD,
            dbname="postgres",
            autocommit=True,
            connect_timeout=5,
        )

    def url(
        self,
        schema: str = "stoker",
        *,
        user: str = "stoker",
        password: str = PASSWORD,
        **options: object,
    ) -> str:
        """Return the URL of a store in a schema of this server."""
        secret = password.replace(" ", "%20")
        given = urlencode({"schema": schema, **options})
        return f"postgresql://{user}:{secret}@127.0.0.1:{self.port}/postgres?{given}"

    def give_file(self, name: str, content: bytes) -> None:
        """Put a file into the data folder, readable by the server alone."""
        file = self.data / name
        file.write_bytes(content)
        file.chmod(0o600)
        account = self.account()
        if account is not None:
            shutil.chown(file, account)

    def stop(self) -> None:
        """Stop the server as an operator would who does not wait for its clients."""
        self._end(signal.SIGINT)

    def _signal(self, number: signal.Signals) -> None:
        # Each of its children leads a process group of its own. One that outlives the server
        # would keep the next one from starting; one that goes on makes a pause a lie.
        children: list[psutil.Process] = []
        if self.process is not None and number is not signal.SIGINT:
            if number is signal.SIGKILL:
                # One that it starts between the look and the end would be nobody's.
                super()._signal(signal.SIGSTOP)
            with contextlib.suppress(psutil.NoSuchProcess):
                children = psutil.Process(self.process.pid).children(recursive=True)
        super()._signal(number)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(number)
        if number is signal.SIGKILL:
            _until_gone(children)

    def drop(self, schema: str) -> None:
        """Delete a schema with all that is in it."""
        with self.connect() as db:
            db.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))

    def grant_least(self, schema: str) -> str:
        """Make a schema with the roles of a deployment; return the prefix of their names.

        ``PREFIX_owner`` may change the layout, ``PREFIX_worker`` jobs only.
        """
        prefix = f"stoker_{schema}"
        text = ROLES.read_text("utf-8").replace("stoker_", f"{prefix}_")
        text = text.replace("SCHEMA stoker ", f"SCHEMA {schema} ").replace(
            "SCHEMA stoker\n", f"SCHEMA {schema}\n"
        )
        with self.connect() as db:
            db.execute(text.encode())
            for role in ("owner", "worker", "reader"):
                db.execute(f"ALTER ROLE {prefix}_{role} PASSWORD '{PASSWORD}'".encode())
        return prefix


class Schemas:
    """Schemas of one server that are handed out empty, and emptied when they come back."""

    def __init__(self, server: Postgres, *, least: bool = False) -> None:
        """Begin without any.

        Args:
            server: Which runs.
            least: Lend them to a role that may change jobs and nothing else, as a deployment does.
        """
        self._server = server
        self._least = least
        self._free: list[str] = []
        self._made = 0
        self._db = server.connect()

    @contextlib.contextmanager
    def borrow(self) -> Iterator[str]:
        """Lend the URL of an empty store: one that was never made, or one that was emptied."""
        name = self._free.pop() if self._free else self._make()
        user = f"stoker_{name}_worker" if self._least else "stoker"
        try:
            yield self._server.url(name, user=user)
        finally:
            self._empty(name)
            self._free.append(name)

    def _make(self) -> str:
        self._made += 1
        name = f"{'least' if self._least else 'test'}_{self._made}"
        if self._least:
            prefix = self._server.grant_least(name)
            with self._server.connect(f"{prefix}_owner") as db:
                # The schema is there, and its owner need not be able to make others.
                make = f'CREATE SCHEMA IF NOT EXISTS "{name}";'
                for migration in migrations(name):
                    db.execute(migration.up.replace(make, "").encode())
        return name

    def close(self) -> None:
        """Let go of the server."""
        self._db.close()

    def _empty(self, name: str) -> None:
        rows = self._db.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s"
            " AND tablename NOT IN ('layout', 'identity')",
            (name,),
        ).fetchall()
        # A few small tables are emptied faster by DELETE than by TRUNCATE, which makes new files.
        parts = [
            sql.SQL("DELETE FROM {}").format(sql.Identifier(name, str(table))) for (table,) in rows
        ]
        if parts:
            self._db.execute(sql.SQL("; ").join(parts))


@cache
def shared_server() -> Postgres:
    """Return the server that all tests of this process share: nobody kills or pauses it."""
    server = Postgres(durable=False)
    atexit.register(server.close)
    server.start()
    return server


@cache
def shared_schemas() -> Schemas:
    """Return the schemas of the shared server."""
    schemas = Schemas(shared_server())
    atexit.register(schemas.close)
    return schemas


@cache
def least_schemas() -> Schemas:
    """Return schemas of the shared server whose users have no more rights than they need."""
    schemas = Schemas(shared_server(), least=True)
    atexit.register(schemas.close)
    return schemas


def _until_gone(processes: list[psutil.Process]) -> None:
    """Wait until processes that were killed hold nothing any more, reaped or not."""
    deadline = time.monotonic() + GONE_WITHIN
    while time.monotonic() < deadline and any(_holds_memory(one) for one in processes):
        psutil.wait_procs(processes, timeout=0.01)


def _holds_memory(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _program(name: str) -> str:
    # Debian keeps the programs of each version apart, and only some of them on the path.
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=_version)
    if not found:
        raise RuntimeError(f"there is no {name}; run scripts/install-servers")
    return str(found[-1])


def _version(program: Path) -> int:
    return int(program.parents[1].name)
