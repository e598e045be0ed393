"""What an error of the driver means, in words."""

from aiormq.exceptions import AMQPConnectionError

from stoker.brokers.rabbitmq.address import parse
from stoker.brokers.rabbitmq.faults import describe


def test_an_error_that_is_its_own_cause_is_described() -> None:
    """The driver raises one error for all who wait: it ends up below what it was raised from.

    Looking for its last cause, a worker whose broker was killed never came back.
    """
    reset = ConnectionResetError(104, "Connection reset by peer")
    lost = AMQPConnectionError("Server connection reset")
    lost.__cause__, reset.__context__ = reset, lost
    assert "Server connection reset" in describe(lost, parse("amqp://mars/"))
