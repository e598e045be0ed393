"""Frames of the gateway: four bytes of length, most significant first, then that many bytes.

Bytes in, frames out, and nothing else: no socket, no JSON. What a frame may say stands in
`stoker.core.wire.messages`, both together in ``protocol/PROTOCOL.md``.

A length is judged as soon as it can be read, so a peer that announces four gigabytes costs
nothing, and nothing is ever allocated ahead of the bytes that came in.
"""

from stoker.core.errors import FrameTooLarge

HEADER = 4
"""Bytes of length before each frame."""
MAX_FRAME = 8 * 1_048_576
"""Default limit of a frame that a client sends."""
MAX_ANSWER = 64 * 1_048_576
"""Default limit of a frame that a server sends: pages and leases carry many payloads."""
MAX_HELLO = 65_536
"""Limit of a frame from a peer that has not yet said who it is."""


def pack(body: bytes) -> bytes:
    """Return a frame around a body.

    Raises:
        FrameTooLarge: Four bytes cannot say its length.
    """
    try:
        return len(body).to_bytes(HEADER, "big") + body
    except OverflowError:
        raise too_large(len(body), 2**32 - 1) from None


class FrameReader:
    """Cuts what comes in into frames.

    Attributes:
        limit: The longest frame that is taken. It may change between two frames.
    """

    __slots__ = ("_buffer", "limit")

    def __init__(self, limit: int) -> None:
        """Begin with nothing."""
        self.limit = limit
        self._buffer = bytearray()

    @property
    def is_inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take what came in, of any length."""
        self._buffer += data

    def next(self) -> bytes | None:
        """Return the next whole frame, or None until more has come in.

        Raises:
            FrameTooLarge: It is longer than the limit. Nothing after it can be read.
        """
        buffer = self._buffer
        if len(buffer) < HEADER:
            return None
        size = int.from_bytes(buffer[:HEADER], "big")
        if size > self.limit:
            raise too_large(size, self.limit)
        end = HEADER + size
        if len(buffer) < end:
            return None
        with memoryview(buffer) as view:
            body = bytes(view[HEADER:end])
        del buffer[:end]
        return body


def too_large(size: int, limit: int) -> FrameTooLarge:
    """Return the error about a frame that is too long."""
    return FrameTooLarge(
        f"a frame of {size:,} bytes was announced; the limit is {limit:,}", size=size, limit=limit
    )
