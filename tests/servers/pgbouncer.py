"""PgBouncer for tests: between a client and a PostgreSQL server, on a port of its own."""

import atexit
import contextlib
import shutil
from functools import cache

import psycopg

from tests.servers.postgres import PASSWORD, Postgres, shared_server
from tests.servers.server import Server

_LEFT_BEHIND = """
    SELECT pg_listening_channels(), NULL
    UNION ALL SELECT name, statement FROM pg_prepared_statements
    UNION ALL SELECT name, setting FROM pg_settings
              WHERE source = 'session' AND name <> 'application_name'"""


class PgBouncer(Server):
    """A pooler before a server."""

    name = "pgbouncer"
    user: str | None = "postgres"

    def __init__(self, behind: Postgres, *, pool_mode: str, connections: int = 10) -> None:
        """Prepare a pooler.

        Args:
            behind: The server, which must run.
            pool_mode: ``transaction``: each transaction gets another connection; or ``session``.
            connections: To the server, at the most.
        """
        super().__init__()
        self.behind = behind
        self.own_folder()
        (self.folder / "users.txt").write_text(f'"stoker" "{PASSWORD}"\n')
        (self.folder / "pgbouncer.ini").write_text(
            "[databases]\n"
            f"postgres = host=127.0.0.1 port={behind.port}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {self.folder}/users.txt\n"
            f"pool_mode = {pool_mode}\nmax_client_conn = 500\ndefault_pool_size = {connections}\n"
            "ignore_startup_parameters = extra_float_digits\n"
            # It asks before it uses a connection again, each time: whatever lets its answer reach
            # a client shows at once, not after half a minute without work.
            "server_check_delay = 0\n"
        )

    def command(self) -> list[str]:
        """See `Server.command`."""
        found = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
        if found is None:
            raise RuntimeError("there is no pgbouncer; run scripts/install-servers")
        return [found, str(self.folder / "pgbouncer.ini")]

    def is_ready(self) -> bool:
        """See `Server.is_ready`."""
        with contextlib.suppress(psycopg.Error):
            self._connect().close()
            return True
        return False

    def _connect(self) -> psycopg.Connection[tuple[str, str | None]]:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="stoker",
            password=PASSWORD,
            dbname="postgres",
            connect_timeout=5,
        )

    def left_behind(self) -> list[tuple[str, str | None]]:
        """Return what a connection to the server, of one that is there, was told for good."""
        with self._connect() as line:
            return line.execute(_LEFT_BEHIND, prepare=False).fetchall()

    def url(self, schema: str = "stoker") -> str:
        """Return the URL of a store in a schema of the server behind."""
        through = self.behind.url(schema, prepare="off")
        return through.replace(f":{self.behind.port}/", f":{self.port}/")


@cache
def shared_pooler() -> PgBouncer:
    """Return the pooler that all tests of this process share, before the shared server."""
    pooler = PgBouncer(shared_server(), pool_mode="transaction")
    atexit.register(pooler.close)
    pooler.start()
    return pooler
