"""When a failed attempt is tried again, how often, and after how long.

The policy travels with the job as JSON, so that every worker in every language, and the reaper,
apply the same one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self, get_args

import msgspec

from stoker.core.duration import Duration, seconds
from stoker.core.errors import InvalidOption

Backoff = Literal["fixed", "linear", "exponential"]
ExceptionName = type[BaseException] | str

MAX_RETRIES = 10_000


class _Wire(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    max_retries: int = 3
    backoff: Backoff = "exponential"
    base: float = 2.0
    cap: float = 300.0
    jitter: bool = True
    on: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    per: tuple[tuple[str, "_Wire"], ...] = ()


_decode_wire = msgspec.json.Decoder(_Wire).decode
_encode_wire = msgspec.json.Encoder().encode


class RetryPolicy:
    """How failed attempts are repeated.

    The wait before retry *n* (1, 2, ...) is ``base`` when fixed, ``base * n`` when linear,
    ``base * 2 ** (n - 1)`` when exponential, never more than ``cap``. With jitter it is a random
    share of that, from nothing to all ("full jitter"), so that a thousand jobs that failed
    together do not come back together.

    Attributes:
        max_retries: Attempts after the first. 0 means one attempt.
        backoff: ``"fixed"``, ``"linear"`` or ``"exponential"``.
        base: Seconds.
        cap: Seconds.
        jitter: Whether the wait is a random share.
        on: If not empty, only these exceptions (and their subclasses) are retried.
        never: These exceptions are not retried.
        per: Exceptions with a policy of their own; the most derived match wins. Its retries count
            among those of the whole job: there are never more than ``max_retries`` in all.
    """

    __slots__ = ("_wire",)

    _wire: _Wire

    def __init__(
        self,
        max_retries: int = 3,
        *,
        backoff: Backoff = "exponential",
        base: Duration = 2.0,
        cap: Duration = 300.0,
        jitter: bool = True,
        on: Sequence[ExceptionName] = (),
        never: Sequence[ExceptionName] = (),
        per: Mapping[ExceptionName, "RetryPolicy"] | None = None,
    ) -> None:
        """Make a policy.

        Args:
            max_retries: Attempts after the first, 0 to 10,000. Default 3.
            backoff: Default ``"exponential"``.
            base: Default 2 seconds.
            cap: Default 5 minutes.
            jitter: Default True.
            on: Exception classes or their names. Default: all are retried.
            never: Exception classes or their names. Default: none.
            per: Exception class or name to a policy of its own, within ``max_retries``.

        Raises:
            InvalidOption: A value means nothing.
        """
        if isinstance(max_retries, bool) or not isinstance(max_retries, int):
            raise InvalidOption(f"max_retries is {max_retries!r}; expected a whole number")
        if not 0 <= max_retries <= MAX_RETRIES:
            raise InvalidOption(f"max_retries is {max_retries}; expected 0 to {MAX_RETRIES}")
        if backoff not in get_args(Backoff):
            raise InvalidOption(f"backoff is {backoff!r}; expected fixed, linear or exponential")
        self._wire = _Wire(
            max_retries=max_retries,
            backoff=backoff,
            base=seconds(base, name="base"),
            cap=seconds(cap, name="cap"),
            jitter=bool(jitter),
            on=tuple(_name(x) for x in on),
            never=tuple(_name(x) for x in never),
            per=tuple((_name(x), policy._wire) for x, policy in (per or {}).items()),
        )

    @property
    def max_retries(self) -> int:
        """Attempts after the first."""
        return self._wire.max_retries

    @property
    def backoff(self) -> Backoff:
        """The shape of the growing wait."""
        return self._wire.backoff

    @property
    def base(self) -> float:
        """Seconds of the first wait."""
        return self._wire.base

    @property
    def cap(self) -> float:
        """Seconds of the longest wait."""
        return self._wire.cap

    @property
    def jitter(self) -> bool:
        """Whether a wait is a random share of its length."""
        return self._wire.jitter

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        """Return the seconds to wait after the given number of failed attempts (1, 2, ...)."""
        wire = self._wire
        n = max(failures, 1)
        if wire.backoff == "fixed":
            wait = wire.base
        elif wire.backoff == "linear":
            wait = wire.base * n
        else:
            wait = wire.base * 2.0 ** min(n - 1, 64)
        wait = min(wait, wire.cap)
        return wait * random() if wire.jitter else wait

    def decide(
        self, failures: int, raised: Sequence[str], random: Callable[[], float]
    ) -> float | None:
        """Say whether and when a failed attempt is repeated.

        Args:
            failures: Failed attempts so far, this one included.
            raised: Names of the raised exception and its bases, most derived first, each plain
                (``"ValueError"``) and qualified (``"json.decoder.JSONDecodeError"``).
            random: A number in ``[0, 1)``.

        Returns:
            Seconds to wait, or None when the job is a dead letter.
        """
        policy = self._for(raised)
        wire = policy._wire
        if any(name in wire.never for name in raised):
            return None
        if wire.on and not any(name in wire.on for name in raised):
            return None
        return policy.delay(failures, random) if failures <= wire.max_retries else None

    def replace(self, *, max_retries: int) -> "RetryPolicy":
        """Return this policy with another number of retries."""
        checked = RetryPolicy(max_retries).max_retries
        return self._of(msgspec.structs.replace(self._wire, max_retries=checked))

    def to_json(self) -> bytes:
        """Return the policy as JSON, ``b"{}"`` for the default one."""
        return _encode_wire(self._wire)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read what `to_json` wrote.

        Raises:
            InvalidOption: Not a policy.
        """
        try:
            return cls._of(_decode_wire(data))
        except msgspec.MsgspecError as error:
            raise InvalidOption(f"not a retry policy: {error}") from None

    def _for(self, raised: Sequence[str]) -> "RetryPolicy":
        per = dict(self._wire.per)
        for name in raised:
            if name in per:
                return self._of(per[name])
        return self

    @classmethod
    def _of(cls, wire: _Wire) -> Self:
        policy = cls.__new__(cls)
        policy._wire = wire
        return policy

    def __eq__(self, other: object) -> bool:
        """Two policies are equal when all they say is."""
        return isinstance(other, RetryPolicy) and self._wire == other._wire

    def __hash__(self) -> int:
        """Equal policies have equal hashes."""
        return hash(self._wire)

    def __repr__(self) -> str:
        """Show what differs from the default."""
        shown: dict[str, Any] = msgspec.to_builtins(self._wire)
        return f"RetryPolicy({', '.join(f'{k}={v!r}' for k, v in shown.items())})"


def exception_names(error: BaseException) -> list[str]:
    """Return the names of an exception and its bases, as `RetryPolicy.decide` takes them."""
    names: list[str] = []
    for cls in type(error).__mro__:
        if issubclass(cls, BaseException):
            names += [cls.__name__, f"{cls.__module__}.{cls.__qualname__}"]
    return names


def _name(exception: ExceptionName) -> str:
    if isinstance(exception, str) and exception:
        return exception
    if isinstance(exception, type) and issubclass(exception, BaseException):
        return f"{exception.__module__}.{exception.__qualname__}"
    raise InvalidOption(f"{exception!r} is not an exception class or the name of one")
