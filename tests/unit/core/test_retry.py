"""When failed attempts are tried again."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.errors import InvalidOption, TaskTimeout
from stoker.core.retry import MAX_RETRIES, RetryPolicy, exception_names


def half() -> float:
    """Stand in for chance."""
    return 0.5


class Busy(Exception):
    """Somebody else's error."""


class VeryBusy(Busy):
    """Somebody else's worse error."""


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [("fixed", [3, 3, 3, 3]), ("linear", [3, 6, 9, 10]), ("exponential", [3, 6, 10, 10])],
)
def test_a_wait_grows_as_its_backoff_says_up_to_the_cap(backoff: Any, waits: list[int]) -> None:
    policy = RetryPolicy(9, backoff=backoff, base=3, cap=10, jitter=False)
    assert [policy.delay(n, half) for n in (1, 2, 3, 4)] == waits


def test_jitter_takes_a_random_share_of_the_whole_wait() -> None:
    policy = RetryPolicy(9, base=4, jitter=True)
    shares = iter([0.0, 0.25, 0.75])
    assert [policy.delay(2, lambda: next(shares)) for _ in range(3)] == [0.0, 2.0, 6.0]


def test_a_thousandth_failure_does_not_overflow() -> None:
    assert RetryPolicy(MAX_RETRIES, cap="1h", jitter=False).delay(MAX_RETRIES, half) == 3_600.0


def test_the_default_policy_is_three_retries_with_full_jitter() -> None:
    policy = RetryPolicy()
    assert (policy.max_retries, policy.backoff, policy.jitter) == (3, "exponential", True)
    assert (policy.base, policy.cap) == (2.0, 300.0)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_job_is_repeated_as_often_as_its_policy_says(retries: int) -> None:
    policy = RetryPolicy(retries, jitter=False)
    decided = [policy.decide(n, ["ValueError"], half) for n in range(1, retries + 2)]
    assert [wait is not None for wait in decided] == [True] * retries + [False]


def test_only_the_named_exceptions_are_repeated() -> None:
    policy = RetryPolicy(3, on=[OSError, "Busy"])
    assert policy.decide(1, exception_names(ConnectionResetError()), half) is not None
    assert policy.decide(1, exception_names(VeryBusy()), half) is not None
    assert policy.decide(1, exception_names(ValueError()), half) is None


def test_named_exceptions_are_never_repeated() -> None:
    policy = RetryPolicy(3, on=[Exception], never=[LookupError])
    assert policy.decide(1, exception_names(KeyError("k")), half) is None
    assert policy.decide(1, exception_names(ValueError()), half) is not None


def test_the_most_derived_exception_has_its_own_policy() -> None:
    policy = RetryPolicy(
        1,
        base=1,
        jitter=False,
        per={
            Busy: RetryPolicy(5, backoff="fixed", base=20, jitter=False),
            VeryBusy: RetryPolicy(0),
        },
    )
    assert policy.decide(4, exception_names(Busy()), half) == 20.0
    assert policy.decide(1, exception_names(VeryBusy()), half) is None
    assert policy.decide(1, exception_names(ValueError()), half) == 1.0


def test_names_of_an_exception_are_plain_and_qualified_most_derived_first() -> None:
    names = exception_names(TaskTimeout("late"))
    assert names[:2] == ["TaskTimeout", "stoker.core.errors.TaskTimeout"]
    assert names.index("StokerError") < names.index("Exception") < names.index("BaseException")
    assert "object" not in names


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_retries": -1},
        {"max_retries": MAX_RETRIES + 1},
        {"max_retries": 1.5},
        {"max_retries": True},
        {"backoff": "quadratic"},
        {"base": "soon"},
        {"base": -1},
        {"cap": float("nan")},
        {"on": [3]},
        {"never": [""]},
        {"per": {int: RetryPolicy()}},
    ],
)
def test_options_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        RetryPolicy(**wrong)


def test_replacing_the_number_of_retries_keeps_the_rest() -> None:
    policy = RetryPolicy(2, base=7, never=["KeyError"])
    other = policy.replace(max_retries=9)
    assert (other.max_retries, other.base, policy.max_retries) == (9, 7.0, 2)
    assert other == RetryPolicy(9, base=7, never=["KeyError"])
    with pytest.raises(InvalidOption):
        policy.replace(max_retries=-1)


def test_equal_policies_are_equal_and_hash_alike() -> None:
    first, second = RetryPolicy(2, base="2s"), RetryPolicy(2, base=timedelta(seconds=2))
    assert first == second
    assert hash(first) == hash(second)
    assert first != RetryPolicy(3)
    assert first != "RetryPolicy"


def test_the_default_policy_is_an_empty_object_as_json() -> None:
    assert RetryPolicy().to_json() == b"{}"
    assert RetryPolicy.from_json(b"{}") == RetryPolicy()


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"nonsense", b'{"max_retries": "many"}', b'{"unknown": 1}']
)
def test_what_is_no_policy_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidOption):
        RetryPolicy.from_json(data)


def test_a_policy_shows_what_differs_from_the_default() -> None:
    assert repr(RetryPolicy()) == "RetryPolicy()"
    assert repr(RetryPolicy(5, backoff="fixed")) == "RetryPolicy(max_retries=5, backoff='fixed')"


POLICIES = st.builds(
    RetryPolicy,
    st.integers(0, MAX_RETRIES),
    backoff=st.sampled_from(["fixed", "linear", "exponential"]),
    base=st.floats(0, 1e6),
    cap=st.floats(0, 1e6),
    jitter=st.booleans(),
    on=st.lists(st.sampled_from(["A", "b.B", ValueError]), max_size=2),
    never=st.lists(st.sampled_from(["C", KeyError]), max_size=2),
)


@given(POLICIES)
def test_every_policy_survives_its_json(policy: RetryPolicy) -> None:
    assert RetryPolicy.from_json(policy.to_json()) == policy


@given(POLICIES, st.integers(1, 20_000), st.floats(0, 1, exclude_max=True))
def test_no_wait_is_negative_or_over_the_cap(
    policy: RetryPolicy, failures: int, share: float
) -> None:
    assert 0 <= policy.delay(failures, lambda: share) <= policy.cap
