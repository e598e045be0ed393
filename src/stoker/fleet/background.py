"""Fleets in the background: start one, look at it, stop it.

A fleet in the background is ``python -m stoker.fleet`` in a session of its own, known by the
prefix of its workers' names. Two files in the run folder belong to it: ``PREFIX.json`` says which
process it is and what its workers do (the fleet writes it), ``PREFIX.log`` is what it and its
workers print. What it is to do, the store's URL included, goes to it through a pipe: no secret is
in a file or an argument list.
"""

import asyncio
import contextlib
import fcntl
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from stoker.core.errors import BackendError, InvalidOption, NotFound, Refused, Unavailable
from stoker.core.fleets import workers_among
from stoker.core.job import SessionInfo
from stoker.core.store import Store
from stoker.core.task import check_name
from stoker.fleet.identity import Identity
from stoker.fleet.kinds import Kind
from stoker.fleet.reporter import HOST
from stoker.fleet.supervisor import WorkerProcess
from stoker.settings import FleetSettings, Secret

READY_TIMEOUT = 30.0
"""Seconds that the workers of a new fleet have until their first beat."""
_DETACH = str(Path(__file__).with_name("detach.py"))
_LOOK_AGAIN = 0.05
_HOPELESS = 3
_AFTER_KILL = 10.0
_TAIL = 2_000
_NOW = signal.SIGINT
"""The second request to stop: a second SIGTERM that comes soon would be merged with the first."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a fleet in the background is to do."""

    store: str
    """The URL, password and all."""
    prefix: str
    kinds: tuple[Kind, ...]
    broker: str | None = None
    """URL of the broker that is rung when jobs of a dead worker are given back."""
    token: str | None = None
    """For the store, if the URL names none."""
    ttl: float
    """Seconds of silence after which the store may take the fleet for dead."""
    drain: float
    run_dir: str
    level: str = "info"
    """Of the log."""


class FleetState(msgspec.Struct, frozen=True, kw_only=True):
    """What a fleet in the background writes about itself."""

    prefix: str
    pid: int
    mark: str
    """See `Identity.mark`."""
    host: str
    started_at: datetime
    store: str
    """With every secret masked."""
    log: str
    workers: list[WorkerProcess]
    kinds: tuple[str, ...] = ()
    """Names of its kinds, if the configuration names any."""


class FleetStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet in the background, as one finds it."""

    prefix: str
    is_running: bool
    pid: int | None
    started_at: datetime | None
    log: str
    workers: list[WorkerProcess]
    sessions: list[SessionInfo]
    """The living sessions whose names have the prefix, of this machine or another."""

    @property
    def ready(self) -> int:
        """How many of the workers have beaten."""
        return _ready(self.workers, self.sessions)


class Files:
    """The files of one fleet in its run folder."""

    def __init__(self, run_dir: str | Path, prefix: str) -> None:
        """Name them; nothing is made.

        Raises:
            InvalidOption: The prefix is not a name.
        """
        check_name(prefix, what="fleet's name")
        stem = prefix.replace("/", "%2F").replace(":", "%3A")
        folder = Path(run_dir).absolute()
        self.folder = folder
        self.state = folder / f"{stem}.json"
        self.log = folder / f"{stem}.log"
        self.lock = folder / f"{stem}.lock"

    def read(self) -> FleetState | None:
        """Return what the fleet wrote last; None if there is nothing, or nothing of sense."""
        try:
            return msgspec.json.decode(self.state.read_bytes(), type=FleetState)
        except (OSError, msgspec.DecodeError):
            return None

    def write(self, state: FleetState) -> None:
        """Replace the state file; a reader sees the old one or the new one."""
        fresh = self.state.with_suffix(".new")
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
        fresh.replace(self.state)

    def living(self) -> FleetState | None:
        """Return the state of the fleet if its process runs."""
        state = self.read()
        is_ours = state is not None and state.host == HOST
        if state is None or not is_ours or not Identity(state.pid, state.mark).is_alive():
            return None
        return state

    def tail(self) -> str:
        """Return the end of the log."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - _TAIL))
                return file.read().decode(errors="replace").strip()
        except OSError:
            return ""

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Keep others from starting the same fleet meanwhile.

        Raises:
            Refused: Somebody else is at it.
            Unavailable: The folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = self.lock.open("w")
        except OSError as error:
            raise Unavailable(
                f"the run folder {self.folder} cannot be used: {error}; set fleet.run_dir"
            ) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused("another start of this fleet is under way; wait for it") from None
            yield


async def start(
    store: Store,
    url: str,
    *,
    kinds: Sequence[Kind],
    settings: FleetSettings,
    broker: str | None = None,
    token: Secret | None = None,
    ttl: float = 30.0,
    drain: float = 30.0,
    level: str = "info",
    env: Mapping[str, str] | None = None,
    timeout: float = READY_TIMEOUT,
) -> FleetStatus:
    """Start a fleet in the background and wait until its workers have beaten.

    Args:
        store: Open; where the beats are looked for.
        url: The URL of the same store, for the fleet.
        kinds: Of its workers.
        settings: Name and run folder.
        broker: URL of the broker, if there is one.
        token: For the store, if the URL names none.
        ttl: Seconds of silence after which the store may take the fleet for dead.
        drain: Seconds that a worker gives its jobs when it is stopped.
        level: Of the fleet's log.
        env: The whole environment of the fleet and its workers; None: this process's own.
        timeout: Seconds until every worker must have beaten.

    Raises:
        Refused: A fleet of that prefix runs already, or is being started.
        Unavailable: The fleet or a worker did not come up. What came up was stopped again; the
            message ends with the end of the log.
    """
    files = Files(settings.run_dir, settings.name)
    with files.starting():
        running = files.living()
        if running is not None:
            raise Refused(
                f"the fleet {settings.name!r} runs already (process {running.pid}); stop it "
                "first, or choose another name",
                pid=running.pid,
            )
        order = Order(
            store=url,
            prefix=settings.name,
            kinds=tuple(kinds),
            broker=broker,
            token=None if token is None else token.reveal(),
            ttl=ttl,
            drain=drain,
            run_dir=str(files.folder),
            level=level,
        )
        files.state.unlink(missing_ok=True)
        process = await asyncio.to_thread(_launch, files, order, env)
        try:
            problem = await _until_ready(store, files, process, order, timeout)
        except BaseException:
            process.send(signal.SIGTERM)
            raise
        if problem:
            await _give_up(process)
            raise Unavailable(
                f"the fleet {settings.name!r} did not start: {problem}. End of {files.log}:\n"
                + files.tail(),
                log=str(files.log),
            )
    return await status(store, prefix=settings.name, run_dir=settings.run_dir)


async def stop(*, prefix: str, run_dir: str | Path, timeout: float) -> bool:
    """Drain a fleet in the background and wait until it is gone.

    Args:
        prefix: Which one.
        run_dir: Where its files are.
        timeout: Seconds to drain; then its workers are killed.

    Returns:
        Whether it drained in time.

    Raises:
        NotFound: No fleet of that prefix runs here.
    """
    files = Files(run_dir, prefix)
    state = files.living()
    if state is None:
        raise NotFound(f"no fleet {prefix!r} runs here (looked into {files.folder})")
    process = Identity(state.pid, state.mark)
    process.send(signal.SIGTERM)
    if await process.ended(timeout):
        return True
    process.send(_NOW)
    if not await process.ended(_AFTER_KILL):
        process.send(signal.SIGKILL)
        await process.ended(_AFTER_KILL)
    return False


def reload(*, prefix: str, run_dir: str | Path) -> FleetState:
    """Ask a fleet in the background for a rolling restart; return its state before.

    Raises:
        NotFound: No fleet of that prefix runs here.
    """
    files = Files(run_dir, prefix)
    state = files.living()
    if state is None:
        raise NotFound(f"no fleet {prefix!r} runs here (looked into {files.folder})")
    Identity(state.pid, state.mark).send(signal.SIGHUP)
    return state


async def status(store: Store | None, *, prefix: str, run_dir: str | Path) -> FleetStatus:
    """Return what is known about a fleet in the background, whether it runs or not.

    Args:
        store: Open, for the sessions; None: do not ask.
        prefix: Which one.
        run_dir: Where its files are.
    """
    files = Files(run_dir, prefix)
    living = files.living()
    state = living or files.read()
    sessions = [] if store is None else await store.sessions()
    return FleetStatus(
        prefix=prefix,
        is_running=living is not None,
        pid=None if living is None else living.pid,
        started_at=None if state is None else state.started_at,
        log=str(files.log),
        workers=[] if living is None else living.workers,
        sessions=[info for info in workers_among(sessions) if _belongs(info.name, prefix, state)],
    )


def runs_here(prefix: str, run_dir: str | Path) -> bool:
    """Whether a fleet of that name runs here in the background."""
    try:
        return Files(run_dir, prefix).living() is not None
    except InvalidOption:
        return False


def prefixes(run_dir: str | Path) -> list[str]:
    """Return the prefixes of the fleets that run here in the background, sorted."""
    found: list[str] = []
    for path in sorted(Path(run_dir).glob("*.json")):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            found.append(msgspec.json.decode(path.read_bytes(), type=FleetState).prefix)
    return [prefix for prefix in found if Files(run_dir, prefix).living() is not None]


def _launch(files: Files, order: Order, env: Mapping[str, str] | None) -> Identity:
    """Start the process of the fleet, detached from this one, and tell it what to do."""
    command = [sys.executable, "-I", "-S", _DETACH, sys.executable, "-P", "-m", "stoker.fleet"]
    try:
        with files.log.open("ab") as log:
            done = subprocess.run(
                command,
                input=msgspec.json.encode(order),
                stdout=subprocess.PIPE,
                stderr=log,
                env=env,
                check=True,
            )
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"no process for the fleet could be started: {error}") from error
    return Identity.of(int(done.stdout))


async def _until_ready(
    store: Store, files: Files, process: Identity, order: Order, timeout: float
) -> str:
    """Wait until all workers have beaten; return what went wrong, or nothing."""
    ready = 0
    wanted = sum(kind.least for kind in order.kinds)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            while process.is_alive():
                state = files.read()
                workers = state.workers if state is not None else []
                hopeless = next((w for w in workers if w.quick_deaths >= _HOPELESS), None)
                if hopeless is not None:
                    return f"{hopeless.name} {hopeless.last_exit}, {_HOPELESS} times in a row"
                with contextlib.suppress(BackendError):
                    ready = _ready(workers, await store.sessions())
                if state is not None and ready >= wanted:
                    return ""
                await asyncio.sleep(_LOOK_AGAIN)
            return "its process ended"
    return f"{ready} of {wanted} workers had beaten after {timeout:.0f} s"


async def _give_up(process: Identity) -> None:
    for number in (signal.SIGTERM, _NOW, signal.SIGKILL):
        process.send(number)
        if await process.ended(_AFTER_KILL / 2):
            return


def _belongs(name: str, prefix: str, state: FleetState | None) -> bool:
    stems = [prefix, *(f"{prefix}-{kind}" for kind in (() if state is None else state.kinds))]
    return any(
        name.startswith(f"{stem}-") and name.removeprefix(f"{stem}-").isdecimal() for stem in stems
    )


def _ready(workers: Sequence[WorkerProcess], sessions: Sequence[SessionInfo]) -> int:
    beating = {info.pid for info in sessions if info.host == HOST}
    return sum(worker.pid in beating for worker in workers)
