"""A way to a real server that changes words on it: for versions that no package here has."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def rewriting(port: int, old: bytes, new: bytes) -> AsyncIterator[int]:
    """Lead to a port of this machine, and replace bytes of what the server answers.

    Args:
        port: Of the server.
        old: What is replaced.
        new: By what; as long as ``old``, or the protocol would notice.

    Yields:
        The port to connect to.
    """
    assert len(old) == len(new)

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data.replace(old, new))
                await writer.drain()
        writer.close()

    served: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        # Both ways end when either side hangs up; they are awaited below.
        served.append(asyncio.create_task(copy(reader, inner_writer)))  # noqa: TID251
        served.append(asyncio.create_task(copy(inner_reader, writer)))  # noqa: TID251

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*served)
