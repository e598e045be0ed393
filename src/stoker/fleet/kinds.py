"""Kinds of workers in one fleet: from the configuration to what is started and how many.

A fleet whose configuration names no kinds has one, `DEFAULT_KIND`, made of ``[fleet]`` and
``[worker]``; its workers are ``FLEET-1``, ``FLEET-2``, ... Those of a kind that was named are
``FLEET-KIND-1``, ...
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import PurePath

import msgspec

from stoker.core.errors import InvalidConfig
from stoker.core.fleets import DEFAULT_KIND
from stoker.settings import Bytes, FleetKindSettings, FleetSettings, Seconds, Settings

C_WORKER = "stoker-worker-c"
PYTHON = "python"
_FAR = ("tcp://", "tls://", "http://", "https://")


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of workers, all said: it travels to a fleet in the background as it is."""

    name: str
    fleet: str
    prefix: str
    """Of its workers' names."""
    program: str
    command: tuple[str, ...]
    """What starts a worker; ``{name}`` becomes its name."""
    env: Mapping[str, str] = {}
    """Variables for its workers besides those that all have. They may hold secrets."""
    slots: int
    """Jobs that one worker runs at once."""
    queues: tuple[str, ...]
    """What its workers serve; empty: all."""
    least: int
    most: int
    start_within: float
    cooldown: float
    ready_within: float
    max_age: float | None
    max_memory: int | None
    backoff: float
    backoff_cap: float

    @property
    def is_named(self) -> bool:
        """Whether the configuration names it."""
        return self.prefix != self.fleet

    @property
    def settings(self) -> FleetSettings:
        """What it says, as the configuration of a fleet of this kind alone."""
        return FleetSettings(
            name=self.prefix,
            min=self.least,
            max=self.most,
            start_within=Seconds(self.start_within),
            cooldown=Seconds(self.cooldown),
            ready_within=Seconds(self.ready_within),
            max_age=None if self.max_age is None else Seconds(self.max_age),
            max_memory=None if self.max_memory is None else Bytes(self.max_memory),
            backoff=Seconds(self.backoff),
            backoff_cap=Seconds(self.backoff_cap),
        )


def kinds_of(settings: Settings, command: Sequence[str]) -> tuple[Kind, ...]:
    """Return the kinds of a configuration.

    Args:
        settings: All of it.
        command: What starts a Python worker.

    Raises:
        InvalidConfig: A kind's program is not there, or cannot use its store.
    """
    if not settings.fleet.kinds:
        return (
            plain(
                settings.fleet,
                command=command,
                slots=settings.worker.concurrency,
                queues=tuple(settings.worker.queues),
            ),
        )
    return tuple(
        _named(name, kind, settings, command) for name, kind in settings.fleet.kinds.items()
    )


def plain(
    fleet: FleetSettings, *, command: Sequence[str], slots: int, queues: Sequence[str]
) -> Kind:
    """Return the one kind of a fleet without named ones.

    Args:
        fleet: Name, bounds, target and limits.
        command: What starts a worker.
        slots: Jobs that one worker runs at once.
        queues: What the workers serve; empty: all.
    """
    return Kind(
        name=DEFAULT_KIND,
        fleet=fleet.name,
        prefix=fleet.name,
        program=PYTHON,
        command=tuple(command),
        slots=slots,
        queues=tuple(queues),
        least=fleet.min,
        most=fleet.max,
        start_within=float(fleet.start_within),
        cooldown=float(fleet.cooldown),
        ready_within=float(fleet.ready_within),
        max_age=fleet.max_age,
        max_memory=fleet.max_memory,
        backoff=float(fleet.backoff),
        backoff_cap=float(fleet.backoff_cap),
    )


def _named(name: str, kind: FleetKindSettings, settings: Settings, command: Sequence[str]) -> Kind:
    fleet = settings.fleet
    queues = kind.queues or settings.worker.queues
    slots = kind.concurrency or settings.worker.concurrency
    words = _program(name, kind, settings) or tuple(command)
    whole = plain(fleet, command=(), slots=slots, queues=tuple(queues))
    return msgspec.structs.replace(
        whole,
        name=name,
        prefix=f"{fleet.name}-{name}",
        program=PurePath(words[0]).name if kind.command else PYTHON,
        command=(*words, *_options(kind, queues, slots, named=bool(kind.command))),
        least=kind.min,
        most=kind.min if kind.max is None else kind.max,
        start_within=float(kind.start_within or fleet.start_within),
        cooldown=float(kind.cooldown or fleet.cooldown),
        max_age=fleet.max_age if kind.max_age is None else kind.max_age,
        max_memory=fleet.max_memory if kind.max_memory is None else kind.max_memory,
    )


def _options(
    kind: FleetKindSettings, queues: dict[str, int], slots: int, *, named: bool
) -> list[str]:
    """Return the options that every worker program understands."""
    words = ["--name", "{name}"] if named else []
    for queue, most in queues.items():
        words += ["--queue", f"{queue}:{most}" if most else queue]
    words += ["--concurrency", str(slots)]
    for plugin in kind.plugins:
        words += ["--plugin", plugin]
    return words


def _program(name: str, kind: FleetKindSettings, settings: Settings) -> tuple[str, ...]:
    words = (kind.command,) if isinstance(kind.command, str) else kind.command
    if not words:
        if kind.plugins:
            raise InvalidConfig(
                f"fleet.kinds.{name} has plugins, and its workers are Python, which takes none; "
                f'set fleet.kinds.{name}.command = "{C_WORKER}", or delete plugins'
            )
        return ()
    if shutil.which(words[0]) is None:
        raise InvalidConfig(
            f"fleet.kinds.{name}.command is {words[0]!r}, and no such program is in PATH; "
            "install it, or write its whole path"
        )
    store = kind.store or settings.store
    if PurePath(words[0]).name == C_WORKER and not store.startswith(_FAR):
        raise InvalidConfig(
            f"fleet.kinds.{name} runs {C_WORKER}, which reaches the store through a gateway, and "
            f"its store is {store.partition(':')[0]}://...; set fleet.kinds.{name}.store to the "
            "gateway's URL, such as tcp://127.0.0.1:7011"
        )
    return words
