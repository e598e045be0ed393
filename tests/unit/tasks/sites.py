"""Web servers of tests: each request gets prepared bytes."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Answers = Callable[[str], bytes]


def http(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    given = {"Content-Length": str(len(body))} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


class Site:
    """A local server that answers each request line with prepared bytes."""

    def __init__(self, answers: Answers, context: ssl.SSLContext | None = None) -> None:
        self._answers = answers
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[str] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        # Closing alone does not wake a thread that waits in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                data = b""
                while not data.endswith(b"\r\n\r\n"):
                    more = connection.recv(65_536)
                    if not more:
                        return
                    data += more
                request = data.decode()
                self.requests.append(request)
                connection.sendall(self._answers(request.split()[1]))
        except OSError:
            return


@contextmanager
def site(answers: Answers, context: ssl.SSLContext | None = None) -> Iterator[Site]:
    server = Site(answers, context)
    try:
        yield server
    finally:
        server.close()
