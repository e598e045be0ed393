"""Frames between a worker and its children."""

import pytest

from stoker.core.job import ErrorInfo, Leased, Outcome
from stoker.worker import wire
from stoker.worker.attempt import Stop, Verdict
from stoker.worker.source import TaskSource


def roundtrip_to_child(message: wire.ToChild) -> wire.ToChild:
    frame = wire.pack(message)
    assert wire.body_length(frame[: wire.HEAD]) == len(frame) - wire.HEAD
    return wire.read_to_child(frame[wire.HEAD :])


def test_messages_to_a_child_arrive_as_they_were_sent() -> None:
    hello = wire.Hello(
        source=TaskSource(app="shop:app", path=("/srv",), tasks={"smtp": None}),
        worker="w",
        parent=1,
        result_limit=10,
    )
    job = Leased("id", "task", b'{"a":1}', "q", 1, 2, "n", 3.0, parents={"p": b"1"})
    for message in (hello, wire.Run(job, 7), wire.Interrupt(7, int(Stop.CANCEL))):
        assert roundtrip_to_child(message) == message


def test_messages_from_a_child_arrive_as_they_were_sent() -> None:
    verdict = Verdict(Outcome.FAILED, error=ErrorInfo("c", "m"), retry_in=0.5)
    for message in (
        wire.Ready(),
        wire.Broken(ErrorInfo("c", "m")),
        wire.Begun(1),
        wire.Report(1, 0.5, "half"),
        wire.Ended(1, verdict),
    ):
        frame = wire.pack(message)
        assert wire.read_from_child(frame[wire.HEAD :]) == message


@pytest.mark.parametrize("body", [b"", b"\xff\xff", b"\x81\xa4type\xa4Nope"])
def test_garbage_is_no_message(body: bytes) -> None:
    with pytest.raises(wire.BrokenFrame):
        wire.read_from_child(body)


def test_an_absurd_length_is_no_frame() -> None:
    with pytest.raises(wire.BrokenFrame, match="at most"):
        wire.body_length(b"GET ")
