"""Driver errors in words: the only place that knows what an error of aiormq means."""

import ssl

from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ConnectionNotAllowed,
    InvalidFrameError,
    ProbableAuthenticationError,
)

from stoker.brokers.rabbitmq.address import Address
from stoker.core.errors import causes

LOST = (AMQPError, ChannelInvalidStateError, OSError, EOFError, TimeoutError)
"""All that ends a connection."""


def describe(error: BaseException | None, address: Address) -> str:
    """Say why there is no connection, and what to do; without the password."""
    cause = next((e for e in causes(error) if isinstance(e, ssl.SSLError)), None)
    if cause is not None:
        return (
            f"RabbitMQ at {address.place} and this client do not agree on TLS ({cause}). The "
            f"certificate must be signed by the authority in ca, and name the host {address.host!r}"
        )
    if isinstance(error, AuthenticationError | ProbableAuthenticationError):
        return (
            f"RabbitMQ at {address.place} refused the user {address.user!r} or its password; "
            f"check {address.shown}"
        )
    if isinstance(error, ChannelAccessRefused):
        return (
            f"the user {address.user!r} may not use the queues {address.namespace}.* in the "
            f"virtual host {address.vhost!r} ({_words(error)}). Grant it: rabbitmqctl "
            f"set_permissions -p {address.vhost} {address.user} '^{address.namespace}\\.' "
            f"'^({address.namespace}\\..*|amq\\.default)$' '^{address.namespace}\\.'"
        )
    if _is_vhost(error):
        return (
            f"RabbitMQ at {address.place} has no virtual host {address.vhost!r}, or the user "
            f"{address.user!r} may not use it. Make it: rabbitmqctl add_vhost {address.vhost}"
        )
    if isinstance(error, TimeoutError):
        return f"RabbitMQ at {address.place} does not answer; check {address.shown}"
    return (
        f"RabbitMQ at {address.place} cannot be reached ({_words(error)}). Check that the server "
        f"runs, and that host, port and TLS of {address.shown} are right"
    )


def _words(error: BaseException | None) -> str:
    if error is None:
        return "it closed the connection"
    words = " ".join(str(part) for part in error.args) or str(error)
    return f"{type(error).__name__}: {' '.join(words.split())}"[:300]


def _is_vhost(error: BaseException | None) -> bool:
    if isinstance(error, ConnectionNotAllowed):
        return True
    # The last word of a login that was refused, in which the driver expected another frame.
    return isinstance(error, InvalidFrameError) and "OpenOk" in str(error.args)
