"""Requests, responses and errors as JSON."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.errors import (
    BackendError,
    InvalidArguments,
    LeaseLost,
    OutcomeUnknown,
    ProtocolError,
    StokerError,
    error_classes,
)
from stoker.core.wire.messages import (
    ErrorBody,
    ForgetParams,
    Request,
    Response,
    check_json,
    error_body,
    error_from,
    read_params,
    read_request,
    read_response,
    write,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
IDS = st.integers(0, 2**53 - 1)


@given(number=IDS, verb=st.text(max_size=30), params=st.dictionaries(st.text(), JSON, max_size=3))
def test_a_request_reads_as_it_was_written(
    number: int, verb: str, params: dict[str, object]
) -> None:
    raw = msgspec.json.encode(params)
    again = read_request(write(Request(number, verb, msgspec.Raw(raw))))
    assert (again.id, again.verb, bytes(again.params)) == (number, verb, raw)


@given(number=IDS, answer=JSON)
def test_an_answer_reads_as_it_was_written(number: int, answer: object) -> None:
    raw = msgspec.json.encode(answer)
    again = read_response(write(Response(number, msgspec.Raw(raw))))
    assert isinstance(again.ok, msgspec.Raw)
    assert (again.id, bytes(again.ok)) == (number, raw)


@pytest.mark.parametrize("code", sorted(error_classes()))
def test_every_error_keeps_its_class_on_the_way(code: str) -> None:
    error = error_classes()[code].__new__(error_classes()[code])
    StokerError.__init__(error, "what was found", size=3)
    response = read_response(write(Response(4, error=error_body(error))))
    assert isinstance(response.error, ErrorBody)
    again = error_from(response.error)
    assert type(again) is type(error)
    assert (again.message, again.details) == ("what was found", {"size": 3})


def test_details_that_json_cannot_say_travel_as_text() -> None:
    body = error_body(LeaseLost("gone", cause=ValueError("x")))
    assert body.details == {"cause": "x"}


def test_a_code_of_a_newer_server_is_no_verdict_on_the_request() -> None:
    assert type(error_from(ErrorBody("brand_new", "x"))) is BackendError
    assert type(error_from(ErrorBody("brand_new", "x", retryable=True))) is OutcomeUnknown
    assert error_from(ErrorBody("brand_new", "x")).details == {"code": "brand_new"}


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'{"id":1}', b'{"id":1,"ok":1,"error":{"code":"x","message":"y"}}'],
)
def test_what_is_no_response_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_response(body)


def test_fields_that_a_client_does_not_know_are_ignored_in_a_response() -> None:
    assert read_response(b'{"id":1,"ok":2,"took":0.1}').id == 1


@pytest.mark.parametrize("params", [b"[]", b'{"id":"x"}', b'{"id":1,"why":2}'])
def test_parameters_that_do_not_fit_are_the_callers_mistake(params: bytes) -> None:
    with pytest.raises(InvalidArguments):
        read_params(ForgetParams, msgspec.Raw(params))


@pytest.mark.parametrize("data", [b"", b"{", b"NaN", b"{} {}", b'"\xff"', b"[" * 5_000])
def test_what_is_not_json_is_not_put_into_a_message(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        check_json(data)


def test_json_is_kept_to_the_byte() -> None:
    assert bytes(check_json(b'{"a" : 1.50, "\xc3\xa9":[ ]}')) == b'{"a" : 1.50, "\xc3\xa9":[ ]}'
