"""A coverage-guided fuzzer of all that the gateway reads before it believes a peer.

::

    make fuzz SECONDS=600

The vectors of the protocol are the seeds; a folder named on the command line keeps the corpus.
Anything but a Stoker error with a code, a hang, or memory beyond the limit, is a find. A short run
in `test_fuzz.py` keeps this file from rotting.
"""

import importlib
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

# Found at run time: type checkers need not have it.
atheris: Any = importlib.import_module("atheris")

with atheris.instrument_imports(include=["stoker"]):
    import msgspec

    from stoker.core.errors import FrameTooLarge, StokerError
    from stoker.core.wire.frames import HEADER, MAX_HELLO, FrameReader
    from stoker.core.wire.messages import (
        FORGET,
        HELLO,
        ForgetParams,
        Hello,
        Request,
        read_params,
        read_request,
        read_response,
        write,
    )
    from stoker.core.wire.verbs import VERBS, SubmitParams
    from stoker.server.gateway import door
    from stoker.settings import LimitSettings

T = TypeVar("T")

LIMITS = LimitSettings(batch=100)
LIMIT = MAX_HELLO


def fuzz(data: bytes) -> None:
    """Read bytes as a server reads them from a client, and as a client from a server."""
    whole = _bodies(data, len(data) or 1)
    # However the network cuts it, the same frames come out.
    assert whole == _bodies(data, 1 + len(data) // 7)
    for body in whole:
        assert len(body) <= LIMIT
    for body in (*whole, data):
        _as_request(body)
        _as_response(body)


def _bodies(data: bytes, step: int) -> list[bytes]:
    frames = FrameReader(LIMIT)
    found: list[bytes] = []
    try:
        for start in range(0, len(data), step):
            frames.feed(data[start : start + step])
            while (body := frames.next()) is not None:
                found.append(body)
    except FrameTooLarge:
        pass
    return found


def _as_request(body: bytes) -> None:
    request = _told(lambda: read_request(body), "protocol_error")
    if request is None:
        return
    again = read_request(write(request))
    assert (again.id, again.verb, bytes(again.params)) == (
        request.id,
        request.verb,
        bytes(request.params),
    )
    _told(lambda: _take(request))


def _told(read: Callable[[], T], *codes: str) -> T | None:
    """Return what was read; None after an error with one of these codes, or any."""
    try:
        return read()
    except StokerError as error:
        code = error.code
    assert not codes or code in codes, code
    return None


def _take(request: Request) -> None:
    if request.verb == HELLO:
        read_params(Hello, request.params)
    elif request.verb == FORGET:
        read_params(ForgetParams, request.params)
    elif request.verb in VERBS:
        verb = VERBS[request.verb]
        params = verb.read_params(request.params)
        if isinstance(params, SubmitParams):
            params = door.check_batch(params, LIMITS).params
        door.check_params(params, LIMITS, bytes(request.params))
        text = msgspec.json.encode(params)
        assert msgspec.json.encode(verb.read_params(text)) == text


def _as_response(body: bytes) -> None:
    response = _told(lambda: read_response(body), "protocol_error")
    if response is not None and isinstance(response.ok, msgspec.Raw):
        for verb in VERBS.values():
            _told(partial(verb.read_answer, response.ok), "protocol_error")


def seeds(folder: Path) -> None:
    """Write the vectors of the protocol as a first corpus."""
    vectors = Path(__file__).resolve().parents[2] / "protocol" / "vectors"
    for file in sorted(vectors.glob("*.json")):
        for number, vector in enumerate(json.loads(file.read_text())["vectors"]):
            frame = bytes.fromhex(vector["frame_hex"])
            (folder / f"{file.stem}-{number}-frame").write_bytes(frame)
            (folder / f"{file.stem}-{number}-body").write_bytes(frame[HEADER:])


def words(file: Path) -> None:
    """Write a dictionary: the parser's C code gives no coverage that would lead to these words."""
    fields = {f'"{name}":' for verb in VERBS.values() for name in verb.params.__struct_fields__}
    found = fields | {f'"verb":"{name}"' for name in (*VERBS, HELLO, FORGET)}
    quoted = (word.replace('"', '\\"') for word in sorted(found))
    file.write_text("".join(f'"{word}"\n' for word in quoted))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        corpus, dictionary = Path(folder, "corpus"), Path(folder, "words")
        corpus.mkdir()
        seeds(corpus)
        words(dictionary)
        options = ("-max_len=70000", "-timeout=10", f"-dict={dictionary}")
        atheris.Setup([*sys.argv, str(corpus), *options], fuzz)
        atheris.Fuzz()
