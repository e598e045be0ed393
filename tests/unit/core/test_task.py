"""Tasks: binding, checking and decoding arguments; options; the registry."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from pydantic import BaseModel

from stoker.core.codec import Output
from stoker.core.errors import (
    DuplicateTask,
    InvalidArguments,
    InvalidOption,
    InvalidPayload,
    InvalidTask,
    UnknownTask,
)
from stoker.core.job import Priority
from stoker.core.retry import RetryPolicy
from stoker.core.task import (
    Registry,
    Task,
    TaskOptions,
    byte_size,
    check_count,
    check_name,
    check_priority,
)


class Size(BaseModel):
    width: int
    height: int = 720


@dataclass
class Cut:
    start: float
    end: float


def task(fn: Callable[..., Any], style: Literal["arguments", "payload"] = "arguments") -> Any:
    return Task(fn, name="video.process", options=TaskOptions(), style=style)


def process(file: str, height: int = 720, *, fast: bool = False) -> str:
    return f"{file} {height} {fast}"


def test_arguments_become_a_payload_by_name() -> None:
    bound = task(process).bind("movie.mp4", 480)
    assert msgspec.json.decode(bound) == {"file": "movie.mp4", "height": 480}


def test_a_payload_becomes_arguments_again() -> None:
    args, kwargs = task(process).arguments(b'{"file": "movie.mp4", "fast": true}')
    assert process(*args, **kwargs) == "movie.mp4 720 True"


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        (("a", 1, 2), {}),
        (("a",), {"speed": 1}),
        (("a",), {"file": "b"}),
        ((3,), {}),
        (("a", "480"), {}),
        (("a", None), {}),
    ],
)
def test_arguments_that_do_not_fit_the_signature_are_refused(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArguments, match=r"does not fit task 'video\.process'"):
        task(process).bind(*args, **kwargs)


@pytest.mark.parametrize(
    "payload",
    [b"{}", b"[]", b"nonsense", b'{"file": 1}', b'{"file": "a", "unknown": 1}', b'"a"', b""],
)
def test_a_payload_that_does_not_fit_is_refused_when_it_runs(payload: bytes) -> None:
    with pytest.raises(InvalidArguments):
        task(process).arguments(payload)
    with pytest.raises(InvalidArguments):
        task(process).check(payload)


def test_an_error_names_the_field_and_what_was_expected() -> None:
    with pytest.raises(InvalidArguments, match=r"Expected `int`, got `str`.*height"):
        task(process).check(b'{"file": "a", "height": "tall"}')


def test_an_argument_without_a_json_form_is_refused() -> None:
    def anything(value: Any) -> None: ...

    with pytest.raises(InvalidPayload):
        task(anything).bind(object())
    with pytest.raises(InvalidPayload):
        task(anything).bind(float("nan"))


def test_rich_types_go_and_come_back() -> None:
    def cut(file: Path, size: Size, cuts: list[Cut], pause: timedelta | None = None) -> None: ...

    bound = task(cut).bind(Path("a/b"), Size(width=3), [Cut(1, 2)], pause=timedelta(seconds=5))
    args, kwargs = task(cut).arguments(bound)
    assert args == ()
    assert kwargs == {
        "file": Path("a/b"),
        "size": Size(width=3),
        "cuts": [Cut(1, 2)],
        "pause": timedelta(seconds=5),
    }


def test_untyped_parameters_take_any_json() -> None:
    def loose(a, b=3):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return a, b

    assert task(loose).arguments(b'{"a": [1, {"x": null}]}')[1] == {"a": [1, {"x": None}]}


def test_open_keywords_take_what_the_others_leave() -> None:
    def report(name: str, **labels: Any) -> None: ...

    bound = task(report).bind("daily", colour="red", size=3)
    assert msgspec.json.decode(bound) == {"name": "daily", "colour": "red", "size": 3}
    assert task(report).arguments(bound) == ((), {"name": "daily", "colour": "red", "size": 3})


def test_positional_parameters_are_given_by_position() -> None:
    def add(a: int, b: int = 2, /) -> int:
        return a + b

    args, kwargs = task(add).arguments(b'{"a": 1, "b": 5}')
    assert (args, kwargs) == ((1, 5), {})
    assert msgspec.json.decode(task(add).bind(1)) == {"a": 1}


def test_a_parameter_may_have_any_name() -> None:
    def send(from_: str, self: int, type: str) -> None: ...  # noqa: A002

    payload = b'{"from_": "me", "self": 1, "type": "x"}'
    assert task(send).arguments(payload)[1] == {"from_": "me", "self": 1, "type": "x"}


def test_variable_positional_parameters_cannot_be_named_in_json() -> None:
    def add(*numbers: int) -> int:
        return sum(numbers)

    with pytest.raises(InvalidTask, match=r"takes \*numbers"):
        task(add)


def test_hints_that_cannot_be_resolved_are_an_error_at_once() -> None:
    def broken(a: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(InvalidTask, match="cannot be resolved"):
        task(broken)


def test_a_payload_task_takes_the_whole_object() -> None:
    def run(payload: dict[str, Any]) -> Any:
        return payload

    assert task(run, "payload").arguments(b'{"any": [1]}') == (({"any": [1]},), {})
    assert task(run, "payload").bind({"any": 1}) == b'{"any":1}'
    with pytest.raises(InvalidArguments):
        task(run, "payload").check(b"[1]")


def test_a_payload_task_may_say_what_it_takes() -> None:
    def run(payload: Size) -> Any:
        return payload

    assert task(run, "payload").arguments(b'{"width": 3}') == ((Size(width=3),), {})
    with pytest.raises(InvalidArguments):
        task(run, "payload").check(b'{"height": 3}')


@pytest.mark.parametrize(
    "fn",
    [lambda: None, lambda a, b: None, lambda *, payload: None, lambda *payload: None],
    ids=["none", "two", "keyword", "any"],
)
def test_a_payload_task_takes_one_argument(fn: Callable[..., Any]) -> None:
    with pytest.raises(InvalidTask, match=r"expected run\(payload\)"):
        task(fn, "payload")


def test_a_result_of_a_parent_is_checked_when_it_is_known() -> None:
    bound = task(process).bind(Output("p1"), height=480)
    results: dict[str, Any] = {"p1": "movie.mp4"}
    assert task(process).arguments(bound, results.__getitem__)[1]["file"] == "movie.mp4"
    results["p1"] = 3
    with pytest.raises(InvalidArguments):
        task(process).arguments(bound, results.__getitem__)


def test_the_other_arguments_are_checked_before_the_result_is_known() -> None:
    for arguments in ({"height": "tall"}, {"unknown": 1}):
        with pytest.raises(InvalidArguments):
            task(process).bind(file=Output("p1"), **arguments)
    with pytest.raises(InvalidArguments, match="missing required field `file`"):
        task(process).check(b'{"height": {"$output": "p1"}}')


def test_texts_of_a_shell_become_what_is_wanted() -> None:
    def cut(file: str, height: int, share: float, fast: bool, sizes: list[int]) -> None: ...  # noqa: FBT001

    given = {"file": "7", "height": "720", "share": "0.5", "fast": "true", "sizes": [1, 2]}
    assert msgspec.json.decode(task(cut).from_text(given)) == {
        "file": "7",
        "height": 720,
        "share": 0.5,
        "fast": True,
        "sizes": [1, 2],
    }
    with pytest.raises(InvalidArguments, match="height"):
        task(cut).from_text(given | {"height": "tall"})


def test_a_schema_tells_the_signature() -> None:
    schema = task(process).json_schema()
    assert "height" in str(schema)
    assert task(lambda payload: None, "payload").json_schema()["type"] == "object"


def test_a_task_knows_its_return_type() -> None:
    assert task(process).returns is str
    assert task(lambda: None).returns is Any


async def coroutine() -> None: ...


def test_an_async_function_is_not_for_threads_and_a_plain_one_not_for_the_loop() -> None:
    with pytest.raises(InvalidTask, match="not in a thread"):
        Task(coroutine, name="a", options=TaskOptions.make(run_in="thread"))
    with pytest.raises(InvalidTask, match="no 'async def' function"):
        Task(process, name="a", options=TaskOptions.make(run_in="async"))
    assert Task(coroutine, name="a", options=TaskOptions.make(run_in="async")).is_async
    assert Task(coroutine, name="a", options=TaskOptions.make(run_in="process")).is_async


@pytest.mark.parametrize("name", ["", "-a", "a b", "ä", "x" * 201, ".hidden", "a\n", 3, None])
def test_names_that_nobody_could_type_are_refused(name: Any) -> None:
    with pytest.raises(InvalidOption, match="the queue is"):
        check_name(name, what="queue")


@pytest.mark.parametrize("name", ["a", "video.process", "a/b:c-d_e", "9", "_x", "x" * 200])
def test_plain_names_are_taken_as_they_are(name: str) -> None:
    assert check_name(name, what="queue") == name


def test_options_are_read_as_people_write_them() -> None:
    options = TaskOptions.make(
        queue="video",
        priority="high",
        max_retries=7,
        timeout="15m",
        soft_timeout=60,
        run_in="process",
        expires="1d",
        memory="512MB",
    )
    assert options == TaskOptions(
        queue="video",
        priority=Priority.HIGH,
        retry=RetryPolicy(7),
        timeout=900.0,
        soft_timeout=60.0,
        run_in="process",
        expires=86_400.0,
        memory=512 * 2**20,
    )


def test_a_number_of_retries_changes_a_given_policy() -> None:
    options = TaskOptions.make(retry=RetryPolicy(2, base=9), max_retries=5)
    assert options.retry == RetryPolicy(5, base=9)


@pytest.mark.parametrize(
    "wrong",
    [
        {"run_in": "cloud"},
        {"queue": "a b"},
        {"priority": "urgent"},
        {"timeout": 0},
        {"timeout": "soon"},
        {"soft_timeout": -1},
        {"max_retries": -1},
        {"max_lost": 0},
        {"max_lost": True},
        {"memory": "much"},
        {"memory": 0},
    ],
)
def test_options_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        TaskOptions.make(**wrong)


@pytest.mark.parametrize(
    ("written", "size"),
    [(1, 1), ("10", 10), ("1k", 1_024), ("1.5 KiB", 1_536), ("2MB", 2**21), ("1GiB", 2**30)],
)
def test_a_size_is_read_in_powers_of_1024(written: int | str, size: int) -> None:
    assert byte_size(written) == size


@pytest.mark.parametrize("written", [0, -1, True, "", "MB", "-1k", "1T", "0"], ids=repr)
def test_what_is_no_size_is_refused(written: Any) -> None:
    with pytest.raises(InvalidOption, match="expected bytes or a text"):
        byte_size(written)


def test_counts_and_priorities_are_checked() -> None:
    assert check_count(3, name="concurrency") == 3
    assert check_priority("low") is Priority.LOW
    for wrong in (0, 1.0, "3", True):
        with pytest.raises(InvalidOption, match="concurrency is"):
            check_count(wrong, name="concurrency")


def test_a_registry_knows_tasks_by_name() -> None:
    registry = Registry()
    known = task(process)
    registry.add(known)
    registry.add(known, alias="process_video")
    assert registry.get("video.process") is registry.get("process_video") is known
    assert registry.names() == ("process_video", "video.process")
    assert ("video.process" in registry, len(registry), set(registry)) == (
        True,
        2,
        {"video.process", "process_video"},
    )
    registry.discard("process_video")
    registry.discard("process_video")
    assert "process_video" not in registry


def test_two_functions_cannot_share_a_name() -> None:
    registry = Registry()
    registry.add(task(process))
    registry.add(task(process))
    with pytest.raises(DuplicateTask, match=r"is taken by .*process; give .*<lambda>"):
        registry.add(task(lambda: None))


def test_an_unknown_task_is_answered_with_the_nearest_names() -> None:
    registry = Registry()
    with pytest.raises(UnknownTask, match="no task is known here"):
        registry.get("video.process")
    registry.add(task(process))
    with pytest.raises(UnknownTask, match=r"did you mean 'video\.process'") as caught:
        registry.get("video.proces")
    assert caught.value.details["suggestions"] == ["video.process"]
    with pytest.raises(UnknownTask, match=r"known are video\.process"):
        registry.get("zzz")
    registry.add(task(process), alias="audio")
    with pytest.raises(UnknownTask, match=r"known are video\.process, audio$"):
        registry.get("zzz")
