"""Where tasks come from: an app named ``module:app``, a folder of plain modules, the standard ones.

Names in these places are given by whoever starts a process, on his command line or in his
configuration. Nothing that a job says ever reaches the import system.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from stoker.app.stoker import Stoker
from stoker.core.errors import InvalidConfig, InvalidTask, StokerError
from stoker.core.task import Registry, Task, TaskOptions
from stoker.settings import Settings, TaskSettings
from stoker.tasks import register
from stoker.tracing import export, exports
from stoker.worker.source import TaskSource

MODULE_OPTIONS = (
    "queue",
    "max_retries",
    "timeout",
    "soft_timeout",
    "priority",
    "run_in",
    "expires",
    "max_lost",
    "memory",
    "retry",
)
"""Module variables of a ``jobs/*.py`` file that are options of its task."""
MAIN = "__stoker_main__"
"""The name under which a child process imports the script that was the parent's ``__main__``."""


def load_app(reference: str, *, folder: str | Path = ".") -> Stoker:
    """Import an app.

    Args:
        reference: ``module:app``; ``module`` alone means the one app in it.
        folder: Put on the import path first; modules beside the user are found there.

    Raises:
        InvalidConfig: No such module, no such name in it, or no app; or the module fails; or
            Python has another module of that name, such as its own ``queue``.
    """
    where = str(Path(folder).resolve())
    if where not in sys.path:
        sys.path.insert(0, where)
    module_name, _, attribute = reference.partition(":")
    module = _import(module_name, reference)
    _refuse_namesake(module_name.partition(".")[0], Path(where), reference)
    return _app_in(module, attribute, reference)


def load_jobs(folder: str | Path, registry: Registry, *, defaults: TaskOptions) -> list[str]:
    """Add the tasks of a folder of plain modules; return their names.

    ``jobs/video_encoder.py`` with ``run(payload)`` is the task ``video_encoder``, or the name in
    its variable ``task``; ``jobs/video/process.py`` is ``video.process``. Files whose name begins
    with ``_`` or ``.`` are no tasks.

    Raises:
        InvalidConfig: The folder does not exist.
        InvalidTask: A module fails, or has no ``run``.
        DuplicateTask: Two have the same name.
    """
    root = Path(folder).resolve()
    if not root.is_dir():
        raise InvalidConfig(f"the jobs folder {str(folder)!r} does not exist")
    names: list[str] = []
    for file in sorted(root.rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        if any(part.startswith(("_", ".")) for part in parts):
            continue
        if not file.resolve().is_relative_to(root):
            raise InvalidTask(f"{file} leads out of the jobs folder {root}")
        task = _module_task(file, ".".join(parts), defaults)
        registry.add(task)
        names.append(task.name)
    return names


def jobs_folder(settings: Settings, *, folder: str | Path = ".") -> Path | None:
    """Return the jobs folder in force: the configured one, or ``jobs`` if it exists."""
    if settings.jobs is not None:
        return Path(folder) / settings.jobs
    found = Path(folder) / "jobs"
    return found if found.is_dir() else None


def all_tasks(app: Stoker, *, folder: str | Path = ".") -> Registry:
    """Return every task that a worker of this app runs: its own, the folder's, the standard ones.

    The app's own and the folder's tasks win over standard ones of the same name.
    """
    registry = Registry()
    for name in app.registry:
        registry.add(app.registry.get(name), alias=name)
    jobs = jobs_folder(app.settings, folder=folder)
    if jobs is not None:
        load_jobs(jobs, registry, defaults=app.defaults)
    if app.settings.tasks.standard:
        _add_standard(registry, app.settings.tasks, app.defaults)
    return registry


def source_of(app: Stoker, *, reference: str | None = None, folder: str | Path = ".") -> TaskSource:
    """Return the source from which a child process rebuilds the app's tasks.

    Args:
        app: The app.
        reference: ``module:app``, if it was loaded so; else the app is looked for in the loaded
            modules.
        folder: The folder of the import path and of ``jobs``.
    """
    jobs = jobs_folder(app.settings, folder=folder)
    reference = reference or _reference(app)
    main = None
    if reference is not None and reference.startswith("__main__:"):
        main = getattr(sys.modules["__main__"], "__file__", None)
        reference = f"{MAIN}:{reference.partition(':')[2]}" if main else None
    return TaskSource(
        app=reference,
        jobs=None if jobs is None else str(jobs.resolve()),
        standard=app.settings.tasks.standard,
        path=(str(Path(folder).resolve()),),
        main=None if main is None else str(Path(main).resolve()),
        traced=exports(),
        tasks=_revealed(app.settings.tasks),
    )


def load_registry(source: TaskSource) -> Registry:
    """Rebuild the tasks in a child process."""
    for entry in reversed(source.path):
        if entry not in sys.path:
            sys.path.insert(0, entry)
    if source.traced:
        export("stoker")
    if source.main is not None:
        _import_file(Path(source.main), MAIN)
    app = None if source.app is None else load_app(source.app, folder=source.path[0])
    registry = Registry()
    defaults = TaskOptions()
    if app is not None:
        defaults = app.defaults
        for name in app.registry:
            registry.add(app.registry.get(name), alias=name)
    if source.jobs is not None:
        load_jobs(source.jobs, registry, defaults=defaults)
    if source.standard:
        _add_standard(registry, _hidden(source.tasks), defaults)
    return registry


def _add_standard(registry: Registry, settings: TaskSettings, defaults: TaskOptions) -> None:
    standard = Registry()
    register(standard, settings, retry=defaults.retry)
    for name in standard:
        if name not in registry:
            registry.add(standard.get(name), alias=name)


def _revealed(settings: TaskSettings) -> dict[str, Any]:
    """Turn the settings into JSON; this goes to a child over a private pipe, never into argv."""
    plain: dict[str, Any] = {f: getattr(settings, f) for f in settings.__struct_fields__}
    key = settings.encryption_key
    plain["encryption_key"] = None if key is None else key.reveal()
    return plain


def _hidden(plain: Any) -> TaskSettings:
    from stoker.settings import Secret

    given = dict(plain or {})
    key = given.pop("encryption_key", None)
    return TaskSettings(**given, encryption_key=None if key is None else Secret(key))


def _module_task(file: Path, name: str, defaults: TaskOptions) -> Task[..., Any]:
    module = _import_file(file, f"stoker_jobs.{name}")
    run = getattr(module, "run", None)
    if not callable(run):
        raise InvalidTask(f"{file} has no function run(payload); add one, or begin its name with _")
    given = {key: getattr(module, key) for key in MODULE_OPTIONS if hasattr(module, key)}
    is_async = bool(getattr(run, "__code__", None) and run.__code__.co_flags & 0x80)
    given.setdefault("run_in", "async" if is_async else "thread")
    given.setdefault("retry", defaults.retry)
    try:
        return Task(
            run,
            name=getattr(module, "task", name),
            options=TaskOptions.make(**given),
            style="payload",
        )
    except StokerError as error:
        raise InvalidTask(f"{file}: {error.message}") from None


def _import(name: str, reference: str) -> ModuleType:
    if name == MAIN:
        return sys.modules[MAIN]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and name.startswith(error.name):
            raise InvalidConfig(
                f"the app {reference!r} names the module {name!r}, which does not exist here; "
                "expected module:app, such as shop.tasks:app, importable from this folder"
            ) from None
        raise InvalidConfig(f"the app {reference!r} cannot be imported: {error}") from error
    except StokerError:
        raise
    except Exception as error:
        raise InvalidConfig(
            f"the app {reference!r} fails when it is imported: {error!r}"
        ) from error


def _refuse_namesake(name: str, folder: Path, reference: str) -> None:
    """Refuse a module from elsewhere where the user has written one of the same name.

    Python has imported it before the folder was on the path, and never looks again.
    """
    loaded = getattr(sys.modules[name], "__file__", None)
    written = [f for f in (folder / f"{name}.py", folder / name / "__init__.py") if f.is_file()]
    if loaded is None or not written:
        return
    if Path(loaded).resolve() not in [file.resolve() for file in written]:
        raise InvalidConfig(
            f"the app {reference!r} names the module {name!r}, and Python has another one of that "
            f"name, {loaded}; rename {written[0]}"
        )


def _import_file(file: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise InvalidTask(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except StokerError:
        raise
    except Exception as error:
        raise InvalidTask(f"{file} fails when it is imported: {error!r}") from error
    return module


def _app_in(module: ModuleType, attribute: str, reference: str) -> Stoker:
    if attribute:
        found = getattr(module, attribute, None)
        if isinstance(found, Stoker):
            return found
        raise InvalidConfig(
            f"the app {reference!r}: {module.__name__}.{attribute} is "
            + ("missing" if found is None else f"a {type(found).__name__}")
            + "; expected a Stoker()"
        )
    apps = [value for value in vars(module).values() if isinstance(value, Stoker)]
    if len(apps) != 1:
        raise InvalidConfig(
            f"{module.__name__} holds {len(apps)} apps; name one: {module.__name__}:app"
        )
    return apps[0]


def _reference(app: Stoker) -> str | None:
    for name, module in list(sys.modules.items()):
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if value is app:
                return f"{name}:{attribute}"
    return None
