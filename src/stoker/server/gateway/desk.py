"""Where requests become calls: read, check, permit, call, show. TCP and HTTP both come here."""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

import msgspec

from stoker.app.stoker import Run
from stoker.core.clock import Clock
from stoker.core.errors import (
    Forbidden,
    FrameTooLarge,
    OutcomeUnknown,
    PayloadTooLarge,
    StokerError,
    Unauthenticated,
    Unsupported,
)
from stoker.core.job import (
    ErrorInfo,
    Exchanged,
    Leased,
    Outcome,
    Settlement,
)
from stoker.core.keys import KEY_PREFIX, LOGIN_PREFIX, Scope
from stoker.core.records import StoreInfo
from stoker.core.store import Store
from stoker.core.wire import records
from stoker.core.wire.messages import PROTOCOL, Hello, Welcome
from stoker.core.wire.verbs import VERBS, FindParams, SubmitParams, Verb
from stoker.server.gateway import door, scopes
from stoker.server.gateway.authority import Authority, SessionBook
from stoker.server.gateway.calls import CALLS
from stoker.server.identity import EVERYBODY, Identity, identity_of
from stoker.server.keyring import Keyring
from stoker.server.limits import Buckets
from stoker.settings import GatewaySettings, LimitSettings

T = TypeVar("T")

MAX_IN_FLIGHT = 256
"""Requests of one connection under way at once."""
PING_EVERY = 15.0
"""Seconds of silence after which a client has to say something."""
MIN_ANSWER = 65_536
"""The least that a client must take in one frame."""
MARGIN = 32_768
"""Bytes of an answer to an exchange that are not leases, at the most."""
FAILURES = 10
"""Wrong keys from one address until it has to wait."""
FAILURE_RATE = 0.5
"""Wrong keys a second that one address may show after that."""
BIG = 65_536
"""Bytes from which parameters are read in a thread: others on the loop go on meanwhile."""
PLAIN = 8
"""How many times as long they may be where reading them is a matter of decoding alone."""
_TAKEN_APART = frozenset({"submit", "requeue", "put_schedules", "fire"})
"""Verbs with payloads, which are read by Python."""

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class Desk:
    """Answers for one store.

    Attributes:
        authority: Whom the configuration knows.
        keyring: Whom the store knows.
        max_frame: The longest request in bytes.
    """

    def __init__(
        self,
        run: Run,
        *,
        settings: GatewaySettings,
        limits: LimitSettings,
        clock: Clock,
    ) -> None:
        """Take a place before a store.

        Args:
            run: Runs work on the store.
            settings: Clients and limits.
            limits: Of payloads, results and batches.
            clock: Chance.

        Raises:
            InvalidConfig: The clients make no sense.
        """
        self._run = run
        self._limits = limits
        self._clock = clock
        self._book = SessionBook()
        self.authority = Authority(settings)
        self.keyring = Keyring(run, clock=clock)
        self._failures = Buckets(rate=FAILURE_RATE, burst=FAILURES, clock=clock)
        self.max_frame = int(settings.frame)

    async def admit(
        self,
        token: str | None,
        certificate: Mapping[str, Any] | None = None,
        *,
        address: str | None = None,
    ) -> Identity:
        """Return who comes in to run jobs; see `identify`.

        Raises:
            Unauthenticated, RateLimited: He proved nothing.
            Forbidden: His key is not for the gateway.
        """
        identity = await self.identify(token, certificate, address=address)
        if not identity.scopes & {Scope.WORKER, Scope.ADMIN} or identity.login:
            raise Forbidden(
                f"the key {identity.name!r} may not run jobs: the gateway takes keys with the "
                "scope worker, or admin"
            )
        return identity

    async def identify(
        self,
        token: str | None,
        certificate: Mapping[str, Any] | None = None,
        *,
        address: str | None = None,
    ) -> Identity:
        """Return who shows this: a client of the configuration, or whoever has a key of the store.

        Args:
            token: What he said, if anything.
            certificate: What TLS verified.
            address: Where he is, to slow down whoever guesses; None where each guess costs a
                connection.

        Raises:
            Unauthenticated: It proves nothing.
            RateLimited: Too many wrong ones came from that address.
        """
        prefix = (token or "").partition("_")[0]
        if certificate or prefix not in {KEY_PREFIX, LOGIN_PREFIX}:
            return await self._configured(token, certificate, address)
        if address is not None and not self.keyring.remembers(token or "", prefix=prefix):
            # Before the look at the store: whoever guesses costs it nothing.
            self._failures.check(address)
        key = await self.keyring.prove(token or "", prefix=prefix)
        if key is None:
            what = "log-in" if prefix == LOGIN_PREFIX else "key"
            raise self.wrong(f"the {what} is not known, ran out, or was revoked", address)
        return identity_of(key)

    async def _configured(
        self, token: str | None, certificate: Mapping[str, Any] | None, address: str | None
    ) -> Identity:
        try:
            identity = self.authority.identify(token, certificate)
        except Unauthenticated as error:
            raise (error if token is None else self.wrong(error.message, address)) from None
        if identity is EVERYBODY and await self.keyring.are_any():
            message = (
                "the gateway asks for a key and got none that it knows; set STOKER_TOKEN, or put "
                "?token_file=PATH into the URL"
            )
            raise Unauthenticated(message) if token is None else self.wrong(message, address)
        return identity

    def wrong(self, message: str, address: str | None) -> Unauthenticated:
        """Return the error for a wrong proof, having counted it.

        Raises:
            RateLimited: There were too many.
        """
        if address is not None:
            self._failures.take(address)
        return Unauthenticated(message)

    async def check(self, identity: Identity) -> None:
        """Refuse somebody whose key was revoked, or ran out, since he came.

        Raises:
            Unauthenticated: It was.
        """
        proof = identity.login or identity.key
        if proof and not await self.keyring.is_valid(proof):
            raise Unauthenticated(f"the key {identity.name!r} ran out or was revoked")

    async def welcome(self, hello: Hello, identity: Identity) -> Welcome:
        """Answer a hello.

        Raises:
            Unsupported: The client speaks another version, or takes too little.
        """
        if hello.protocol != PROTOCOL:
            raise Unsupported(
                f"the client speaks version {hello.protocol} of the protocol, the gateway "
                f"{PROTOCOL}; bring the older one up to date",
                protocols=[PROTOCOL],
            )
        if hello.max_frame < MIN_ANSWER:
            raise Unsupported(
                f"the client takes frames of {hello.max_frame} bytes; at least {MIN_ANSWER:,} are "
                "needed"
            )
        info: StoreInfo = await self._run(_info)
        return Welcome(
            protocol=PROTOCOL,
            version=version("stoker"),
            identity=identity.name,
            scope=identity.gateway_scope,
            max_frame=self.max_frame,
            max_in_flight=MAX_IN_FLIGHT,
            ping_every=PING_EVERY,
            info=info if identity.gateway_scope == "full" else _without_places(info),
        )

    async def answer(
        self, identity: Identity, name: str, params: msgspec.Raw, *, most: int
    ) -> bytes:
        """Carry out a request; return the answer as JSON.

        Args:
            identity: Who asks.
            name: The verb.
            params: Its parameters.
            most: The longest answer that the client takes.

        Raises:
            StokerError: It was not carried out, or may have been.
        """
        verb = VERBS.get(name)
        if verb is None:
            raise Unsupported(f"there is no verb {name[:100]!r}; known are {', '.join(VERBS)}")
        await self.check(identity)
        try:
            return await self._answer(identity, verb, params, most)
        except StokerError:
            raise
        except Exception as error:  # the border of a request: logged once, here
            log.exception("the gateway failed at %r", name)
            raise OutcomeUnknown(
                "the server made a mistake; its log says which, please report it"
            ) from error

    async def _answer(
        self, identity: Identity, verb: Verb[Any, Any], raw: msgspec.Raw, most: int
    ) -> bytes:
        given = bytes(raw)
        read = partial(self._read, verb, given)
        big = BIG if verb.name in _TAKEN_APART else BIG * PLAIN
        params, refusals = await asyncio.to_thread(read) if len(given) > big else read()
        params = scopes.permit(verb.name, params, identity, self._book)
        if params is scopes.DECLINED:
            return b"null"
        answer = await self._call(verb.name, params)
        if refusals is not None:
            answer = refusals.merge(answer)
        data = verb.write_answer(scopes.visible(verb.name, answer, identity, self._book))
        if len(data) <= most:
            return data
        return await self._shortened(verb, params, answer, most)

    def _read(self, verb: Verb[Any, Any], raw: bytes) -> tuple[Any, door.Refusals | None]:
        params = verb.read_params(raw)
        if isinstance(params, SubmitParams):
            refusals = door.check_batch(params, self._limits)
            return refusals.params, refusals
        door.check_params(params, self._limits, raw)
        return params, None

    async def _call(self, name: str, params: Any) -> Any:
        return await self._run(lambda store: CALLS[name](store, params))

    async def _shortened(self, verb: Verb[Any, Any], params: Any, answer: Any, most: int) -> bytes:
        """Give what fits of an answer that is too long, where less is an answer as well."""
        if isinstance(answer, Exchanged):
            return verb.write_answer(await self._hand_over(params.session_id, answer, most))
        if isinstance(params, FindParams) and params.limit > 1:
            shorter = msgspec.structs.replace(params, limit=params.limit // 2)
            answer = await self._call(verb.name, shorter)
            data = verb.write_answer(answer)
            if len(data) <= most:
                return data
            return await self._shortened(verb, shorter, answer, most)
        raise FrameTooLarge(
            f"the answer to {verb.name!r} has more than the {most:,} bytes that the client takes; "
            "ask for less at once",
            limit=most,
        )

    async def _hand_over(self, session_id: str, done: Exchanged, most: int) -> Exchanged:
        """Hand over the leases that fit; give the others back uncounted.

        One that can never reach this client is a failed attempt without another one: given back,
        it would come round for ever.
        """
        room = most - len(_encode(Exchanged(done.settled, [])))
        kept: list[Leased] = []
        returned: list[Settlement] = []
        for lease, shown in zip(done.leased, records.show_leases(done.leased), strict=True):
            size = len(_encode(shown)) + 1
            if size <= room:
                room -= size
                kept.append(lease)
            else:
                returned.append(_return(lease, size, most))
        log.warning(
            "%d leases do not fit into an answer of %d bytes and are given back",
            len(returned),
            most,
        )
        await self._run(
            lambda store: store.exchange(
                session_id, returned, queues={}, want=0, nonce=self._clock.new_nonce()
            )
        )
        return Exchanged(done.settled, kept)


def _return(lease: Leased, size: int, most: int) -> Settlement:
    if size <= most - MARGIN:
        return Settlement(lease.id, lease.epoch, lease.nonce, Outcome.RELEASED)
    error = ErrorInfo(
        code=PayloadTooLarge.code,
        message=f"the job and the results of its parents have {size:,} bytes; its worker takes "
        f"{most:,}. Store big data elsewhere and pass its address",
        type=PayloadTooLarge.__name__,
    )
    return Settlement(lease.id, lease.epoch, lease.nonce, Outcome.FAILED, error=error)


async def _info(store: Store) -> StoreInfo:
    return store.info


def _without_places(info: StoreInfo) -> StoreInfo:
    """Who only runs jobs need not know where the store is."""
    return msgspec.structs.replace(info, url=f"{info.engine}://", details={})
