"""Payloads as a shell writes them."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from stoker.cli.payload import read_payload
from stoker.core.errors import InvalidArguments, InvalidPayload, PayloadTooLarge

LIMIT = 10_000


def test_text_and_json_words_make_one_object() -> None:
    words = ["file=movie.mp4", "height:=720", 'tags:=["a", "b"]', "empty=", "url=http://x/?a=b"]
    assert read_payload(words, limit=LIMIT) == {
        "file": "movie.mp4",
        "height": 720,
        "tags": ["a", "b"],
        "empty": "",
        "url": "http://x/?a=b",
    }


def test_a_value_may_hold_what_looks_like_a_json_word() -> None:
    assert read_payload(["text=a:=b"], limit=LIMIT) == {"text": "a:=b"}


def test_a_file_gives_its_object_and_further_words_add_to_it(tmp_path: Path) -> None:
    file = tmp_path / "payload.json"
    file.write_text('{"a": 1}', encoding="utf-8")
    assert read_payload([f"@{file}", "b=2"], limit=LIMIT) == {"a": 1, "b": "2"}


def test_a_dash_reads_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b'{"a": [1, 2]}')))
    assert read_payload(["-"], limit=LIMIT) == {"a": [1, 2]}


@pytest.mark.parametrize("word", ["justaword", "=value", ":=1", ""])
def test_a_word_of_another_shape_is_refused(word: str) -> None:
    with pytest.raises(InvalidArguments, match="expected key=value"):
        read_payload([word], limit=LIMIT)


def test_a_key_that_is_given_twice_is_refused() -> None:
    with pytest.raises(InvalidArguments, match="'a' is given twice"):
        read_payload(["a=1", "a:=2"], limit=LIMIT)


@pytest.mark.parametrize("word", ["a:=NaN", "a:={", 'a:={"b": 1, "b": 2}', "a:=" + "[" * 200])
def test_json_that_is_none_is_refused(word: str) -> None:
    with pytest.raises(InvalidPayload, match="value of 'a'"):
        read_payload([word], limit=LIMIT)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InvalidPayload, match=r"nowhere\.json cannot be read"):
        read_payload(["@nowhere.json"], limit=LIMIT)


def test_a_file_without_an_object_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "list.json"
    file.write_text("[1]", encoding="utf-8")
    with pytest.raises(InvalidPayload, match="an array; expected a JSON object"):
        read_payload([f"@{file}"], limit=LIMIT)


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "big.json"
    file.write_text('{"a": "' + "x" * LIMIT + '"}', encoding="utf-8")
    with pytest.raises(PayloadTooLarge):
        read_payload([f"@{file}"], limit=LIMIT)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InvalidArguments, match="not UTF-8"):
        read_payload(["a=\udcff"], limit=LIMIT)
