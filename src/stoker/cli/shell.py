"""What every command begins with: the common options, the configuration, the app, the store.

``@common`` gives a command its ``--store --broker --app --jobs --config`` and hands it a `Shell`,
which loads nothing before it is asked.
"""

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stoker.cli.lazy import LazyGroup
from stoker.cli.output import Output

if TYPE_CHECKING:
    from stoker.app.stoker import Stoker
    from stoker.core.store import Store
    from stoker.settings import Loaded, Settings

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_HELP = {
    "store": "URL of the store, such as sqlite:///stoker.db.",
    "broker": "URL of the broker.",
    "app": "Where the tasks are: module:app.",
    "jobs": "Folder of plain task modules (default: jobs, if it exists).",
    "config": "Configuration file (default: stoker.toml or stoker.yaml).",
}
_METAVAR = {"store": "URL", "broker": "URL", "app": "MODULE:APP", "jobs": "DIR", "config": "FILE"}


class Shell:
    """One call of the command line.

    Attributes:
        given: What the command line said of the configuration, by key.
        config: The configuration file that it named.
        out: How to answer.
    """

    def __init__(
        self, given: Mapping[str, Any], *, config: str | None = None, as_json: bool = False
    ) -> None:
        """Begin a call."""
        self.given = dict(given)
        self.config = config
        self.out = Output(as_json=as_json)
        self._app: Stoker | None = None
        self._loaded: Loaded | None = None

    def override(self, **values: Any) -> None:
        """Add what the command's own options say; ``worker__concurrency`` is a dotted key."""
        self._loaded = self._app = None
        for key, value in values.items():
            if value is not None:
                self.given[key.replace("__", ".")] = value

    @property
    def loaded(self) -> "Loaded":
        """The configuration with the origin of each key, read once."""
        from stoker.settings import load

        if self._loaded is None:
            self._loaded = load(self.config, overrides=self.given)
        return self._loaded

    @property
    def settings(self) -> "Settings":
        """The configuration in force: that of the app, when there is one."""
        return self.app.settings

    @property
    def app(self) -> "Stoker":
        """The app that ``--app`` names, or one without tasks of its own; made once."""
        from stoker.app.running import make_app

        if self._app is None:
            self._app = make_app(self.loaded, actor=f"cli:{user()}")
        return self._app

    def run(self, work: "Callable[[Stoker, Store], Awaitable[T]]") -> T:
        """Open the store, do the work, close the store."""
        import asyncio

        return asyncio.run(_work(self.app, work))


async def _work(app: "Stoker", work: "Callable[[Stoker, Store], Awaitable[T]]") -> T:
    async with app:
        return await app.arun(lambda store: work(app, store))


def user() -> str:
    """Return who sits at this terminal, for the audit trail."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def common(*, without: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Give a command the common options and a `Shell` as its first argument.

    Args:
        without: Options to leave out, because the command uses the name for something else.
    """
    wanted = [key for key in _HELP if key not in without]

    def decorate(fn: F) -> F:
        @functools.wraps(fn)
        def call(**values: Any) -> Any:
            given = {key: values.pop(f"common_{key}") for key in wanted}
            shell = _shell(given, as_json=values.pop("as_json", False))
            return fn(shell, **values)

        command: Any = call
        for key in reversed(wanted):
            command = click.option(
                f"--{key}", f"common_{key}", metavar=_METAVAR[key], help=_HELP[key]
            )(command)
        result: F = command
        return result

    return decorate


def json_option(fn: F) -> F:
    """Give a command ``--json``; stands below ``@common`` or above it."""
    return click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")(fn)


def root_options(fn: F) -> F:
    """Give a group the common options, for those who write them before the command's name."""
    for key in reversed(_HELP):
        fn = click.option(f"--{key}", f"common_{key}", metavar=_METAVAR[key], hidden=True)(fn)
    return fn


def group(fn: Callable[[], None]) -> LazyGroup:
    """Make a group of commands, which takes the common options as well; see `_outer`."""

    @functools.wraps(fn)
    def call(**_common: str | None) -> None:
        fn()

    return click.group(cls=LazyGroup)(root_options(call))


def _outer(context: click.Context) -> list[dict[str, Any]]:
    """Return the common options given before the command's name, the outermost first."""
    found: list[dict[str, Any]] = []
    parent = context.parent
    while parent is not None:
        found.insert(0, {key: parent.params.get(f"common_{key}") for key in _HELP})
        parent = parent.parent
    return found


def _shell(given: dict[str, str | None], *, as_json: bool) -> Shell:
    """Put together what the parent process, the root command and the command itself say."""
    from stoker.cli.inherit import from_parent

    said: dict[str, Any] = from_parent()
    for values in [*_outer(click.get_current_context()), given]:
        said |= {key: value for key, value in values.items() if value is not None}
    config = said.pop("config", None)
    return Shell(said, config=config, as_json=as_json)
