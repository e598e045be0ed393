"""What the scripts of a deployment do, on real servers."""

import asyncio
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from stoker.connect import examine_store
from stoker.core.errors import Unauthenticated
from stoker.core.finding import Finding
from stoker.stores.redis import RedisStore
from tests.deploy.files import DEPLOY
from tests.servers.postgres import PASSWORD, Postgres
from tests.servers.redis import RedisServer

SECRET = "0123456789abcdef"


class StartedByScript(RedisServer):
    """A Redis server that the script of the compose file starts."""

    def prepare(self) -> None:
        """Put the files where the script looks for them."""
        places = {
            "/etc/stoker/users.acl": str(DEPLOY / "redis" / "users.acl"),
            "/etc/stoker/redis.conf": str(self.folder / "redis.conf"),
            "/run/redis": str(self.folder),
        }
        script = (DEPLOY / "compose" / "redis-start.sh").read_text("utf-8")
        for place, here in places.items():
            assert place in script
            script = script.replace(place, here)
        (self.folder / "start.sh").write_text(script, "utf-8")
        settings = (DEPLOY / "redis" / "redis.conf").read_text("utf-8")
        assert "dir /data" in settings
        settings = settings.replace("dir /data", f"dir {self.folder}")
        more = f"port {self.port}\nbind 127.0.0.1\n"
        (self.folder / "redis.conf").write_text(f"{settings}{more}", "utf-8")

    def command(self) -> list[str]:
        return ["/bin/sh", str(self.folder / "start.sh")]

    def variables(self) -> dict[str, str]:
        return {"REDIS_PASSWORD": SECRET}


@pytest.fixture
def redis() -> Iterator[StartedByScript]:
    server = StartedByScript()
    server.prepare()
    server.start()
    yield server
    server.close()


def test_redis_starts_with_its_one_user_and_settings_that_the_doctor_likes(
    redis: StartedByScript,
) -> None:
    url = redis.url.replace("redis://", f"redis://stoker:{SECRET}@")

    async def work() -> dict[str, str]:
        with pytest.raises(Unauthenticated):
            await RedisStore(redis.url.replace("redis://", "redis://stoker:wrong@")).__aenter__()
        async with RedisStore(url):
            pass
        return {f.check: f.verdict for f in await examine_store(url)}

    found = asyncio.run(work())
    assert redis.ask("GET", "x").startswith("-NOAUTH")
    assert "problem" not in found.values()
    assert (found["permissions"], found["memory"], found["layout"]) == ("ok", "ok", "ok")
    users = redis.folder / "users.acl"
    assert SECRET not in users.read_text("utf-8")
    assert redis.process is not None
    assert SECRET not in Path(f"/proc/{redis.process.pid}/cmdline").read_text("utf-8")


def test_redis_does_not_start_without_a_password() -> None:
    server = StartedByScript()
    server.prepare()
    told = subprocess.run(
        server.command(), env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    server.close()
    assert told.returncode != 0
    assert "make-env" in told.stderr


def test_postgres_gets_its_roles_and_their_passwords() -> None:
    server = Postgres(durable=False)
    try:
        server.start()
        with server.connect() as db:
            db.execute((DEPLOY / "postgres" / "roles.sql").read_bytes())
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                server.connect("stoker_owner")
        _set_passwords(server)
        for role in ("stoker_owner", "stoker_worker"):
            server.connect(role).close()
        found = {f.check: f for f in asyncio.run(_examine(server, "stoker_worker"))}
        assert found["layout"].verdict == "problem"
        assert "as a user who may" in found["layout"].fix
        assert {f.check: f for f in asyncio.run(_examine(server, "stoker_owner"))}[
            "layout"
        ].verdict == "ok"
    finally:
        server.close()


async def _examine(server: Postgres, user: str) -> list[Finding]:
    return await examine_store(server.url(user=user))


def _set_passwords(server: Postgres) -> None:
    script = DEPLOY / "compose" / "postgres-passwords.sh"
    assert script.stat().st_mode & stat.S_IXUSR
    variables = {
        **os.environ,  # noqa: TID251 - handed on
        "POSTGRES_USER": "stoker",
        "POSTGRES_DB": "postgres",
        "POSTGRES_OWNER_PASSWORD": PASSWORD,
        "POSTGRES_WORKER_PASSWORD": PASSWORD,
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "PGPASSWORD": PASSWORD,
    }
    told = subprocess.run([str(script)], env=variables, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")
