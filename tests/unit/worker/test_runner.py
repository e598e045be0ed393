"""How each end of an attempt is judged."""

import asyncio
import inspect
from typing import Any

import msgspec
import pytest

from stoker.core.clock import Clock
from stoker.core.context import current_job
from stoker.core.errors import Cancelled, Discard, Retry, Snooze, TaskTimeout
from stoker.core.job import Leased, Outcome
from stoker.core.retry import RetryPolicy
from stoker.core.task import Task, TaskOptions
from stoker.testing import FakeClock
from stoker.worker.attempt import Attempt, Interrupted, SoftLimit, Stop, Verdict
from stoker.worker.runner import POSTPONE_CAP, Runner

LIMIT = 1_000


def half() -> float:
    return 0.5


@pytest.fixture
def runner() -> Runner:
    return Runner(worker="tester", result_limit=LIMIT, random=half)


def make_attempt(fn: Any, payload: bytes = b"{}", **leased: Any) -> Attempt:
    clock: Clock = FakeClock()
    run_in = "async" if inspect.iscoroutinefunction(fn) else "thread"
    task: Task[..., Any] = Task(fn, name="task", options=TaskOptions.make(run_in=run_in))
    fields: dict[str, Any] = {"attempt": 1, "epoch": 1, "nonce": "n" * 32} | leased
    job = Leased(id="job", task="task", payload=payload, queue="default", **fields)
    return Attempt(job, task, leased_at=0.0, clock=clock)


def raising(error: BaseException) -> Any:
    def fn() -> None:
        raise error

    return fn


def judge(runner: Runner, error: BaseException, stop: Stop | None = None, **leased: Any) -> Verdict:
    """Let a task raise, told to stop while it ran."""

    def fn() -> None:
        attempt.stop = stop
        raise error

    attempt = make_attempt(fn, **leased)
    return runner.run_sync(attempt)


def test_a_value_is_encoded_as_the_result(runner: Runner) -> None:
    verdict = runner.run_sync(make_attempt(lambda: {"a": [1, None]}))
    assert verdict == Verdict(Outcome.COMPLETED, b'{"a":[1,null]}')


async def test_a_coroutine_and_a_function_are_judged_alike(runner: Runner) -> None:
    async def add(a: int, b: int = 2) -> int:
        await asyncio.sleep(0)
        return a + b

    def plain(a: int, b: int = 2) -> int:
        return a + b

    payload = b'{"a":1}'
    expected = Verdict(Outcome.COMPLETED, b"3")
    assert await runner.run_async(make_attempt(add, payload)) == expected
    assert runner.run_sync(make_attempt(plain, payload)) == expected


def test_a_result_over_the_limit_is_a_small_failure(runner: Runner) -> None:
    verdict = runner.run_sync(make_attempt(lambda: "x" * LIMIT))
    assert verdict.outcome is Outcome.FAILED
    assert verdict.retry_in is None
    assert verdict.error is not None
    assert verdict.error.code == "result_too_large"
    assert "limits.result" in verdict.error.message
    assert len(msgspec.json.encode(verdict)) < LIMIT


@pytest.mark.parametrize("value", [object(), float("nan"), {1: {2: object()}}])
def test_a_result_without_a_json_form_is_not_tried_again(runner: Runner, value: object) -> None:
    verdict = runner.run_sync(make_attempt(lambda: value))
    assert verdict.outcome is Outcome.FAILED
    assert verdict.retry_in is None
    assert verdict.error is not None
    assert verdict.error.code == "invalid_payload"


@pytest.mark.parametrize("payload", [b'{"a":"x"}', b"{", b'{"b":1}', b"[]"])
def test_a_payload_that_does_not_fit_is_dead_at_once(runner: Runner, payload: bytes) -> None:
    called = []

    def fn(a: int) -> None:
        called.append(a)

    verdict = runner.run_sync(make_attempt(fn, payload))
    assert (verdict.outcome, verdict.retry_in) == (Outcome.FAILED, None)
    assert verdict.error is not None
    assert verdict.error.code == "invalid_arguments"
    assert not called


def test_an_exception_keeps_its_type_its_message_and_the_frames_of_the_task(
    runner: Runner,
) -> None:
    verdict = judge(runner, ValueError("bad thing"))
    assert verdict.outcome is Outcome.FAILED
    assert verdict.error is not None
    assert (verdict.error.code, verdict.error.type) == ("task_error", "ValueError")
    assert verdict.error.message == "bad thing"
    assert "test_runner.py" in (verdict.error.traceback or "")
    assert "worker/runner.py" not in (verdict.error.traceback or "")


def test_a_failure_is_retried_as_its_policy_says(runner: Runner) -> None:
    policy = RetryPolicy(3, backoff="fixed", base=8).to_json()
    assert judge(runner, ValueError(), retry=policy).retry_in == 4.0
    assert judge(runner, ValueError(), retry=policy, failed=2).retry_in == 4.0
    assert judge(runner, ValueError(), retry=policy, failed=3).retry_in is None


def test_a_policy_decides_by_the_exception(runner: Runner) -> None:
    policy = RetryPolicy(3, never=[KeyError]).to_json()
    assert judge(runner, KeyError("x"), retry=policy).retry_in is None
    assert judge(runner, ValueError(), retry=policy).retry_in is not None


def test_an_unreadable_policy_falls_back_to_the_default_one(runner: Runner) -> None:
    assert judge(runner, ValueError(), retry=b"nonsense").retry_in is not None


def test_retry_asks_for_its_own_wait_and_counts_as_failed(runner: Runner) -> None:
    verdict = judge(runner, Retry("not yet", after="20s"))
    assert (verdict.outcome, verdict.retry_in) == (Outcome.FAILED, 20.0)
    assert verdict.error is not None
    assert (verdict.error.code, verdict.error.message) == ("retry", "not yet")


def test_retry_without_a_wait_takes_the_backoff_even_where_the_policy_names_errors(
    runner: Runner,
) -> None:
    policy = RetryPolicy(3, backoff="fixed", base=8, on=[KeyError]).to_json()
    assert judge(runner, Retry(), retry=policy).retry_in == 4.0


def test_snooze_is_not_a_failure(runner: Runner) -> None:
    verdict = judge(runner, Snooze("10m", "too early"))
    assert (verdict.outcome, verdict.retry_in) == (Outcome.SNOOZED, 600.0)
    assert verdict.error is not None
    assert verdict.error.message == "too early"
    assert judge(runner, Snooze(1)).error is None


@pytest.mark.parametrize("signal", [Snooze("soonish"), Retry(after=-1)])
def test_a_signal_with_a_wait_that_means_nothing_is_a_failure(
    runner: Runner, signal: Exception
) -> None:
    verdict = judge(runner, signal)
    assert verdict.outcome is Outcome.FAILED
    assert verdict.error is not None
    assert verdict.error.code == "invalid_option"


def test_discard_fails_for_good(runner: Runner) -> None:
    verdict = judge(runner, Discard("pointless"))
    assert (verdict.outcome, verdict.retry_in) == (Outcome.FAILED, None)
    assert verdict.error is not None
    assert verdict.error.code == "discarded"


def test_a_task_may_cancel_its_own_job(runner: Runner) -> None:
    assert judge(runner, Cancelled()).outcome is Outcome.CANCELLED


@pytest.mark.parametrize(
    ("stop", "outcome", "code"),
    [
        (Stop.SOFT, Outcome.FAILED, "timeout"),
        (Stop.HARD, Outcome.FAILED, "timeout"),
        (Stop.MEMORY, Outcome.FAILED, "memory_exceeded"),
        (Stop.RELEASE, Outcome.RELEASED, None),
        (Stop.CANCEL, Outcome.CANCELLED, None),
        (Stop.ABANDON, Outcome.CANCELLED, None),
    ],
)
@pytest.mark.parametrize(
    "raised", [Interrupted(), SoftLimit(), Cancelled(), asyncio.CancelledError()]
)
def test_an_obeyed_interrupt_ends_as_its_reason_says(
    runner: Runner, stop: Stop, outcome: Outcome, code: str | None, raised: BaseException
) -> None:
    verdict = judge(runner, raised, stop)
    assert verdict.outcome is outcome
    assert (verdict.error.code if verdict.error else None) == code


@pytest.mark.parametrize(
    ("stop", "outcome", "code"),
    [
        (Stop.SOFT, Outcome.FAILED, "task_error"),
        (Stop.HARD, Outcome.FAILED, "timeout"),
        (Stop.RELEASE, Outcome.RELEASED, None),
        (Stop.CANCEL, Outcome.FAILED, "task_error"),
    ],
)
def test_another_error_after_an_interrupt_is_the_tasks_own_unless_it_had_to_end(
    runner: Runner, stop: Stop, outcome: Outcome, code: str | None
) -> None:
    verdict = judge(runner, OSError("connection closed under me"), stop)
    assert verdict.outcome is outcome
    assert (verdict.error.code if verdict.error else None) == code


def test_a_task_that_was_told_and_returns_nevertheless_has_completed(runner: Runner) -> None:
    def fn() -> str:
        attempt.stop = Stop.SOFT
        return "partial"

    attempt = make_attempt(fn)
    assert runner.run_sync(attempt) == Verdict(Outcome.COMPLETED, b'"partial"')


def test_a_limit_names_its_length_and_is_a_timeout_for_the_policy(runner: Runner) -> None:
    policy = RetryPolicy(3, never=[TaskTimeout]).to_json()
    verdict = judge(runner, Interrupted(), Stop.HARD, timeout=2.5, retry=policy)
    assert verdict.retry_in is None
    assert verdict.error is not None
    assert "limit of 2.5 s" in verdict.error.message
    soft = judge(runner, SoftLimit(), Stop.SOFT, soft_timeout=1.5)
    assert soft.error is not None
    assert "soft limit of 1.5 s" in soft.error.message


def test_a_cancelled_error_that_nobody_asked_for_is_a_failure(runner: Runner) -> None:
    verdict = judge(runner, asyncio.CancelledError())
    assert verdict.outcome is Outcome.FAILED
    assert verdict.error is not None
    assert verdict.error.type == "CancelledError"


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
def test_nothing_that_a_task_raises_leaves_the_attempt(
    runner: Runner, error: BaseException
) -> None:
    verdict = judge(runner, error)
    assert verdict.outcome is Outcome.FAILED
    assert verdict.error is not None
    assert verdict.error.type == type(error).__name__


def test_an_attempt_that_was_told_to_stop_before_it_began_is_not_run(runner: Runner) -> None:
    called = []
    attempt = make_attempt(lambda: called.append(1))
    attempt.stop = Stop.CANCEL
    assert runner.run_sync(attempt).outcome is Outcome.CANCELLED
    assert not called


def test_results_of_parents_are_filled_in_and_visible(runner: Runner) -> None:
    def fn(text: str) -> dict[str, Any]:
        return {"text": text, "parents": dict(current_job().parents)}

    attempt = make_attempt(
        fn,
        b'{"text":{"$output":"p1"}}',
        parents={"p1": b'"from one"'},
        parent_names={"p1": "first"},
        workflow_id="w",
    )
    verdict = runner.run_sync(attempt)
    assert verdict.result == b'{"text":"from one","parents":{"first":"from one"}}'


def test_a_parent_without_a_result_stands_for_null(runner: Runner) -> None:
    def fn(text: str | None) -> bool:
        return text is None

    attempt = make_attempt(fn, b'{"text":{"$output":"gone"}}', parents={})
    assert runner.run_sync(attempt).result == b"true"


async def test_context_variables_of_one_job_are_not_seen_by_the_next(runner: Runner) -> None:
    from contextvars import ContextVar

    mark: ContextVar[str] = ContextVar("mark", default="clean")

    async def fn() -> str:
        before = mark.get()
        mark.set("dirty")
        await asyncio.sleep(0)
        assert mark.get() == "dirty"
        return before

    for _ in range(2):
        assert (await runner.run_async(make_attempt(fn))).result == b'"clean"'


async def test_asyncio_knows_the_current_task_inside_a_job(runner: Runner) -> None:
    async def fn() -> bool:
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            inner = group.create_task(asyncio.sleep(0, "inner"))
        return asyncio.current_task() is me and inner.result() == "inner"

    me = asyncio.current_task()
    assert (await runner.run_async(make_attempt(fn))).result == b"true"


async def test_an_exception_thrown_into_a_job_reaches_its_own_handler(runner: Runner) -> None:
    async def fn() -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            return "caught"
        return "not reached"

    assert (await runner.run_async(make_attempt(fn))).result == b'"caught"'


def test_a_job_that_cannot_run_here_is_put_off_longer_each_time(runner: Runner) -> None:
    waits = []
    for epoch in (1, 2, 3, 50):
        verdict = runner.postponed(None, make_attempt(lambda: None, epoch=epoch).leased)
        assert verdict.outcome is Outcome.SNOOZED
        waits.append(verdict.retry_in)
    assert waits == [0.75, 1.5, 3.0, POSTPONE_CAP * 0.75]


def test_a_death_is_a_crash_unless_it_was_us(runner: Runner) -> None:
    attempt = make_attempt(lambda: None, timeout=5.0)
    died = runner.died(attempt, "was killed by SIGSEGV", stack="here")
    assert died.outcome is Outcome.CRASHED
    assert died.error is not None
    assert died.error.message == "the process that ran the job was killed by SIGSEGV"
    assert died.error.traceback == "here"
    attempt.stop = Stop.RELEASE
    assert runner.died(attempt, "was killed by SIGKILL").outcome is Outcome.RELEASED
