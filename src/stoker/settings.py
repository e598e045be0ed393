"""Configuration: defaults, then a file, then ``STOKER_*``, then the command line.

The file is ``stoker.toml`` or ``stoker.yaml``.

Every key is a field below, and this module is the only one that reads the environment. A key of a
section is ``STOKER_SECTION__KEY`` (``STOKER_WORKER__CONCURRENCY=4``), a key of the top level
``STOKER_KEY`` (``STOKER_STORE=sqlite:///jobs.db``). Unknown keys are errors, with the nearest
known name: a typing error must not switch a setting off in silence.
"""

import difflib
import hmac
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from stoker.core.codec import MAX_PAYLOAD, MAX_RESULT
from stoker.core.duration import Duration, seconds
from stoker.core.errors import InvalidConfig, InvalidOption, MissingExtra
from stoker.core.retry import RetryPolicy
from stoker.core.task import byte_size

PREFIX = "STOKER_"
FILES = ("stoker.toml", "stoker.yaml", "stoker.yml")


class Secret:
    """A text that no log, table or error shows by accident."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Hide a text."""
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __eq__(self, other: object) -> bool:
        """Compare texts, in a time that does not tell how much of them is equal."""
        return isinstance(other, Secret) and hmac.compare_digest(
            self._text.encode(), other._text.encode()
        )

    def __hash__(self) -> int:
        """Equal secrets have equal hashes."""
        return hash(self._text)

    def __repr__(self) -> str:
        """Show that there is one."""
        return "Secret('***')"

    def __str__(self) -> str:
        """Show that there is one."""
        return "***"


class Seconds(float):
    """A float of seconds that configuration may write as ``"10m"``."""

    __slots__ = ()


class Bytes(int):
    """An int of bytes that configuration may write as ``"512MB"``."""

    __slots__ = ()


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration."""


class WorkerSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[worker]``: one worker process."""

    name: str | None = None
    """For people; host and process id if not given."""
    concurrency: int = 10
    """Jobs at once."""
    queues: dict[str, int] = {}
    """Queue to the most of its jobs at once (0: up to ``concurrency``). Empty: all queues."""
    lease: Seconds = Seconds(30)
    """How long a silent worker keeps its jobs: the visibility timeout."""
    beat: Seconds | None = None
    """Seconds between heartbeats; a third of the lease if not given."""
    drain: Seconds = Seconds(30)
    """How long running jobs may go on after SIGTERM before they are interrupted and given back."""
    poll: Seconds = Seconds(1)
    """How often an idle worker looks by itself, whatever rings."""
    processes: int = 0
    """The most child processes for tasks that run in one; 0: as many as ``concurrency``."""
    memory: Bytes | None = None
    """Bytes a job in a child process may use unless its task says; None: half of the machine's."""
    keeper: bool = True
    """Whether the worker stands for election as keeper."""


class RetrySettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[retry]``: the policy of tasks that give none."""

    max_retries: int = 3
    backoff: str = "exponential"
    base: Seconds = Seconds(2)
    cap: Seconds = Seconds(300)
    jitter: bool = True

    def policy(self) -> RetryPolicy:
        """Return the policy."""
        return RetryPolicy(
            self.max_retries,
            backoff=self.backoff,  # type: ignore[arg-type]
            base=self.base,
            cap=self.cap,
            jitter=self.jitter,
        )


class ServerSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[server]``: the HTTP API."""

    host: str = "127.0.0.1"
    port: int = 8000


class GatewayClient(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[gateway.clients.NAME]``: one client of the gateway; a certificate names it, or a token."""

    token: Secret | None = None
    """At least 16 characters; or ``sha256:`` and the digest of one, in hexadecimal digits."""
    scope: str = "worker"
    """``worker``: run jobs; ``full``: everything that a store can do."""
    queues: tuple[str, ...] = ()
    """The only queues it may take jobs from; empty: any."""


class GatewaySettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[gateway]``: where the server takes remote workers."""

    host: str = "127.0.0.1"
    port: int | None = None
    """None: no listener of its own; HTTP serves remote workers all the same."""
    certificate: str | None = None
    """File with the server's certificate chain (PEM). With it the gateway speaks TLS only."""
    key: str | None = None
    """File with its private key; the certificate's file if not given."""
    client_ca: str | None = None
    """File with the authorities whose client certificates are asked for and believed."""
    token: Secret | None = None
    """The token of clients that may do everything."""
    worker_token: Secret | None = None
    """The token of clients that may run jobs of any queue."""
    clients: dict[str, GatewayClient] = {}
    """Clients by name."""
    frame: Bytes = Bytes(8 * 1_048_576)
    """The longest request in bytes."""
    connections: int = 1_000
    """The most connections at once."""


class KeeperSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[keeper]``: the housekeeper."""

    interval: Seconds = Seconds(1)
    """Seconds between two passes."""
    term: Seconds = Seconds(15)
    """Seconds that a tenure lasts unless it is renewed."""
    purge_interval: Seconds = Seconds(60)
    keep_completed: Seconds = Seconds(7 * 86400)
    keep_cancelled: Seconds = Seconds(7 * 86400)
    keep_dead: Seconds = Seconds(90 * 86400)
    keep_most: int = 1_000_000
    """The most ended jobs kept, however young."""


class FleetSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[fleet]``: the worker processes of this machine."""

    name: str = "worker"
    """Prefix of the workers' names."""
    min: int = 2
    max: int = 2
    backoff: Seconds = Seconds(0.1)
    """Wait before a dead worker is replaced, doubled with each quick death."""
    backoff_cap: Seconds = Seconds(30)
    run_dir: str = ".stoker"
    """Where a fleet in the background keeps its process id and its log."""


class LimitSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[limits]``: what is refused at the door."""

    payload: Bytes = Bytes(MAX_PAYLOAD)
    result: Bytes = Bytes(MAX_RESULT)
    batch: int = 10_000
    """Jobs in one submit."""


class TaskSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[tasks]``: the standard tasks."""

    standard: bool = True
    """Whether workers know them."""
    encryption_key: Secret | None = None
    """32 bytes in base64, for ``encrypt`` and ``decrypt``."""
    outbox: str = "outbox"
    """Folder for e-mails when no SMTP server is set."""
    smtp: str | None = None
    """``smtp://user:password@host:port`` or ``smtps://``."""
    mail_from: str = "stoker@localhost"
    scrape_private: bool = False
    """Whether ``scrape_website`` may open private and loopback addresses."""
    files: str | None = None
    """The one folder in which the file tasks may read and write; None: anywhere."""


class LogSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[log]``: what goes to stderr."""

    level: str = "info"
    format: str = "auto"
    """``auto`` (text on a terminal, else JSON), ``text`` or ``json``."""


class Settings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of the configuration."""

    store: str = "sqlite:///stoker.db"
    broker: str | None = None
    token: Secret | None = None
    """Shown to the server behind a remote store (``tcp://``, ``tls://``, ``http(s)://``)."""
    app: str | None = None
    """``module:app`` that holds the tasks."""
    jobs: str | None = None
    """Folder of plain task modules; ``jobs`` is used if it exists."""
    queues: tuple[str, ...] = ()
    """If given, jobs go into these and the tasks' own queues only."""
    worker: WorkerSettings = WorkerSettings()
    retry: RetrySettings = RetrySettings()
    server: ServerSettings = ServerSettings()
    gateway: GatewaySettings = GatewaySettings()
    keeper: KeeperSettings = KeeperSettings()
    fleet: FleetSettings = FleetSettings()
    limits: LimitSettings = LimitSettings()
    tasks: TaskSettings = TaskSettings()
    log: LogSettings = LogSettings()


class Loaded(msgspec.Struct, frozen=True):
    """Settings, and where each key that is not a default came from."""

    settings: Settings
    origins: Mapping[str, str]
    """Dotted key to ``"file PATH"``, ``"STOKER_..."`` or ``"command line"``."""


def load(
    path: str | Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    folder: str | Path = ".",
) -> Loaded:
    """Read the configuration.

    Args:
        path: The file; by default ``STOKER_CONFIG``, else ``stoker.toml`` or ``stoker.yaml`` in
            ``folder`` if there is one.
        env: The environment; by default the process's.
        overrides: Dotted key to value, from the command line; None values are left out.
        folder: Where to look.

    Raises:
        InvalidConfig: A file that cannot be read, an unknown key, a value of the wrong kind.
        MissingExtra: A YAML file without PyYAML.
    """
    variables = os.environ if env is None else env
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    file = _find(path or variables.get(f"{PREFIX}CONFIG"), Path(folder))
    if file is not None:
        for key, value in _flatten(_read(file)).items():
            _put(merged, origins, key, value, f"file {file}")
    for name, text in variables.items():
        if name.startswith(PREFIX) and name not in _NOT_KEYS:
            key = name.removeprefix(PREFIX).lower().replace("__", ".")
            _put(merged, origins, key, _from_text(key, text), name)
    for key, value in (overrides or {}).items():
        if value is not None:
            _put(merged, origins, key, value, "command line")
    return Loaded(_convert(merged, origins), origins)


def masked(url: str) -> str:
    """Return a URL without its password and without secret-looking parameters."""
    try:
        parts = urlsplit(url)
        user, secret = parts.username, parts.password
    except ValueError:
        return "***"
    at = parts.netloc.rfind("@")
    if user and parts.scheme in _TOKEN_SCHEMES:
        url = parts._replace(netloc=f"***{parts.netloc[at:]}").geturl()
    elif secret:
        user = parts.netloc[:at].split(":", 1)[0]
        url = parts._replace(netloc=f"{user}:***{parts.netloc[at:]}").geturl()
    return re.sub(r"(?i)((?:password|secret|token|key)=)[^&]*", r"\1***", url)


_TOKEN_SCHEMES = {"tcp", "tls", "http", "https"}
"""Schemes of stores whose URL has a token before the ``@``."""
_NOT_KEYS = {"STOKER_CONFIG", "STOKER_TEST_REQUIRE"}
_NAMED = {"log_level": "log.level", "worker_name": "worker.name", "worker_id": "worker.name"}


def _find(path: str | Path | None, folder: Path) -> Path | None:
    if path is not None:
        file = Path(path)
        if not file.is_file():
            raise InvalidConfig(f"the configuration file {str(file)!r} does not exist")
        return file
    found = [folder / name for name in FILES if (folder / name).is_file()]
    if len(found) > 1:
        names = " and ".join(str(f) for f in found)
        raise InvalidConfig(f"there are {names}; keep one of them")
    return found[0] if found else None


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        value = tomllib.loads(text) if file.suffix == ".toml" else _yaml(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValueError) as error:
        raise InvalidConfig(f"{file} cannot be read: {error}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidConfig(f"{file} holds a {type(value).__name__}; expected keys and tables")
    return value


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise MissingExtra("reading YAML needs PyYAML: pip install 'stoker[yaml]'") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _flatten(table: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        kind = _field_type(str(key))
        if isinstance(value, dict) and kind is not None and issubclass(kind, Section):
            flat |= {f"{key}.{inner}": v for inner, v in value.items()}
        else:
            flat[str(key)] = value
    return flat


def _field_type(key: str) -> type | None:
    kind = type(getattr(Settings(), key, None))
    return kind if kind is not type(None) else None


def _put(
    merged: dict[str, Any], origins: dict[str, str], key: str, value: Any, origin: str
) -> None:
    key = _NAMED.get(key, key)
    known = _known_keys()
    if isinstance(getattr(Settings(), key, None), Section):
        raise InvalidConfig(f"{key} ({origin}) is a table; write [{key}] and its keys below it")
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
        raise InvalidConfig(f"unknown key {key!r} ({origin}); {hint}", key=key)
    section, _, inner = key.partition(".")
    if inner:
        merged.setdefault(section, {})[inner] = value
    else:
        merged[section] = value
    origins[key] = origin


def _known_keys() -> set[str]:
    keys: set[str] = set()
    for name in Settings.__struct_fields__:
        value = getattr(Settings(), name)
        if isinstance(value, Section):
            keys |= {f"{name}.{inner}" for inner in value.__struct_fields__}
        else:
            keys.add(name)
    return keys


def _from_text(key: str, text: str) -> Any:
    """Lists and tables in variables: ``a,b`` and ``a=2,b=3``."""
    if key == "queues":
        return [part.strip() for part in text.split(",") if part.strip()]
    if key == "worker.queues":
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        return {name.strip(): number.strip() or "0" for name, _, number in pairs}
    return text


def _convert(merged: dict[str, Any], origins: Mapping[str, str]) -> Settings:
    for section, key in (("worker", "queues"),):
        value = merged.get(section, {}).get(key)
        if isinstance(value, list):
            merged[section][key] = dict.fromkeys(value, 0)
    try:
        settings = msgspec.convert(merged, Settings, strict=False, dec_hook=_special)
        settings.retry.policy()
    except InvalidOption as error:
        raise InvalidConfig(f"[retry] {error.message}") from None
    except msgspec.ValidationError as error:
        path = str(error).rpartition("`$.")[2].rstrip("`") if "`$." in str(error) else ""
        origin = f" ({origins[path]})" if path in origins else ""
        raise InvalidConfig(f"{path or 'configuration'}{origin}: {error}") from None
    _check_ranges(settings)
    return settings


def _special(wanted: type, value: Any) -> Any:
    try:
        if wanted is Seconds:
            return Seconds(seconds(value))
        if wanted is Bytes:
            return Bytes(byte_size(value))
    except InvalidOption as error:
        raise ValueError(error.message) from None
    if wanted is Secret and isinstance(value, str):
        return Secret(value)
    raise ValueError(f"expected a {wanted.__name__.lower()}, got {type(value).__name__}")


def _check_ranges(settings: Settings) -> None:
    least = {
        "worker.concurrency": (settings.worker.concurrency, 1),
        "worker.lease": (settings.worker.lease, 0.2),
        "keeper.interval": (settings.keeper.interval, 0.01),
        "keeper.term": (settings.keeper.term, 0.1),
        "fleet.min": (settings.fleet.min, 0),
        "fleet.max": (settings.fleet.max, max(1, settings.fleet.min)),
        "server.port": (settings.server.port, 0),
        "gateway.port": (settings.gateway.port or 0, 0),
        "gateway.frame": (settings.gateway.frame, 65_536),
        "gateway.connections": (settings.gateway.connections, 1),
    }
    for key, (value, floor) in least.items():
        if value < floor:
            raise InvalidConfig(f"{key} is {value}; expected at least {floor}", key=key)
    if settings.log.level.lower() not in {"debug", "info", "warning", "error"}:
        raise InvalidConfig(
            f"log.level is {settings.log.level!r}; expected debug, info, warning or error"
        )
    if settings.log.format not in {"auto", "text", "json"}:
        raise InvalidConfig(f"log.format is {settings.log.format!r}; expected auto, text or json")


__all__ = [
    "Bytes",
    "Duration",
    "FleetSettings",
    "GatewayClient",
    "GatewaySettings",
    "KeeperSettings",
    "LimitSettings",
    "Loaded",
    "LogSettings",
    "RetrySettings",
    "Seconds",
    "Secret",
    "ServerSettings",
    "Settings",
    "TaskSettings",
    "WorkerSettings",
    "load",
    "masked",
]
