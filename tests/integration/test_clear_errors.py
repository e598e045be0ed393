"""What people are told when an engine is not as it should be: from the shell, and in Python.

Each on a real server. Whatever it is: the message names the store without its password, says what
to do, and no traceback is shown.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha512
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest
from click.testing import CliRunner
from cryptography import x509

from stoker.app.stoker import Stoker
from stoker.cli.main import cli
from stoker.core.errors import StokerError
from stoker.core.job import JobSpec
from stoker.stores.postgres import PostgresStore
from stoker.stores.redis.opening import LAYOUT
from stoker.testing import wait_until
from tests.gateway.certificates import Office
from tests.servers.disk import small_disk
from tests.servers.postgres import PASSWORD, Postgres, shared_server
from tests.servers.proxy import rewriting
from tests.servers.redis import RedisServer
from tests.servers.server import free_port

# Nothing that an engine could make small by compressing it.
BIG = b'{"fill": "' + b"".join(sha512(b"%d" % n).hexdigest().encode() for n in range(3_000)) + b'"}'
SECRETS = (PASSWORD, PASSWORD.replace(" ", "%20"), "s3cret")


def shell(url: str, *words: str, code: int = 3) -> dict[str, Any]:
    """Run a command on a store that does not serve, and return the error it tells."""
    result = CliRunner().invoke(cli, [*(words or ("jobs", "ls")), "--store", url, "--json"])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert not any(secret in result.output for secret in SECRETS)
    error: dict[str, Any] = json.loads(result.stderr.splitlines()[-1])["error"]
    return error


def python(url: str) -> StokerError:
    """Open a store that does not serve, and return the error that is raised."""

    async def work() -> None:
        async with Stoker(url) as app:
            await app.arun(lambda store: store.counts())

    with pytest.raises(StokerError) as caught:
        asyncio.run(work())
    return caught.value


def both(url: str, code: str, *words: str, exit_code: int = 3) -> None:
    """Check what both ways tell."""
    error, told = python(url), shell(url, code=exit_code)
    assert (error.code, told["code"]) == (code, code)
    for word in words:
        assert word in error.message
        assert word in told["message"]


@pytest.fixture
def make_postgres() -> Iterator[Callable[..., Postgres]]:
    with ExitStack() as stack:

        def make(**settings: str) -> Postgres:
            server = Postgres(durable=False, **settings)
            stack.callback(server.close)
            return server

        yield make


@pytest.fixture
def make_redis() -> Iterator[Callable[..., RedisServer]]:
    with ExitStack() as stack:

        def make(*options: str, password: str = "") -> RedisServer:
            server = RedisServer(*options, password=password)
            stack.callback(server.close)
            server.start()
            return server

        yield make


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@contextmanager
def old_layout(server: Postgres, schema: str) -> Iterator[tuple[str, int]]:
    """Make a store whose layout is one version behind."""
    url = server.url(schema)

    async def work() -> int:
        async with PostgresStore(url) as store:
            latest = (await store.migrate(dry_run=True)).latest
        await PostgresStore(url).migrate(to=latest - 1)
        return latest

    try:
        yield url, asyncio.run(work())
    finally:
        server.drop(schema)


@pytest.mark.parametrize("scheme", ["postgresql", "redis", "tcp", "http"])
def test_an_engine_that_is_not_there(scheme: str) -> None:
    port = free_port()
    user = "s3cret@" if scheme in {"tcp", "http"} else "eve:s3cret@"
    path = "/0" if scheme == "redis" else ""
    both(f"{scheme}://{user}127.0.0.1:{port}{path}", "unavailable", "***@127.0.0.1", str(port))


class TestPostgres:
    def test_a_wrong_password(self) -> None:
        both(shared_server().url(password="s3cret"), "unauthenticated", "password", "stoker:***@")

    def test_a_database_that_does_not_exist(self) -> None:
        url = shared_server().url().replace("/postgres?", "/nowhere?")
        both(url, "invalid_config", "createdb", exit_code=2)

    def test_a_layout_that_is_too_old_is_brought_up_by_the_command_that_is_named(self) -> None:
        with old_layout(shared_server(), "old_layout") as (url, latest):
            both(url, "schema_mismatch", f"layout {latest - 1}", "stoker db migrate")
            run = CliRunner().invoke
            assert run(cli, ["db", "status", "--store", url]).exit_code == 1
            assert run(cli, ["db", "migrate", "--store", url]).exit_code == 0
            assert run(cli, ["jobs", "ls", "--store", url]).exit_code == 0

    def test_a_layout_that_is_too_new(self) -> None:
        server = shared_server()
        with old_layout(server, "new_layout") as (url, latest):
            with server.connect() as db:
                future = (latest + 1, "future")
                db.execute("INSERT INTO new_layout.layout VALUES (%s, %s)", future)
            both(url, "schema_mismatch", "a newer Stoker wrote it", "Upgrade Stoker")

    def test_a_version_that_is_too_old(self) -> None:
        server = shared_server()
        with server.connect() as db:
            number = db.info.server_version

        async def work() -> StokerError:
            old, new = number.to_bytes(4, "big"), (130_004).to_bytes(4, "big")
            async with rewriting(server.port, old, new) as port:
                url = server.url().replace(f":{server.port}/", f":{port}/")
                with pytest.raises(StokerError) as caught:
                    await PostgresStore(url).__aenter__()
            return caught.value

        error = asyncio.run(work())
        assert error.code == "unsupported"
        assert "expected version 14 or newer" in error.message

    def test_a_server_whose_connections_are_all_taken(
        self, make_postgres: Callable[..., Postgres]
    ) -> None:
        server = make_postgres(
            max_connections="3", superuser_reserved_connections="0", max_wal_senders="0"
        )
        server.start()
        held = [server.connect() for _ in range(3)]
        both(server.url(), "unavailable", "too many clients", "raise max_connections")
        for one in held:
            one.close()

    def test_a_server_that_shuts_down(self, make_postgres: Callable[..., Postgres]) -> None:
        server = make_postgres()
        server.start()
        with server.connect():
            # A smart shutdown waits for its clients, and lets nobody else in.
            assert server.process is not None
            server.process.terminate()
            asyncio.run(wait_until(lambda: "shutting down" in _refusal(server), "it refuses us"))
            both(server.url(), "unavailable", "shutting down", "try again")

    def test_a_disk_that_is_full(self, make_postgres: Callable[..., Postgres]) -> None:
        server = make_postgres(max_wal_size="32MB", wal_recycle="off")
        server.start()
        # Inside its own folder, which the server's account can reach, unlike those of pytest.
        with small_disk(server.folder / "small", "6m", account=server.account()) as disk:
            with server.connect() as db:
                db.execute(f"CREATE TABLESPACE small LOCATION '{disk}'".encode())
                db.execute("ALTER ROLE stoker SET default_tablespace = small")
            error = asyncio.run(_fill(server.url()))
            assert error.code == "store_full"
            assert "Free some space" in error.message
            server.kill()

    @pytest.mark.parametrize(
        ("names", "expired"), [(("other.example",), False), (("localhost",), True)]
    )
    def test_a_certificate_for_another_name_or_one_that_expired(
        self,
        make_postgres: Callable[..., Postgres],
        office: Office,
        names: tuple[str, ...],
        *,
        expired: bool,
    ) -> None:
        pair = office.vouch("server", [x509.DNSName(name) for name in names], expired=expired)
        server = make_postgres(ssl="on", ssl_cert_file="server.pem", ssl_key_file="server.key")
        for file, name in ((pair.certificate, "server.pem"), (pair.key, "server.key")):
            server.give_file(name, file.read_bytes())
        server.start()
        url = server.url(sslmode="verify-full", sslrootcert=str(office.file))
        url = url.replace("@127.0.0.1", "@localhost")
        both(url, "unauthenticated", "certificate", "Check sslrootcert")


class TestRedis:
    def test_a_wrong_password(self, make_redis: Callable[..., RedisServer]) -> None:
        server = make_redis(password="right")
        url = server.url.replace("right", "s3cret")
        both(url, "unauthenticated", "refused the user or password", ":***@")

    def test_a_database_that_does_not_exist(self, make_redis: Callable[..., RedisServer]) -> None:
        both(make_redis().url.replace("/0", "/99"), "backend", "does not have", "0 to 15")

    def test_a_replica_of_another_server(self, make_redis: Callable[..., RedisServer]) -> None:
        primary, replica = make_redis(), make_redis()
        replica.ask("REPLICAOF", "127.0.0.1", str(primary.port))
        both(replica.url, "read_only", "is a replica", "name the primary")

    def test_a_server_that_would_throw_jobs_away(
        self, make_redis: Callable[..., RedisServer]
    ) -> None:
        server = make_redis("--maxmemory-policy", "allkeys-lru")
        both(server.url, "unsupported", "noeviction", "CONFIG SET", exit_code=2)

    def test_a_version_that_is_too_old(self, make_redis: Callable[..., RedisServer]) -> None:
        server = make_redis()

        async def work() -> StokerError:
            async with rewriting(server.port, b"redis_version:7", b"redis_version:6") as port:
                app = Stoker(f"redis://127.0.0.1:{port}/0")
                with pytest.raises(StokerError) as caught:
                    await app.arun(lambda store: store.counts())
            return caught.value

        error = asyncio.run(work())
        assert error.code == "unsupported"
        assert "expected 7.0 or newer" in error.message

    def test_memory_that_is_full(self, make_redis: Callable[..., RedisServer]) -> None:
        server = make_redis("--maxmemory", "12mb")
        assert asyncio.run(_fill(server.url)).code == "store_full"
        server.ask("CONFIG", "SET", "maxmemory", "2mb")
        told = shell(server.url, "send", "trial")
        assert told["code"] == "store_full"
        assert "Raise maxmemory" in told["message"]

    def test_a_disk_that_is_full(
        self, make_redis: Callable[..., RedisServer], tmp_path: Path
    ) -> None:
        with small_disk(tmp_path / "small", "2m") as disk:
            server = make_redis("--dir", str(disk))
            assert asyncio.run(_fill(server.url)).code == "store_full"
            both(server.url, "store_full", "cannot write to its disk")
            server.kill()

    def test_a_server_whose_connections_are_all_taken(
        self, make_redis: Callable[..., RedisServer]
    ) -> None:
        server = make_redis("--maxclients", "1")
        with server.hold_connection():
            both(server.url, "unavailable", "takes no more connections", "Raise maxclients")

    def test_a_layout_that_is_too_new(self, make_redis: Callable[..., RedisServer]) -> None:
        server = make_redis()
        server.ask("SET", "{stoker}:layout", str(LAYOUT + 1))
        both(server.url, "schema_mismatch", "bring this Stoker up to date")

    @pytest.mark.parametrize(
        ("names", "expired", "reason"),
        [(("other.example",), False, "mismatch"), (("localhost",), True, "expired")],
    )
    def test_a_certificate_for_another_name_or_one_that_expired(
        self,
        make_redis: Callable[..., RedisServer],
        office: Office,
        names: tuple[str, ...],
        reason: str,
        *,
        expired: bool,
    ) -> None:
        pair = office.vouch("server", [x509.DNSName(name) for name in names], expired=expired)
        port = free_port()
        make_redis(
            *("--tls-port", str(port), "--tls-auth-clients", "no"),
            *("--tls-cert-file", str(pair.certificate), "--tls-key-file", str(pair.key)),
            *("--tls-ca-cert-file", str(office.file)),
        )
        url = f"rediss://localhost:{port}/0?ssl_ca_certs={office.file}"
        both(url, "unauthenticated", reason, "ssl_ca_certs")


class TestSQLite:
    def test_a_disk_that_is_full(self, tmp_path: Path) -> None:
        with small_disk(tmp_path / "small", "3m") as disk:
            url = f"sqlite:///{disk / 'jobs.db'}"
            error = asyncio.run(_fill(url))
            assert error.code == "store_full"
            assert "Free some space" in error.message
            # What was accepted before is still there to be seen.
            assert CliRunner().invoke(cli, ["jobs", "ls", "--store", url]).exit_code == 0

    def test_a_layout_that_is_too_new(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / 'jobs.db'}"
        assert CliRunner().invoke(cli, ["jobs", "ls", "--store", url]).exit_code == 0
        db = apsw.Connection(str(tmp_path / "jobs.db"))
        db.pragma("user_version", 99)
        db.close()
        both(url, "schema_mismatch", "layout 99", "Upgrade Stoker")


@pytest.mark.parametrize(
    ("url", "extra"),
    [("postgresql://eve:s3cret@mars/jobs", "postgres"), ("redis://:s3cret@mars/0", "redis")],
)
def test_a_driver_that_is_not_installed(
    url: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"stoker.stores.{extra}", None)
    both(url, "missing_extra", f"pip install 'stoker[{extra}]'", exit_code=2)


async def _fill(url: str) -> StokerError:
    """Submit big jobs until the store takes no more."""
    async with Stoker(url) as app:
        with pytest.raises(StokerError) as caught:
            await app.arun(_submit_all)
    return caught.value


async def _submit_all(store: Any) -> None:
    for number in range(500):
        await store.submit([JobSpec(id=f"job-{number}", task="work", payload=BIG)])


def _refusal(server: Postgres) -> str:
    try:
        server.connect().close()
    except psycopg.OperationalError as error:
        return str(error)
    return ""
