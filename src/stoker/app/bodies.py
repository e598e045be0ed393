"""Jobs as JSON describes them: in the bodies of HTTP requests and in files of workflows.

The structs say which keys there are and of what kind; what a value means is checked by the same
code that Python callers go through (`JobOptions.make`, `RetryPolicy`, the task's signature).
"""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from stoker.app.calls import MAX_TEXT, Call
from stoker.app.stoker import Stoker
from stoker.core.duration import seconds
from stoker.core.errors import InvalidOption
from stoker.core.job import PRIORITIES
from stoker.core.retry import MAX_RETRIES, RetryPolicy
from stoker.core.task import NAME

T = TypeVar("T")

_NAME_PATTERN = f"^{NAME.pattern}$"
Name = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": _NAME_PATTERN})]
Length = Annotated[
    float | str,
    msgspec.Meta(
        description="A duration: seconds, or a text such as '10m', '1h30m' or '500ms'.",
        examples=["10m", 30],
    ),
]
Moment = Annotated[
    float | str,
    msgspec.Meta(
        description="A moment: ISO 8601 with an offset, or seconds since 1970.",
        examples=["2030-01-31T09:00:00+00:00"],
    ),
]
PriorityName = Annotated[
    str, msgspec.Meta(extra_json_schema={"enum": [str(p) for p in PRIORITIES]})
]
BackoffName = Annotated[
    str, msgspec.Meta(extra_json_schema={"enum": ["fixed", "linear", "exponential"]})
]
Text = Annotated[str, msgspec.Meta(extra_json_schema={"minLength": 1, "maxLength": MAX_TEXT})]
Retries = Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 0, "maximum": MAX_RETRIES})]
OnFailureName = Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["cancel", "run"]})]


class RetryBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A whole retry policy; what is left out is the default of `RetryPolicy`."""

    max_retries: Retries = 3
    backoff: BackoffName = "exponential"
    base: Length = 2.0
    cap: Length = 300.0
    jitter: bool = True
    on: tuple[str, ...] = ()
    never: tuple[str, ...] = ()

    def policy(self) -> RetryPolicy:
        """Return the policy.

        Raises:
            InvalidOption: A value means nothing.
        """
        return RetryPolicy(
            self.max_retries,
            backoff=self.backoff,  # type: ignore[arg-type]
            base=seconds(self.base, name="retry.base"),
            cap=seconds(self.cap, name="retry.cap"),
            jitter=self.jitter,
            on=self.on,
            never=self.never,
        )


class OptionsBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The options of one job; what is left out is the task's own."""

    queue: Name | None = None
    priority: PriorityName | None = None
    max_retries: Retries | None = None
    retry: RetryBody | None = None
    timeout: Length | None = None
    soft_timeout: Length | None = None
    expires: Length | None = None
    unique_key: Text | None = None
    tenant: Text | None = None
    headers: dict[str, str] | None = None

    def options(self) -> dict[str, Any]:
        """Return what is given, as `JobOptions.make` takes it."""
        given = {name: getattr(self, name) for name in OPTION_NAMES if hasattr(self, name)}
        chosen = {name: value for name, value in given.items() if value is not None}
        if self.retry is not None:
            chosen["retry"] = self.retry.policy()
        return chosen


class JobBody(OptionsBody, kw_only=True, forbid_unknown_fields=True):
    """A job to be submitted. One of ``task`` and ``job_type`` names the task."""

    task: Name | None = None
    job_type: Name | None = None
    payload: dict[str, Any] = {}
    delay: Length | None = None
    run_at: Moment | None = None

    def task_name(self) -> str:
        """Return the task that the job names.

        Raises:
            InvalidOption: It names none, or two.
        """
        return one_task(self.task, self.job_type)


OPTION_NAMES = (
    *(name for name in OptionsBody.__struct_fields__ if name != "retry"),
    "delay",
    "run_at",
)
"""The keys of a body that are options of the job, ``retry`` aside."""


def one_task(task: str | None, job_type: str | None) -> str:
    """Return the one task that two names for the same key give.

    Raises:
        InvalidOption: None is given, or two that differ.
    """
    name = task if task is not None else job_type
    if name is None:
        raise InvalidOption("the job names no task; expected the key 'task' (or 'job_type')")
    if job_type is not None and job_type != name:
        raise InvalidOption(
            f"task is {task!r} and job_type is {job_type!r}, which mean the same; give one of them"
        )
    return name


def read_body(value: Any, kind: type[T], *, what: str = "body") -> T:
    """Turn a decoded JSON object into a struct.

    Args:
        value: As `codec.parse_object` gave it.
        kind: The struct.
        what: What it is, named in the error.

    Raises:
        InvalidOption: A key is unknown or missing, or its value is of the wrong kind.
    """
    if isinstance(value, Mapping):
        _refuse_unknown(value, kind, what)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidOption(f"the {what} does not fit: {error}") from None


async def call_of(app: Stoker, body: JobBody) -> Call[Any]:
    """Make the call that a body describes, and check it.

    Raises:
        UnknownTask, InvalidArguments, InvalidPayload, InvalidOption: Bad input.
    """
    return await app.acall(body.task_name(), body.payload, **body.options())


def _refuse_unknown(value: Mapping[str, Any], kind: type[Any], what: str) -> None:
    known: tuple[str, ...] = kind.__struct_encode_fields__
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise InvalidOption(f"the {what} has the unknown key {str(key)[:100]!r}; {hint}")
