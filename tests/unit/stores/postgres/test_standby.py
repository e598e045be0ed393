"""A standby can be read, and cannot be a store."""

import psycopg
import pytest

from stoker import Stoker
from stoker.core.errors import ReadOnlyStore
from stoker.settings import Settings
from stoker.stores.postgres import PostgresStore
from tests.servers.postgres import Postgres


@pytest.mark.timeout(240)
async def test_a_standby_is_refused() -> None:
    server = Postgres()
    try:
        server.start()
        async with PostgresStore(server.url()):
            pass
        app = Stoker(settings=Settings(store=server.url()))
        app.counts()
        server.stop()
        # What follows the primary, or would if there were one.
        (server.data / "standby.signal").touch()
        server.restart()
        with pytest.raises(ReadOnlyStore, match="it is a standby"):
            async with PostgresStore(server.url()):
                pass
        # A store that was open before, and a connection of the user's to the same server.
        task = app.task("ship")(str.upper)
        with (
            psycopg.connect(server.url().partition("?")[0]) as db,
            pytest.raises(ReadOnlyStore, match="primary"),
        ):
            task.options(connection=db).submit("x")
        app.close()
    finally:
        server.close()
