from typing import Any

import msgspec
import pytest

from stoker.app.bodies import JobBody, OptionsBody, RetryBody, one_task, read_body
from stoker.app.calls import JobOptions
from stoker.core.errors import InvalidOption
from stoker.core.retry import RetryPolicy


def test_the_options_of_a_body_are_those_of_a_job() -> None:
    """A new option of `JobOptions` must not be forgotten where JSON is read."""
    in_json = set(JobBody.__struct_fields__) - {"task", "job_type", "payload"}
    # A connection of the caller's cannot be said in JSON.
    assert in_json == set(JobOptions.__struct_fields__) - {"connection"}
    assert in_json - set(OptionsBody.__struct_fields__) == {"delay", "run_at"}


def test_only_what_is_given_is_an_option() -> None:
    assert read_body({"task": "t"}, JobBody).options() == {}
    body = read_body({"task": "t", "queue": "q", "delay": 5, "retry": {"cap": "1m"}}, JobBody)
    assert body.options() == {"queue": "q", "delay": 5.0, "retry": RetryPolicy(cap=60)}


def test_a_retry_body_says_the_whole_policy() -> None:
    given = {"max_retries": 2, "backoff": "fixed", "base": "1s", "jitter": False, "never": ["A"]}
    policy = read_body(given, RetryBody).policy()
    assert policy == RetryPolicy(2, backoff="fixed", base=1, jitter=False, never=["A"])
    assert read_body({}, RetryBody).policy() == RetryPolicy()


@pytest.mark.parametrize(
    ("task", "job_type", "expected"), [("a", None, "a"), (None, "a", "a"), ("a", "a", "a")]
)
def test_either_key_names_the_task(task: str | None, job_type: str | None, expected: str) -> None:
    assert one_task(task, job_type) == expected


@pytest.mark.parametrize(("task", "job_type"), [(None, None), ("a", "b")])
def test_no_name_and_two_names_are_refused(task: str | None, job_type: str | None) -> None:
    with pytest.raises(InvalidOption, match="job_type"):
        one_task(task, job_type)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "Expected `object`"),
        ({"task": 1}, r"\$\.task"),
        ({"tsk": "a"}, "did you mean 'task'"),
        ({"zzz": 1}, "known are queue, priority"),
        ({"headers": {"a": 1}}, r"\$\.headers"),
    ],
)
def test_a_body_that_does_not_fit_says_where(value: Any, said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        read_body(value, JobBody, what="job")


def test_a_renamed_key_is_known_by_the_name_that_json_has() -> None:
    class Move(msgspec.Struct, rename={"source": "from"}, forbid_unknown_fields=True):
        source: str = ""

    assert read_body({"from": "a"}, Move).source == "a"
    with pytest.raises(InvalidOption, match="unknown key 'source'"):
        read_body({"source": "a"}, Move)
