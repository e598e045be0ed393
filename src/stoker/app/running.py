"""From a configuration to something that runs: the app as the command line starts it."""

from typing import Any

import msgspec

from stoker.app.loading import jobs_folder, load_app, load_jobs
from stoker.app.stoker import Stoker
from stoker.core.errors import StokerError
from stoker.core.task import TaskOptions
from stoker.settings import Loaded, Secret, Section, Settings, load

COMMAND_LINE = "command line"


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
        app.defaults = TaskOptions(retry=app.settings.retry.policy())
    app.actor = actor
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


def _joined(own: Settings, loaded: Loaded) -> Settings:
    """Put what the app's code said over what was configured outside."""
    base = load().settings
    fixed = {key for key, origin in loaded.origins.items() if origin == COMMAND_LINE}
    return _join(own, base, loaded.settings, fixed, prefix="")


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
