"""An open store: its connections, its bell, and what it knows about the server."""

from collections.abc import Sequence
from typing import Any

import msgspec

from stoker.core.clock import Clock
from stoker.core.errors import Unsupported
from stoker.core.job import JobSpec
from stoker.core.records import SchemaStatus, StoreInfo
from stoker.stores.postgres import schema, submitting, transactions
from stoker.stores.postgres.address import Address
from stoker.stores.postgres.batching import Batching
from stoker.stores.postgres.bell import Bell
from stoker.stores.postgres.faults import read_only
from stoker.stores.postgres.lines import Lines, Rows
from stoker.stores.postgres.phrases import Names
from stoker.stores.postgres.transactions import Transactions

OLDEST_SERVER = 140_000
_IDLE_SESSIONS = 10_000
_IDENTITY = "SELECT id FROM @identity"
_SERVER = """
    SELECT current_setting('server_version'), current_setting('server_version_num')::int,
           pg_is_in_recovery(), current_setting('default_transaction_read_only')::bool,
           current_setting('server_encoding'), current_setting('transaction_isolation'),
           current_setting('fsync')::bool, current_setting('full_page_writes')::bool,
           current_setting('synchronous_commit'), current_setting('synchronous_standby_names')"""


class Handle:
    """Everything that an open store holds. Belongs to one process and one event loop."""

    def __init__(self, address: Address, clock: Clock | None, chance: Clock) -> None:
        """Make what an open store needs; nothing is connected yet.

        Args:
            address: Where.
            clock: The injected clock; None: time is the server's.
            chance: For pauses.
        """
        self._address = address
        self._clock = clock
        self._names = Names(address.schema)
        self._writing = Lines(address, chance.random)
        self._reading = Lines(address, chance.random, reading=True)
        # Whoever waits must not keep those who read waiting, nor the other way round.
        self._watching = Lines(address, chance.random, reading=True)
        self.bell = Bell(address, self._names, self._watching, clock)
        self.batching = Batching(self._submit)
        self.transactions: Transactions
        self.idle: dict[str, str] = {}
        """The nonce of each session's last exchange that found nothing to lease. It stands here
        and not in the store: an idle worker that looks must not cost a write to the disk."""

    async def open(self) -> StoreInfo:
        """Connect, look at server and layout, and return what the store promises.

        Raises:
            InvalidConfig, Unavailable: It cannot be reached.
            Unsupported, ReadOnlyStore, SchemaMismatch, NotAStore: What is there cannot serve.
        """
        [row] = await self._writing.call(_SERVER)
        info = _info(self._address, row)
        await schema.check(self._writing, self._address)
        [[sight]] = await self._writing.call(transactions.look_at(self._address))
        self.transactions = Transactions(
            self._address, sight=sight, clock=self._clock, bell=self.bell
        )
        for lines in (self._writing, self._reading, self._watching):
            lines.opening = False
        await self.bell.start()
        [[identity]] = await self.read(_IDENTITY)
        return msgspec.structs.replace(info, id=identity)

    async def close(self) -> None:
        """Finish what is under way and let go of the server."""
        await self.batching.close()
        await self.bell.close()
        for lines in (self._writing, self._reading, self._watching):
            await lines.close()

    async def write(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """Carry out a command."""
        return await self._writing.call(self._names.fill(statement), parameters)

    async def read(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """Answer a question."""
        return await self._reading.call(self._names.fill(statement), parameters)

    async def search(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """Find jobs, planned for the very values that are looked for.

        A plan for any value reads a million jobs to find three of a rare task.
        """
        filled = self._names.fill(statement)
        return await self._reading.call(filled, parameters, prepare=False)

    def note_idle(self, session_id: str, nonce: str) -> None:
        """Remember that an exchange found nothing to lease."""
        if len(self.idle) >= _IDLE_SESSIONS:
            self.idle.clear()
        self.idle[session_id] = nonce

    async def migrate(self, to: int | None, *, dry_run: bool) -> SchemaStatus:
        """See `Store.migrate`."""
        name = self._address.schema
        current = await self._writing.use(lambda line: schema.version(line, name)) or 0
        schema.refuse_newer(self._address, current)
        if not dry_run:
            target = schema.latest(name) if to is None else to
            current = await self._writing.use(lambda line: schema.bring_to(line, name, target))
            schema.refuse_newer(self._address, current)
        return schema.status(name, current)

    async def _submit(self, specs: Sequence[JobSpec]) -> Rows:
        now = None if self._clock is None else self._clock.now()
        sent = (now, "system", None, None, *submitting.given(specs))
        rows = await self.write(submitting.CALL, sent)
        self.bell.announce(rows[0][4], rows[0][5])
        return rows


def _info(address: Address, row: Sequence[Any]) -> StoreInfo:
    (version, number, standby, closed, encoding, isolation, fsync, full_pages, commit,
     standbys) = row  # fmt: skip
    where = f"PostgreSQL {version} ({address.place})"
    if number < OLDEST_SERVER:
        raise Unsupported(
            f"{where} is too old; expected version {OLDEST_SERVER // 10_000} or newer",
            version=version,
        )
    if standby or closed:
        what = "it is a standby" if standby else "default_transaction_read_only is on"
        raise read_only(address, what)
    if encoding != "UTF8":
        raise Unsupported(
            f"the database of {where} is encoded in {encoding}; expected UTF8: "
            "createdb --encoding=UTF8 --template=template0",
            encoding=encoding,
        )
    if isolation != "read committed":
        raise Unsupported(
            f"{where} gives this role transactions that are {isolation}; expected read committed: "
            "ALTER ROLE ... SET default_transaction_isolation = 'read committed'",
            isolation=isolation,
        )
    durability, can_lose = promise(commit, standbys, safe=fsync and full_pages)
    return StoreInfo(
        engine="postgresql",
        version=version,
        url=address.url,
        durability=durability,
        can_lose=can_lose,
        details={
            "schema": address.schema,
            "fsync": fsync,
            "full_page_writes": full_pages,
            "synchronous_commit": commit,
            "synchronous_standby_names": standbys,
        },
    )


def promise(commit: str, standbys: str, *, safe: bool) -> tuple[str, str]:
    """Return the durability's name, and what can be lost, by the server's settings."""
    if not safe:
        return "fast", (
            "nothing by a crash of a process; everything by a power failure or a crash of the "
            "machine, because fsync or full_page_writes is off on the server"
        )
    if commit == "off":
        return "fast", (
            "the last moments (about three times wal_writer_delay) by a crash of the server or of "
            "its machine, because synchronous_commit is off"
        )
    if standbys and commit in {"on", "remote_apply", "remote_write"}:
        return "full", (
            "nothing that was answered, neither by a crash of the server or its machine nor by a "
            "fail-over to one of its synchronous standbys"
        )
    return "full", (
        "nothing that was answered by a crash of the server or of its machine; the last moments "
        "by a fail-over to a standby, because no standby is synchronous"
    )
