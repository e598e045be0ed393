"""Commands inside a transaction of the caller; see `stoker.core.transactions`.

The caller's connection may be of any driver, with row factories and type adapters of its own. So
what is sent is one text, and so is what comes back. Before that the connection is asked where it
leads: a wrong one gets a clear error, and its transaction is not spoiled by a failed statement.

No notification goes out with the caller's commit. PostgreSQL lets notifying commits through one at
a time, over all databases of the server, and that price would be paid by the caller's commits.
"""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from stoker.core.clock import Clock
from stoker.core.errors import InvalidOption, ReadOnlyStore, Unsupported
from stoker.core.job import JobSpec, Leased, Submitted
from stoker.core.transactions import Awaiting, Blocking, Rows
from stoker.stores.postgres.address import Address
from stoker.stores.postgres.bell import Bell
from stoker.stores.postgres.owned import AsyncOwned, Owned, Talk
from stoker.stores.postgres.phrases import Names, clean, encode
from stoker.stores.postgres.submitting import Batch

ENGINE = "postgresql"
_SUBMIT = "SELECT @submit_foreign($1)"
_LOOK = """
    SELECT json_build_array(
        (SELECT system_identifier::text FROM pg_control_system()),
        (SELECT d.oid::text FROM pg_database AS d WHERE d.datname = current_database()),
        (SELECT c.oid::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = '{schema}' AND c.relname = 'layout'),
        current_setting('transaction_read_only'))::text"""


class Sight(msgspec.Struct, array_like=True, frozen=True):
    """Where a connection leads."""

    cluster: str
    database: str
    layout: str | None
    """The table ``layout`` in the store's schema; None if there is none."""
    read_only: str


class _Answer(msgspec.Struct):
    states: list[int | None]
    places: list[int]
    ids: list[str]
    known: list[int]


_read_sight = msgspec.json.Decoder(Sight).decode
_read_answer = msgspec.json.Decoder(_Answer).decode


def look_at(address: Address) -> str:
    """Return the statement that finds out where a connection leads."""
    return " ".join(_LOOK.format(schema=address.schema).split())


class Transactions:
    """What the store does inside a transaction of the caller. Holds no connection."""

    def __init__(
        self,
        address: Address,
        *,
        sight: str | None = None,
        clock: Clock | None = None,
        bell: Bell | None = None,
    ) -> None:
        """Take what an open store knows; a child process, which opens none, knows the address.

        Args:
            address: Where it is.
            sight: What `look_at` saw on a connection of the store's own.
            clock: The injected one, if there is one.
            bell: Wakes those who wait.
        """
        self._address = address
        self._names = Names(address.schema)
        self._look = look_at(address)
        self._submit = self._names.fill(_SUBMIT)
        self._here = None if sight is None else _read_sight(sight)
        self._clock = clock
        self._bell = bell

    @property
    def address(self) -> str:
        """See `stoker.core.transactions.Transactions.address`."""
        return self._address.source

    def submit(
        self, connection: Blocking, jobs: Sequence[JobSpec], *, actor: str
    ) -> list[Submitted]:
        """See `stoker.core.transactions.Transactions.submit`."""
        batch = self._batch(connection, jobs)
        self._check(connection.run(self._look))
        if batch.size:
            _take(batch, connection.run(self._submit, (self._request(batch, actor),)))
        return batch.answers()

    async def asubmit(
        self, connection: Awaiting, jobs: Sequence[JobSpec], *, actor: str
    ) -> list[Submitted]:
        """See `submit`."""
        batch = self._batch(connection, jobs)
        self._check(await connection.run(self._look))
        if batch.size:
            _take(batch, await connection.run(self._submit, (self._request(batch, actor),)))
        return batch.answers()

    def ring(self, queues: Collection[str]) -> None:
        """See `stoker.core.transactions.Transactions.ring`."""
        self._tell(queues, ())

    def begin(self, leased: Leased) -> Owned:
        """See `stoker.core.transactions.Transactions.begin`."""
        return Owned(self._talk(leased))

    async def abegin(self, leased: Leased) -> AsyncOwned:
        """See `begin`."""
        return await AsyncOwned.begin(self._talk(leased))

    def _talk(self, leased: Leased) -> Talk:
        now = None if self._clock is None else self._clock.now
        return Talk(self._address, self._names, leased, now=now, tell=self._tell)

    def _tell(self, queues: Collection[str], ids: Collection[str]) -> None:
        if self._bell is not None:
            self._bell.announce_from_thread(queues, ids)

    def _batch(self, connection: Blocking | Awaiting, jobs: Sequence[JobSpec]) -> Batch:
        if connection.engine != ENGINE:
            raise InvalidOption(
                f"the connection leads to a database of {connection.engine}, and the store is "
                f"{self._address.url!r}; give a connection to that database, or none"
            )
        batch = Batch(jobs)
        if not batch.is_plain:
            # They would hold the lock under which workflows move until the caller commits.
            raise Unsupported(
                "a job that waits for others cannot be submitted inside a transaction of yours; "
                "submit it after your commit"
            )
        return batch

    def _check(self, rows: Rows) -> None:
        found = _read_sight(text_in(rows))
        here = found if self._here is None else self._here
        if (found.cluster, found.database) != (here.cluster, here.database):
            raise InvalidOption(
                "the connection leads to another database than the store "
                f"{self._address.url!r}; a transaction cannot reach over both. Give a connection "
                "to that database, or none"
            )
        if found.layout != here.layout:
            raise InvalidOption(
                f"the schema {self._address.schema!r} that the connection sees is not the one of "
                f"the store {self._address.url!r}: it was made anew. Open the store again"
            )
        if found.read_only == "on":
            raise ReadOnlyStore(
                "the transaction on the connection is read-only, so no job can be submitted in "
                "it; begin it READ WRITE, on the primary server"
            )

    def _request(self, batch: Batch, actor: str) -> str:
        kinds, ids, numbers, payloads, _, _ = batch.given()
        request: dict[str, Any] = {
            "now": None if self._clock is None else self._clock.now(),
            "actor": clean(actor),
            "kinds": msgspec.Raw(kinds.encode()),
            "ids": ids,
            "kind": numbers,
            "payloads": [payload.decode() for payload in payloads],
        }
        return encode(request).decode()


def text_in(rows: Rows) -> str:
    """Return the one text that a statement gave."""
    return str(rows[0][0])


def _take(batch: Batch, rows: Rows) -> None:
    answer = _read_answer(text_in(rows))
    batch.take([(answer.states, answer.places, answer.ids, answer.known, (), ())])
