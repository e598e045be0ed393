"""Tasks: functions that workers can run, their options, their signatures, and the registry.

A task's arguments are a JSON object. `Task.bind` makes it from Python arguments and checks it
against the type hints when a job is submitted; `Task.arguments` decodes and checks it again when
it runs, because the submitter may be another version, another language or a person with curl.
"""

import difflib
import inspect
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, Literal, ParamSpec, TypeVar

import msgspec

from stoker.core import codec
from stoker.core.duration import Duration, optional_seconds
from stoker.core.errors import (
    DuplicateTask,
    InvalidArguments,
    InvalidOption,
    InvalidTask,
    UnknownTask,
)
from stoker.core.job import MAX_LOST, Priority
from stoker.core.retry import RetryPolicy

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

RunIn = Literal["async", "thread", "process"]
_SHOWN = 12
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,199}")
"""What names of tasks, queues, schedules and workers look like."""


def check_name(name: object, *, what: str) -> str:
    """Return a name as it is.

    Raises:
        InvalidOption: Not a text of letters, digits and ``_ . : / -``, 1 to 200 long.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidOption(
            f"the {what} is {name!r}; expected 1 to 200 letters, digits or _ . : / -, beginning "
            "with a letter, a digit or _"
        )
    return name


def check_priority(value: object) -> Priority:
    """Return a priority.

    Raises:
        InvalidOption: Not one of the three.
    """
    try:
        return Priority(value)  # type: ignore[arg-type]
    except ValueError:
        raise InvalidOption(f"priority is {value!r}; expected high, medium or low") from None


def check_count(value: object, *, name: str) -> int:
    """Return a whole number from 1.

    Raises:
        InvalidOption: It is not one.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidOption(f"{name} is {value!r}; expected a whole number from 1")
    return value


class TaskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How jobs of a task are treated unless a job says otherwise."""

    queue: str = "default"
    priority: Priority = Priority.MEDIUM
    retry: RetryPolicy = RetryPolicy()
    timeout: float | None = 3600.0
    """Hard limit of an attempt in seconds. None: no limit, which few tasks deserve."""
    soft_timeout: float | None = None
    run_in: RunIn = "thread"
    expires: float | None = None
    max_lost: int = MAX_LOST
    memory: int | None = None
    """Bytes that a job may use when it runs in a process; more and it is killed."""

    @classmethod
    def make(
        cls,
        *,
        queue: str = "default",
        priority: Priority | str = Priority.MEDIUM,
        retry: RetryPolicy | None = None,
        max_retries: int | None = None,
        timeout: Duration | None = 3600.0,
        soft_timeout: Duration | None = None,
        run_in: str = "thread",
        expires: Duration | None = None,
        max_lost: int = MAX_LOST,
        memory: int | str | None = None,
    ) -> "TaskOptions":
        """Check options as people write them.

        Raises:
            InvalidOption: A value means nothing.
        """
        if run_in not in typing.get_args(RunIn):
            raise InvalidOption(f"run_in is {run_in!r}; expected async, thread or process")
        check_count(max_lost, name="max_lost")
        policy = retry or RetryPolicy()
        return cls(
            queue=check_name(queue, what="queue"),
            priority=check_priority(priority),
            retry=policy if max_retries is None else policy.replace(max_retries=max_retries),
            timeout=_limit(timeout, "timeout"),
            soft_timeout=_limit(soft_timeout, "soft_timeout"),
            run_in=run_in,  # type: ignore[arg-type]
            expires=optional_seconds(expires, name="expires"),
            max_lost=max_lost,
            memory=None if memory is None else byte_size(memory),
        )


class Task(Generic[P, R_co]):
    """A function that workers can run, under a name.

    Attributes:
        name: What jobs call it.
        fn: The function as it was written.
        options: The defaults of its jobs.
        style: ``"arguments"`` when the payload's keys are the function's parameters, ``"payload"``
            when the function takes the payload as its one argument (``jobs/*.py``).
    """

    def __init__(
        self,
        fn: Callable[P, Any],
        *,
        name: str,
        options: TaskOptions,
        style: Literal["arguments", "payload"] = "arguments",
    ) -> None:
        """Make a task.

        Raises:
            InvalidTask: The function cannot be one: it takes ``*args``, its hints cannot be
                resolved, or it is ``async`` and wants a thread.
        """
        self.name = check_name(name, what="task name")
        self.fn = fn
        self.style = style
        self.is_async = inspect.iscoroutinefunction(fn)
        if options.run_in == "async" and not self.is_async:
            raise InvalidTask(f"task {name!r} runs 'async' but is no 'async def' function")
        if self.is_async and options.run_in == "thread":
            raise InvalidTask(
                f"task {name!r} is an 'async def' function: run it 'async' or in a "
                "'process', not in a thread"
            )
        self.options = options
        self._signature = _Signature(fn, name, style)

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> bytes:
        """Make the payload of a call and check it.

        Raises:
            InvalidArguments: The arguments do not fit the signature.
            InvalidPayload: An argument has no JSON form.
        """
        return self.check(codec.encode(self._signature.bind(args, kwargs)))

    def check(self, payload: bytes) -> bytes:
        """Check an encoded payload against the signature and return it.

        Arguments that stand for a parent's result are checked when they are known.

        Raises:
            InvalidArguments: It does not fit.
        """
        if codec.holds_output(payload):
            self._signature.check_partly(msgspec.json.decode(payload))
        else:
            self._signature.decode(payload)
        return payload

    def from_text(self, given: Mapping[str, Any]) -> bytes:
        """Make a payload from a shell's texts: ``"720"`` becomes 720 where a number is wanted.

        Raises:
            InvalidArguments: It does not fit.
        """
        return self.check(codec.encode(self._signature.loosen(given)))

    def arguments(
        self, payload: bytes, results: Callable[[str], Any] | None = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Decode and check a payload into positional and keyword arguments.

        Args:
            payload: As submitted.
            results: Gives a parent's decoded result by job id; needed when the payload refers to
                one.

        Raises:
            InvalidArguments: It does not fit.
        """
        if results is not None and codec.holds_output(payload):
            filled = codec.fill_outputs(msgspec.json.decode(payload), results)
            payload = codec.encode(filled)
        return self._signature.decode(payload)

    @property
    def returns(self) -> Any:
        """The type hint of the result, `typing.Any` if there is none."""
        return self._signature.returns

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the payload."""
        return self._signature.json_schema()

    def __repr__(self) -> str:
        """Show the name."""
        return f"<{type(self).__name__} {self.name!r}>"


class Registry:
    """The tasks that a process knows, by name. A name in a job is looked up here and only here."""

    def __init__(self) -> None:
        """Make an empty registry."""
        self._tasks: dict[str, Task[..., Any]] = {}

    def add(self, task: Task[..., Any], *, alias: str | None = None) -> None:
        """Add a task under its name, or under another one.

        Raises:
            DuplicateTask: Another function has the name.
        """
        name = alias or task.name
        known = self._tasks.get(name)
        if known is not None and known.fn is not task.fn:
            raise DuplicateTask(
                f"task name {name!r} is taken by {_where(known.fn)}; give {_where(task.fn)} "
                "another one: @app.task('another.name')"
            )
        self._tasks[name] = task

    def discard(self, name: str) -> None:
        """Forget a task, if it is known."""
        self._tasks.pop(name, None)

    def get(self, name: str) -> Task[..., Any]:
        """Return a task.

        Raises:
            UnknownTask: With the nearest names.
        """
        try:
            return self._tasks[name]
        except KeyError:
            raise unknown_task(name, self._tasks) from None

    def __contains__(self, name: object) -> bool:
        """Whether a task has that name."""
        return name in self._tasks

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._tasks)

    def __len__(self) -> int:
        """Return how many names are known."""
        return len(self._tasks)

    def names(self) -> tuple[str, ...]:
        """Return the names in order."""
        return tuple(sorted(self._tasks))


def own_first(
    own: Iterable[str], announced: Iterable[str], standard: Iterable[str]
) -> tuple[str, ...]:
    """Return the names of tasks: own ones, those that only workers know, standard ones."""
    last = sorted(standard)
    return tuple(dict.fromkeys([*sorted(own), *sorted(set(announced) - set(last)), *last]))


def unknown_task(name: object, known: Iterable[str]) -> UnknownTask:
    """Make the error for a name that nobody knows, with the nearest known names.

    If none is near, it lists the first of those that are known, in the order given.
    """
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=3)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else _listing(names)
    return UnknownTask(
        f"no task is named {str(name)[:200]!r}; {hint}", task=str(name)[:200], suggestions=near
    )


def byte_size(value: int | str) -> int:
    """Read a size in bytes: a number, or a text such as ``"512MB"`` (powers of 1024).

    Raises:
        InvalidOption: Not a size.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)i?b?", str(value).strip().lower())
    if match is None or float(match[1]) <= 0:
        raise InvalidOption(f"size is {value!r}; expected bytes or a text such as '512MB'")
    return int(float(match[1]) * {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}[match[2]])


class _Signature:
    """The parameters of a task's function as a decodable type."""

    def __init__(self, fn: Callable[..., Any], name: str, style: str) -> None:
        self._name = name
        self._signature = inspect.signature(fn)
        hints = _hints(fn, name)
        self.returns = hints.pop("return", Any)
        self._hints = hints
        self._payload_type: Any = None
        if style == "payload":
            self._payload_type = self._payload_hint()
            self._decoder = msgspec.json.Decoder(self._payload_type, dec_hook=codec.from_plain)
            return
        self._positional, self._open = self._parameters()
        self._type = self._struct()
        self._fields: tuple[str, ...] = self._type.__struct_fields__
        self._decoder = msgspec.json.Decoder(self._type, dec_hook=codec.from_plain)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise self._wrong(str(error)) from None
        if self._payload_type is not None:
            return next(iter(bound.arguments.values()))
        arguments = bound.arguments
        if self._open is not None:
            arguments |= arguments.pop(self._open, {})
        return arguments

    def decode(self, payload: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        try:
            value = self._decoder.decode(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise self._wrong(str(error)) from None
        if self._payload_type is not None:
            return (value,), {}
        unset = msgspec.UNSET
        kwargs = {f: v for f in self._fields if (v := getattr(value, f)) is not unset}
        if self._open is not None:
            extra = msgspec.json.decode(payload)
            kwargs |= {k: v for k, v in extra.items() if k not in self._fields}
        args = tuple(kwargs.pop(f) for f in self._positional if f in kwargs)
        return args, kwargs

    def check_partly(self, given: dict[str, Any]) -> None:
        if self._payload_type is not None:
            return
        for key, value in given.items():
            if key not in self._fields:
                if self._open is None:
                    raise self._wrong(f"Object contains unknown field `{key}`")
            elif not codec.find_outputs(value):
                self._convert(key, value, strict=True)
        missing = [f for f in self._required() if f not in given]
        if missing:
            raise self._wrong(f"Object missing required field `{missing[0]}`")

    def loosen(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if self._payload_type is not None:
            return dict(given)
        loose: dict[str, Any] = {}
        for key, value in given.items():
            known = isinstance(value, str) and key in self._fields
            loose[key] = self._convert(key, value, strict=False) if known else value
        return loose

    def json_schema(self) -> dict[str, Any]:
        wanted = self._payload_type if self._payload_type is not None else self._type
        try:
            return msgspec.json.schema(wanted, schema_hook=lambda _: {})
        except (TypeError, msgspec.MsgspecError):
            return {"type": "object"}

    def _convert(self, key: str, value: Any, *, strict: bool) -> Any:
        hint = self._hints.get(key, Any)
        try:
            return msgspec.convert(value, hint, strict=strict, dec_hook=codec.from_plain)
        except (msgspec.ValidationError, ValueError) as error:
            raise self._wrong(f"{error} - at `$.{key}`") from None

    def _required(self) -> list[str]:
        empty = inspect.Parameter.empty
        return [f for f in self._fields if self._signature.parameters[f].default is empty]

    def _parameters(self) -> tuple[tuple[str, ...], str | None]:
        positional: list[str] = []
        rest: str | None = None
        for parameter in self._signature.parameters.values():
            if parameter.kind is parameter.VAR_POSITIONAL:
                raise InvalidTask(
                    f"task {self._name!r} takes *{parameter.name}; a payload has names only, so "
                    "take a list instead"
                )
            if parameter.kind is parameter.POSITIONAL_ONLY:
                positional.append(parameter.name)
            if parameter.kind is parameter.VAR_KEYWORD:
                rest = parameter.name
        return tuple(positional), rest

    def _struct(self) -> type[msgspec.Struct]:
        fields: list[Any] = []
        for parameter in self._signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                continue
            hint = self._hints.get(parameter.name, Any)
            if parameter.default is parameter.empty:
                fields.append((parameter.name, hint))
            else:
                wanted = Any if hint is Any else hint | msgspec.UnsetType
                fields.append((parameter.name, wanted, msgspec.UNSET))
        try:
            return msgspec.defstruct(
                "Arguments", fields, kw_only=True, forbid_unknown_fields=self._open is None
            )
        except (TypeError, ValueError) as error:
            raise InvalidTask(
                f"task {self._name!r} has a signature that JSON cannot carry: {error}"
            ) from None

    def _payload_hint(self) -> Any:
        taken = [p for p in self._signature.parameters.values() if p.default is p.empty]
        if len(taken) != 1 or taken[0].kind in {taken[0].VAR_POSITIONAL, taken[0].KEYWORD_ONLY}:
            raise InvalidTask(
                f"task {self._name!r}: run takes {self._signature}; expected run(payload)"
            )
        hint = self._hints.get(taken[0].name, dict[str, Any])
        return dict[str, Any] if hint in (Any, dict) else hint

    def _wrong(self, why: str) -> InvalidArguments:
        return InvalidArguments(
            f"the payload does not fit task {self._name!r}{self._signature}: {why}",
            task=self._name,
        )


def _hints(fn: Callable[..., Any], name: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(fn, include_extras=True)
    except Exception as error:
        raise InvalidTask(
            f"the type hints of task {name!r} ({_where(fn)}) cannot be resolved: {error}"
        ) from error


def _where(fn: Callable[..., Any]) -> str:
    return f"{getattr(fn, '__module__', '?')}.{getattr(fn, '__qualname__', fn)}"


def _listing(names: list[str]) -> str:
    if not names:
        return "no task is known here: pass --app module:app, or --jobs DIR, or start a worker"
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"known are {shown}"


def _limit(value: Duration | None, name: str) -> float | None:
    limit = optional_seconds(value, name=name)
    if limit is not None and limit <= 0:
        raise InvalidOption(f"{name} is {value!r}; expected more than 0, or None for no limit")
    return limit
