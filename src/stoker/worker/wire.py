"""What a worker and its child processes say to each other, and how it lies on the socket.

A frame is four bytes of length, then one message as MessagePack. Both ends are the same version
of Stoker on the same machine, so there is no version in it.
"""

import struct
from collections.abc import Mapping
from typing import Any

import msgspec

from stoker.core.job import ErrorInfo, Leased, LogLine
from stoker.worker.attempt import Verdict
from stoker.worker.source import TaskSource

MAX_FRAME = 256 * 2**20
"""Bytes; a length beyond this is no frame but somebody's garbage on the socket."""
_LENGTH = struct.Struct(">I")
HEAD = _LENGTH.size
"""Bytes of the length."""


class BrokenFrame(Exception):
    """What came over the socket is not a message. Never leaves the worker."""


class Hello(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """To the child, first: who it works for."""

    source: TaskSource
    worker: str
    parent: int
    """The worker's process id."""
    result_limit: int
    crash_fd: int | None = None
    """Where the child writes its last stack."""
    levels: Mapping[str, int] = {}
    """From which level on which logger is heard; empty: the child's logs are its own business."""


class Run(msgspec.Struct, tag=True, frozen=True):
    """To the child: run this job."""

    leased: Leased
    number: int
    """Counts the jobs of this child, so that a late message cannot hit the next job."""
    carrier: Mapping[str, str] = {}
    """The context of the attempt's span, for spans that the job opens."""


class Interrupt(msgspec.Struct, tag=True, frozen=True):
    """To the child: tell the job to stop."""

    number: int
    stop: int
    """A `Stop`."""


class StoreTold(msgspec.Struct, tag=True, frozen=True):
    """To the child: the answer to `StoreAsked`."""

    address: str | None
    """The store's URL with its password, never to be logged; None: it has no transactions."""


class Ready(msgspec.Struct, tag=True, frozen=True):
    """From the child: it found the tasks."""


class Broken(msgspec.Struct, tag=True, frozen=True):
    """From the child: the tasks could not be loaded."""

    error: ErrorInfo


class Begun(msgspec.Struct, tag=True, frozen=True):
    """From the child: it has the job. A child that dies before this never touched it."""

    number: int


class Report(msgspec.Struct, tag=True, frozen=True):
    """From the child: what the job said since the last report."""

    number: int
    progress: float | None = None
    note: str | None = None
    logs: tuple[LogLine, ...] = ()


class Logged(msgspec.Struct, tag=True, frozen=True, kw_only=True, omit_defaults=True):
    """From the child: a record of its log."""

    logger: str
    level: int
    message: str
    created: float
    pid: int
    traceback: str = ""
    extra: Mapping[str, str | int | float] = {}


class StoreAsked(msgspec.Struct, tag=True, frozen=True):
    """From the child: the job begins a transaction. Until then the child knows no password."""


class Ended(msgspec.Struct, tag=True, frozen=True):
    """From the child: how the job ended. A `Report` with the rest goes before it."""

    number: int
    verdict: Verdict


ToChild = Hello | Run | Interrupt | StoreTold
FromChild = Ready | Broken | Begun | Report | Logged | StoreAsked | Ended

_encoder = msgspec.msgpack.Encoder()
_to_child: msgspec.msgpack.Decoder[ToChild] = msgspec.msgpack.Decoder(ToChild)
_from_child: msgspec.msgpack.Decoder[FromChild] = msgspec.msgpack.Decoder(FromChild)


def pack(message: ToChild | FromChild) -> bytes:
    """Return a message as a frame."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


def body_length(head: bytes) -> int:
    """Read the length of a frame.

    Raises:
        BrokenFrame: It is absurd.
    """
    (length,) = _LENGTH.unpack(head)
    if length > MAX_FRAME:
        raise BrokenFrame(f"a frame of {length:,} bytes; at most {MAX_FRAME:,} are expected")
    return int(length)


def read_to_child(body: bytes) -> ToChild:
    """Read a message to the child.

    Raises:
        BrokenFrame: It is none.
    """
    message: ToChild = _read(_to_child, body)
    return message


def read_from_child(body: bytes) -> FromChild:
    """Read a message from the child.

    Raises:
        BrokenFrame: It is none.
    """
    message: FromChild = _read(_from_child, body)
    return message


def _read(decoder: msgspec.msgpack.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise BrokenFrame(f"not a message: {error}") from None
