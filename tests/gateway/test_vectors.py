"""The golden vectors of the protocol, which every implementation reads: bytes and their meaning."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stoker.core.errors import (
    BackendError,
    OutcomeUnknown,
    StokerError,
    error_classes,
)
from stoker.core.wire import verbs
from stoker.core.wire.frames import FrameReader, pack
from stoker.core.wire.messages import (
    FORGET,
    HELLO,
    PING,
    ForgetParams,
    Hello,
    Welcome,
    error_from,
    read_request,
    read_response,
    write,
)

FOLDER = Path(__file__).resolve().parents[2] / "protocol" / "vectors"
FILES = ("errors", "hello", "refused", "store", "worker")
CONNECTION_VERBS: dict[str, tuple[Any, Any]] = {
    HELLO: (Hello, Welcome),
    PING: (dict[str, int], None),
    FORGET: (ForgetParams, None),
}
ROOM = 1_000_000


def load(file: str) -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads((FOLDER / f"{file}.json").read_text())["vectors"]
    return vectors


def named(vectors: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(vector, id=vector["name"].replace(" ", "_")) for vector in vectors]


TALK = [vector for file in ("hello", "worker", "store") for vector in load(file)]
ASKED = [vector for vector in TALK if vector["from"] == "client"]
ANSWERED = [vector for vector in TALK if vector["from"] == "server"]


def body_of(vector: dict[str, Any], *, limit: int = ROOM) -> bytes:
    frames = FrameReader(limit)
    frames.feed(bytes.fromhex(vector["frame_hex"]))
    body = frames.next()
    assert body is not None
    assert not frames.is_inside
    return body


def test_the_folder_holds_the_files_that_are_read_here() -> None:
    assert sorted(file.stem for file in FOLDER.glob("*.json")) == list(FILES)


@pytest.mark.parametrize("vector", named([*TALK, *load("errors")]))
def test_a_frame_holds_the_text_and_the_text_the_meaning(vector: dict[str, Any]) -> None:
    body = body_of(vector)
    assert body.decode() == vector["text"]
    assert json.loads(body) == vector["meaning"]
    assert pack(body).hex() == vector["frame_hex"]


@pytest.mark.parametrize("vector", named(ASKED))
def test_a_request_is_read_and_written_to_the_byte(vector: dict[str, Any]) -> None:
    body = body_of(vector)
    request = read_request(body)
    assert request.verb == vector["verb"]
    params = _read_params(request.verb, request.params)
    if vector.get("exact", True):
        again = msgspec.Raw(msgspec.json.encode(params))
        assert write(msgspec.structs.replace(request, params=again)) == body


@pytest.mark.parametrize("vector", named(ANSWERED))
def test_an_answer_is_read_and_written_to_the_byte(vector: dict[str, Any]) -> None:
    response = read_response(body_of(vector))
    assert isinstance(response.ok, msgspec.Raw)
    verb = vector["verb"]
    if verb in CONNECTION_VERBS:
        kind = CONNECTION_VERBS[verb][1]
        assert msgspec.json.encode(msgspec.json.decode(response.ok, type=kind)) == bytes(
            response.ok
        )
        return
    known = verbs.VERBS[verb]
    answer = known.read_answer(response.ok)
    assert known.write_answer(answer) == bytes(response.ok)


@pytest.mark.parametrize("vector", named(load("errors")))
def test_an_error_becomes_the_class_of_its_code(vector: dict[str, Any]) -> None:
    response = read_response(body_of(vector))
    assert not isinstance(response.error, msgspec.UnsetType)
    error = error_from(response.error)
    known = error_classes()
    if vector["error"] in known:
        assert type(error) is known[vector["error"]]
        assert error.retryable == vector["meaning"]["error"].get("retryable", False)
    else:
        assert type(error) is (OutcomeUnknown if response.error.retryable else BackendError)
        assert error.details["code"] == vector["error"]
    assert error.message == vector["meaning"]["error"]["message"]


@pytest.mark.parametrize("vector", named(load("refused")))
def test_what_must_be_refused_is_refused_with_its_code(vector: dict[str, Any]) -> None:
    with pytest.raises(StokerError) as refused:
        read_request(body_of(vector, limit=vector["limit"]))
    assert refused.value.code == vector["refused"]


def test_every_verb_has_a_request_and_an_answer_among_the_vectors() -> None:
    wanted = {*verbs.VERBS, *CONNECTION_VERBS}
    assert {vector["verb"] for vector in ASKED} == wanted
    assert {vector["verb"] for vector in ANSWERED} == wanted


def _read_params(verb: str, params: msgspec.Raw) -> Any:
    if verb in CONNECTION_VERBS:
        return msgspec.json.decode(params, type=CONNECTION_VERBS[verb][0])
    return verbs.VERBS[verb].read_params(params)
