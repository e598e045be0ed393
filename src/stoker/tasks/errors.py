"""How the standard tasks fail, beyond what the core already has a name for.

::

    StokerError
    ├── BadInput                 the bytes given are damaged, tampered with, or no such thing
    ├── AddressRefused           a URL that leads where the task may not go
    ├── FetchFailed              the web server did not answer, or answered "not now"  (retryable)
    │   └── FetchRefused         it answered "never": a 4xx
    ├── DeliveryFailed           the mail server did not take the message for now      (retryable)
    │   └── DeliveryRefused      it said "never": a 5yz
    └── EncodingFailed           ffmpeg gave up

`PERMANENT` lists what no second attempt can mend; the standard tasks are not retried on it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from stoker.core.errors import MissingExtra, StokerError, UsageError


class BadInput(StokerError):
    """Damaged, tampered or truncated bytes, or bytes that expand beyond the limit."""

    code = "bad_input"


class AddressRefused(StokerError):
    """A URL that leads, directly or by a redirect, where the task may not go."""

    code = "address_refused"


class FetchFailed(StokerError):
    """A web server could not be reached in time, or answered that it cannot just now."""

    code = "fetch_failed"
    retryable = True


class FetchRefused(FetchFailed):
    """A web server answered that the request itself is wrong: a 4xx."""

    code = "fetch_refused"
    retryable = False


class DeliveryFailed(StokerError):
    """A mail server could not be reached, or did not take the message for now."""

    code = "delivery_failed"
    retryable = True


class DeliveryRefused(DeliveryFailed):
    """A mail server refused the message, its sender or every recipient for good."""

    code = "delivery_refused"
    retryable = False


class EncodingFailed(StokerError):
    """ffmpeg ended with an error; the message holds its last lines."""

    code = "encoding_failed"


PERMANENT: tuple[type[Exception], ...] = (
    UsageError,
    BadInput,
    AddressRefused,
    FetchRefused,
    DeliveryRefused,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
"""What a second attempt cannot mend."""


@contextmanager
def extra(task: str, library: str) -> Iterator[None]:
    """Turn a failed import inside the block into `MissingExtra`, which holds the command.

    Args:
        task: The task that needs the library.
        library: The library's name, for people.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtra(
            f"the task {task} needs {library}, which is not installed where this worker runs: "
            "pip install 'stoker[tasks]'",
            task=task,
            library=library,
        ) from error
