"""Configuration: defaults, then a file, then ``STOKER_*``, then the command line.

The file is ``stoker.toml`` or ``stoker.yaml``.

Every key is a field of `Settings` or of one of its sections, and only this package reads the
environment. A key of a section is ``STOKER_SECTION__KEY`` (``STOKER_WORKER__CONCURRENCY=4``), a key
of the top level ``STOKER_KEY`` (``STOKER_STORE=sqlite:///jobs.db``). Unknown keys are errors, with
the nearest known name: a typing error must not switch a setting off in silence.
"""

from stoker.settings.loading import PREFIX, Loaded, load
from stoker.settings.sections import (
    FleetKindSettings,
    FleetSettings,
    GatewayClient,
    GatewaySettings,
    KeeperSettings,
    LimitSettings,
    LogSettings,
    RetrySettings,
    Section,
    ServerSettings,
    Settings,
    TaskSettings,
    TracingSettings,
    WorkerSettings,
)
from stoker.settings.showing import shown
from stoker.settings.supervision import OF_SUPERVISORS, Supervision, supervision
from stoker.settings.values import Bytes, Seconds, Secret, masked

__all__ = [
    "OF_SUPERVISORS",
    "PREFIX",
    "Bytes",
    "FleetKindSettings",
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
    "Section",
    "ServerSettings",
    "Settings",
    "Supervision",
    "TaskSettings",
    "TracingSettings",
    "WorkerSettings",
    "load",
    "masked",
    "shown",
    "supervision",
]
