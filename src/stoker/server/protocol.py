"""uvicorn's HTTP protocol, with bounds that it leaves open.

A client must finish the head of a request within `HEAD_SECONDS` and `HEAD_BYTES`; without this,
idle or endless heads would hold connections and memory for ever. What is not HTTP gets the same
shape of error as everything else.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from stoker.server.errors import Error, ErrorDetail, encode_error

HEAD_SECONDS = 10.0
HEAD_BYTES = 65_536


class BoundedProtocol(HttpToolsProtocol):
    """One connection whose heads are bounded in time and size."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """See `HttpToolsProtocol`."""
        super().__init__(*args, **kwargs)
        self._head_bytes: int | None = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Count while a head comes in; hand on."""
        if self._head_bytes is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes is not None and self._head_bytes > HEAD_BYTES:
            self.send_400_response("The head of the request is too big.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Wait for the rest of this head; the first one of a connection is waited for already."""
        super().on_message_begin()
        if self._head_bytes is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """Stop waiting: the head is there."""
        self._stop_waiting()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be understood, and hang up."""
        body = encode_error(Error(ErrorDetail("bad_request", msg)))
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._hang_up)

    def _stop_waiting(self) -> None:
        self._head_bytes = None
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _hang_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
