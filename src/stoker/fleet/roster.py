"""The supervisor's decisions, without its hands: who should run, who is replaced when, who goes.

A roster is told what happened (`spawned`, `exited`) and what is wanted (`scale`, `close`), each
with the moment, and answers what to do now (`to_spawn`, `to_drain`, `to_kill`) and when to ask
again (`next_at`). It does no I/O and reads no clock, so each rule is tested by itself.

A slot is one place for a worker, named ``PREFIX-1``, ``PREFIX-2``, ... ::

    resting ──spawn──► running ──drain──► draining ──limit──► killed
       ▲                  │  └──retire──► retiring ─┐            │
       └──────────────────┴──── exited ───────┴─────┴────────────┘

A worker that *retires* has no limit: scaling down and a rolling restart interrupt no job.

A worker that ends while its slot is wanted is replaced after a wait that doubles with each quick
death, up to a cap; one that lived for `HEALTHY` seconds starts the count anew. The exit code does
not matter for that, not even 0: a slot is wanted until somebody says otherwise.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

HEALTHY = 10.0
"""Seconds after which a death is not a quick one."""


class Phase(StrEnum):
    """Where a slot is in its life."""

    RESTING = "resting"
    """No process: it is not wanted, or waits to be replaced."""
    RUNNING = "running"
    DRAINING = "draining"
    """Asked to end, within a time."""
    RETIRING = "retiring"
    """Asked to end when what it holds has ended."""
    KILLED = "killed"
    """Did not end in time, and was killed."""


@dataclass
class Slot:
    """One place for a worker.

    Attributes:
        index: From 1.
        name: The worker's name.
        phase: Where it is in its life.
        is_wanted: Whether a worker shall run here.
        retires: Whether its process is to end without a limit.
        pid: Its process while there is one.
        since: When its process was started (monotonic).
        spawn_at: When a resting slot that is wanted gets its process.
        kill_at: When a draining one is killed.
        is_ready: Whether its process has beaten.
        is_given_up: Whether its process was killed because it never became ready.
        quick_deaths: Deaths in a row, each soon after the start, or without ever being ready.
        restarts: How often its worker was replaced.
        last_exit: Exit code of the process before.
    """

    index: int
    name: str
    phase: Phase = Phase.RESTING
    is_wanted: bool = True
    retires: bool = False
    pid: int | None = None
    since: float = 0.0
    spawn_at: float = 0.0
    kill_at: float = 0.0
    is_ready: bool = False
    is_given_up: bool = False
    quick_deaths: int = 0
    restarts: int = 0
    last_exit: int | None = None


class Roster:
    """The slots of one fleet."""

    def __init__(self, prefix: str, *, backoff: float, cap: float, limit: float) -> None:
        """Begin without slots.

        Args:
            prefix: Of the names.
            backoff: Seconds before a dead worker is replaced, doubled with each quick death.
            cap: The longest such wait.
            limit: Seconds that a worker has to drain before it is killed.
        """
        self._prefix = prefix
        self._backoff = backoff
        self._cap = cap
        self._limit = limit
        self._slots: dict[int, Slot] = {}
        self._is_closed = False

    @property
    def slots(self) -> list[Slot]:
        """All slots that are wanted or have a process, by index."""
        return [
            slot
            for _, slot in sorted(self._slots.items())
            if slot.is_wanted or slot.phase is not Phase.RESTING
        ]

    @property
    def size(self) -> int:
        """How many workers are wanted."""
        return sum(slot.is_wanted for slot in self._slots.values())

    @property
    def is_closed(self) -> bool:
        """Whether nobody is wanted any more."""
        return self._is_closed

    @property
    def is_over(self) -> bool:
        """Whether it was closed and no process is left."""
        processes = any(slot.phase is not Phase.RESTING for slot in self._slots.values())
        return self._is_closed and not processes

    def scale(self, count: int, now: float) -> None:
        """Want so many workers: the lowest free places are filled, the highest given up."""
        if self._is_closed:
            return
        index = 0
        while self.size < count:
            index += 1
            slot = self._slots.setdefault(
                index, Slot(index, f"{self._prefix}-{index}", is_wanted=False)
            )
            if not slot.is_wanted:
                slot.is_wanted = True
                slot.retires = False
                slot.quick_deaths = 0
                slot.spawn_at = now
        wanted = [slot for slot in self.slots if slot.is_wanted]
        for slot in wanted[count:]:
            slot.is_wanted = False

    def spare(self, count: int, names: Collection[str]) -> None:
        """Want so many workers, but give up none but the named ones; they retire."""
        for slot in reversed(self.slots):
            if self.size > count and slot.is_wanted and slot.name in names:
                slot.is_wanted = False
                slot.retires = True

    def renew(self, name: str) -> bool:
        """Let a running worker retire and be replaced; False if it does not run."""
        for slot in self.slots:
            if slot.name == name and slot.is_wanted and slot.phase is Phase.RUNNING:
                slot.retires = True
                return True
        return False

    def close(self, now: float) -> None:
        """Want nobody any more. The second time whoever still drains is killed."""
        if self._is_closed:
            self._limit = 0.0
            for slot in self._slots.values():
                slot.kill_at = min(slot.kill_at, now)
        self._is_closed = True
        for slot in self._slots.values():
            slot.is_wanted = False
            slot.retires = False
            if slot.phase is Phase.RETIRING:
                # Asked anew, with a limit this time.
                slot.phase = Phase.RUNNING

    def to_spawn(self, now: float) -> list[Slot]:
        """Return the slots that get a process now; `spawned` or `exited` must follow for each."""
        return [
            slot
            for slot in self.slots
            if slot.is_wanted and slot.phase is Phase.RESTING and slot.spawn_at <= now
        ]

    def to_drain(self, now: float) -> list[Slot]:
        """Return the slots to ask to end now; each one once."""
        found = [
            slot
            for slot in self.slots
            if not (slot.is_wanted or slot.retires) and slot.phase is Phase.RUNNING
        ]
        for slot in found:
            slot.phase = Phase.DRAINING
            slot.kill_at = now + self._limit
        return found

    def to_retire(self) -> list[Slot]:
        """Return the slots to ask to end in their own time; each one once."""
        found = [slot for slot in self.slots if slot.retires and slot.phase is Phase.RUNNING]
        for slot in found:
            slot.phase = Phase.RETIRING
        return found

    def to_kill(self, now: float) -> list[Slot]:
        """Return the slots whose time to drain is over; each one once."""
        found = [
            slot for slot in self.slots if slot.phase is Phase.DRAINING and slot.kill_at <= now
        ]
        for slot in found:
            slot.phase = Phase.KILLED
        return found

    def next_at(self) -> float | None:
        """Return the moment at which there is something to do if nothing happens before."""
        moments = [
            slot.spawn_at for slot in self.slots if slot.is_wanted and slot.phase is Phase.RESTING
        ]
        moments += [slot.kill_at for slot in self.slots if slot.phase is Phase.DRAINING]
        return min(moments, default=None)

    def spawned(self, slot: Slot, pid: int, now: float) -> None:
        """Note that a slot has a process."""
        slot.phase = Phase.RUNNING
        slot.pid = pid
        slot.since = now
        slot.retires = False
        slot.is_ready = slot.is_given_up = False

    def exited(self, slot: Slot, code: int, now: float) -> float | None:
        """Note that a slot's process ended, or could not be started.

        Returns:
            Seconds until it is replaced; None if it is not.
        """
        was_asked = slot.phase in {Phase.DRAINING, Phase.RETIRING, Phase.KILLED}
        was_quick = slot.phase is Phase.RESTING or now - slot.since < HEALTHY or slot.is_given_up
        slot.phase = Phase.RESTING
        slot.pid = None
        slot.last_exit = code
        if not slot.is_wanted:
            return None
        if was_asked:
            slot.quick_deaths = 0
            wait = 0.0
        else:
            slot.quick_deaths = slot.quick_deaths + 1 if was_quick else 1
            # The exponent is bounded: a worker may die quickly for weeks.
            doublings = min(slot.quick_deaths - 1, 30)
            wait = min(self._cap, self._backoff * 2**doublings)
        slot.restarts += 1
        slot.spawn_at = now + wait
        return wait

    def dismiss(self, slot: Slot) -> None:
        """Give up a slot whose worker an operator has sent away."""
        slot.is_wanted = False
