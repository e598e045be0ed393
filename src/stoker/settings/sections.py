"""The keys of the configuration: a field each, with its default."""

from typing import Literal

import msgspec

from stoker.core.codec import MAX_PAYLOAD, MAX_RESULT
from stoker.core.retry import RetryPolicy
from stoker.settings.values import Bytes, Seconds, Secret


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
    certificate: str | None = None
    """File with the server's certificate chain (PEM). With it the server speaks TLS only."""
    key: str | None = None
    """File with its private key; the certificate's file if not given."""
    require_key: Literal["auto", "always", "never"] = "auto"
    """Whether callers on this machine have to show an API key: ``auto``, as soon as the store has
    one. Callers from elsewhere always have to."""
    login: Seconds = Seconds(12 * 3600)
    """How long a log-in to the page lasts."""
    key_rate: int = 1_000
    """Requests a second that one key may send; 0: any number."""
    address_rate: int = 100
    """Requests a second without a key that one address may send, once keys are asked for; 0: any
    number."""


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


class FleetKindSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[fleet.kinds.NAME]``: one kind of workers of a fleet.

    What is not given is as in ``[fleet]`` and ``[worker]``.
    """

    queues: dict[str, int] = {}
    """Queue to the most of its jobs at once in one worker (0: up to ``concurrency``), or a list of
    queues."""
    concurrency: int | None = None
    """Jobs at once in one worker."""
    command: str | tuple[str, ...] = ()
    """The program that is a worker: ``"stoker-worker-c"``, or a list of words. Empty: Python."""
    plugins: tuple[str, ...] = ()
    """Shared objects with the handlers of a C worker."""
    store: str | None = None
    """URL of the store for these workers, if they reach it by another way than the fleet: a C
    worker needs the gateway's."""
    min: int = 1
    max: int | None = None
    """As many as ``min`` if not given."""
    start_within: Seconds | None = None
    cooldown: Seconds | None = None
    max_age: Seconds | None = None
    max_memory: Bytes | None = None


class FleetSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[fleet]``: the worker processes of this machine."""

    name: str = "worker"
    """Prefix of the workers' names."""
    min: int = 2
    max: int = 2
    """More than ``min``: the fleet scales between the two, on the start delay."""
    start_within: Seconds = Seconds(5)
    """How soon jobs should start once they are due. The fleet grows when they would not."""
    cooldown: Seconds = Seconds(30)
    """How long fewer workers must have been enough before any retires."""
    max_age: Seconds | None = None
    """How old a worker may become before a fresh one takes its place; None: any age."""
    max_memory: Bytes | None = None
    """How many bytes a worker may hold before a fresh one takes its place; None: any number."""
    ready_within: Seconds = Seconds(60)
    """How long a new worker has until its first beat; then it is killed and replaced."""
    kinds: dict[str, FleetKindSettings] = {}
    """Kinds of workers by name, instead of one kind: ``[fleet.kinds.NAME]``."""
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


class TracingSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[tracing]``: spans by OpenTelemetry (``stoker[otel]``)."""

    enabled: bool = False
    """Whether submits and attempts are spans. The command line exports them by OTLP, as the
    ``OTEL_*`` variables say; a program sets up its own provider."""


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
    tracing: TracingSettings = TracingSettings()
