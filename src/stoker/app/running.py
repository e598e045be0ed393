"""From a configuration to something that runs: the app as the command line starts it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from stoker.app.loading import all_tasks, jobs_folder, load_app, load_jobs, source_of
from stoker.app.stoker import Stoker
from stoker.core.errors import Forbidden, StokerError
from stoker.core.store import Store
from stoker.keeper.keeper import Keeper
from stoker.settings import Loaded, Secret, Section, Settings, load
from stoker.tracing import export
from stoker.worker.spans import Spans
from stoker.worker.worker import ExitReason, Worker, install_signals

COMMAND_LINE = "command line"

log = logging.getLogger(__name__)


def make_app(loaded: Loaded, *, actor: str) -> Stoker:
    """Return the app that a configuration names, or one without tasks of its own.

    What the app's code says (``Stoker("sqlite:///shop.db")``) wins over file and environment, as
    it does everywhere, and loses to the command line.

    Args:
        loaded: The configuration, with the origin of each key.
        actor: Whom the audit trail names.

    Raises:
        InvalidConfig: The app cannot be imported.
    """
    reference = loaded.settings.app
    app = Stoker(settings=loaded.settings) if reference is None else load_app(reference)
    if reference is not None:
        app.configure(_joined(app.settings, loaded))
    app.actor = actor
    if app.settings.tracing.enabled:
        export("stoker")
    return app


def know_jobs(app: Stoker) -> StokerError | None:
    """Make the tasks of the jobs folder known to an app that only submits.

    Returns:
        What is wrong with the folder, for a warning: a file that fails here may be fine where the
        workers are, and must not keep anybody from submitting.
    """
    try:
        folder = jobs_folder(app.settings)
        if folder is not None:
            load_jobs(folder, app.registry, defaults=app.defaults)
    except StokerError as error:
        return error
    return None


def build_worker(
    app: Stoker, store: Store, *, name: str | None = None, owns_process: bool = False
) -> Worker:
    """Return a worker of an app: all its tasks, its settings.

    Args:
        app: The app.
        store: Open, and open for as long as the worker runs.
        name: For people; else that of the settings.
        owns_process: Whether the process exists for this worker alone.

    Raises:
        InvalidConfig, InvalidTask, DuplicateTask: The jobs folder cannot be used.
    """
    return Worker(
        store,
        all_tasks(app),
        settings=app.settings.worker,
        limits=app.settings.limits,
        clock=app.clock,
        source=source_of(app, reference=app.settings.app),
        name=name,
        owns_process=owns_process,
        middleware=() if app.tracing is None else (Spans(app.tracing),),
    )


def build_keeper(app: Stoker, store: Store, *, name: str) -> Keeper:
    """Return a keeper with an app's settings."""
    return Keeper(
        store,
        settings=app.settings.keeper,
        lease=app.settings.worker.lease,
        clock=app.clock,
        name=name,
    )


async def run_worker(
    app: Stoker,
    *,
    name: str | None = None,
    owns_process: bool = True,
    on_start: Callable[[Worker], None] | None = None,
) -> ExitReason:
    """Open the store, run one worker until it is told to end, and close the store.

    SIGTERM and Ctrl-C drain it, the second one stops it. A keeper runs beside it unless
    ``worker.keeper`` is off, and the app's schedules are put into the store first.

    Args:
        app: The app.
        name: The worker's name.
        owns_process: Whether the process exists for this worker alone.
        on_start: Called with the worker before it runs.

    Returns:
        Why it ended. After `ExitReason.RECYCLE` the process has to be replaced.
    """
    async with app:
        try:
            await app.sync_schedules()
        except Forbidden as error:
            log.warning("the schedules of this app are left to the server: %s", error.message)

        async def work(store: Store) -> ExitReason:
            worker = build_worker(app, store, name=name, owns_process=owns_process)
            remove_signals = install_signals(worker, asyncio.get_running_loop())
            if on_start is not None:
                on_start(worker)
            keeper = build_keeper(app, store, name=worker.name)
            try:
                async with keeping(keeper if app.settings.worker.keeper else None):
                    return await worker.run()
            finally:
                remove_signals()

        return await app.arun(work)


@contextlib.asynccontextmanager
async def keeping(keeper: Keeper | None) -> AsyncIterator[None]:
    """Let a keeper run beside a block of work; it resigns when the block ends."""
    if keeper is None:
        yield
        return
    async with asyncio.TaskGroup() as group:
        group.create_task(keeper.run())
        try:
            yield
        finally:
            keeper.stop()


def _joined(own: Settings, loaded: Loaded) -> Settings:
    """Put what the app's code said over what was configured outside."""
    base = load().settings
    fixed = {key for key, origin in loaded.origins.items() if origin == COMMAND_LINE}
    joined: Settings = _join(own, base, loaded.settings, fixed, prefix="")
    return joined


def _join(own: Any, base: Any, outer: Any, fixed: set[str], *, prefix: str) -> Any:
    changes: dict[str, Any] = {}
    for name in own.__struct_fields__:
        key = f"{prefix}{name}"
        mine, usual, theirs = getattr(own, name), getattr(base, name), getattr(outer, name)
        if isinstance(mine, Section):
            changes[name] = _join(mine, usual, theirs, fixed, prefix=f"{key}.")
        elif _plain(mine) != _plain(usual) and key not in fixed:
            changes[name] = mine
    return msgspec.structs.replace(outer, **changes)


def _plain(value: Any) -> Any:
    return value.reveal() if isinstance(value, Secret) else value
