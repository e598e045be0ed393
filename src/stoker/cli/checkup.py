"""The checks of ``stoker doctor``: this machine, the configuration, the store, the broker.

Each check returns findings; none of them changes anything or raises. What is to be known of an
engine, its adapter finds out.
"""

import asyncio
import base64
import binascii
import importlib.util
import resource
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from stoker.cli.text import length
from stoker.core.errors import StokerError
from stoker.core.finding import Finding, note, ok, problem, warning
from stoker.settings import masked

if TYPE_CHECKING:
    from stoker.cli.shell import Shell
    from stoker.settings import Settings

FEW_FILES = 1024
FORMATS = ("auto", "text", "json")
SERVERS = 1
"""Processes beside the workers of the fleet that share the store."""
EXTRAS = {
    "server": ("fastapi", "httptools", "prometheus_client", "uvicorn"),
    "tasks": ("cryptography", "httpx2", "imageio_ffmpeg", "PIL", "selectolax"),
    "postgres": ("psycopg",),
    "rabbitmq": ("aiormq",),
    "redis": ("redis",),
    "remote": ("httpx2",),
    "yaml": ("yaml",),
    "fast": ("uvloop",),
}
"""Extra to the modules that it installs."""


def check_up(shell: "Shell") -> list[Finding]:
    """Run every check that the state of things allows."""
    findings = [*_python(), *_files(), *_zones(), *_extras()]
    settings, found = _settings(shell)
    findings += found
    if settings is None:
        return findings
    findings += [*_sense(settings), *_tasks(shell), *_store(shell), *_broker(shell)]
    return findings


def _python() -> Iterator[Finding]:
    yield ok("python", found=f"Python {sys.version.split()[0]} at {sys.executable}")


def _files() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = soft != resource.RLIM_INFINITY and soft < FEW_FILES
    found = f"at most {soft:,} ({hard:,} at the most)"
    if few:
        yield warning(
            "open files",
            found=found,
            risk="a server with many clients stops taking connections",
            fix=f"ulimit -n {FEW_FILES * 4}, or LimitNOFILE= in the unit of systemd",
        )
    else:
        yield ok("open files", found=found)


def _zones() -> Iterator[Finding]:
    try:
        ZoneInfo("Europe/Berlin")
    except ZoneInfoNotFoundError:
        yield problem(
            "time zones",
            found="no time zone data",
            risk="schedules with a time zone do not fire",
            fix="pip install tzdata",
        )
    else:
        yield ok("time zones", found="found")


def _extras() -> Iterator[Finding]:
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        if missing:
            yield note(
                f"extra {extra}",
                found=f"not installed: {', '.join(missing)}",
                risk="nothing, unless you need it",
                fix=f"pip install 'stoker[{extra}]'",
            )
        else:
            yield ok(f"extra {extra}", found="installed")


def _settings(shell: "Shell") -> "tuple[Settings | None, list[Finding]]":
    try:
        loaded = shell.loaded
    except StokerError as error:
        fix = "correct the key; stoker config show prints what holds"
        return None, [_stopped("settings", error, fix)]
    try:
        settings = shell.settings
    except StokerError as error:
        fix = "correct --app, STOKER_APP or 'app' in the file"
        return loaded.settings, [_stopped("app", error, fix)]
    origins = sorted(set(loaded.origins.values()))
    found = f"from {', '.join(origins)}" if origins else "all defaults"
    return settings, [ok("settings", found=found)]


def _stopped(check: str, error: StokerError, fix: str) -> Finding:
    risk = "no process starts with it"
    return problem(check, found=error.message, risk=risk, fix=fix, code=error.code)


def _sense(settings: "Settings") -> Iterator[Finding]:
    lease, beat = settings.worker.lease, settings.worker.beat
    if beat is not None and beat * 2 > lease:
        yield problem(
            "worker.beat",
            found=f"beats every {length(beat)}, and a lease lasts {length(lease)}",
            risk="one late beat, and a living worker loses its jobs",
            fix="a third of worker.lease, or leave it out",
        )
    key = settings.tasks.encryption_key
    if key is not None and not _is_key(key.reveal()):
        yield problem(
            "tasks.encryption_key",
            found="not 32 bytes in base64",
            risk="encrypt and decrypt fail",
            fix="python -c 'import base64,os; print(base64.b64encode(os.urandom(32)).decode())'",
        )
    if settings.log.format not in FORMATS:
        found = f"{settings.log.format!r} is none"
        fix = f"one of {', '.join(FORMATS)}"
        yield problem("log.format", found=found, risk="no process starts with it", fix=fix)


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 32  # noqa: PLR2004 - AES-256
    except (ValueError, binascii.Error):
        return False


def _tasks(shell: "Shell") -> Iterator[Finding]:
    from stoker.app.loading import all_tasks

    try:
        names = all_tasks(shell.app).names()
    except StokerError as error:
        yield _stopped("tasks", error, "correct it")
    else:
        yield ok("tasks", found=f"{len(names)} known")


def _store(shell: "Shell") -> list[Finding]:
    from stoker.connect import examine_store

    app = shell.app
    settings = app.settings
    url = masked(settings.store)
    found = examine_store(
        settings.store,
        clock=app.clock,
        token=settings.token,
        processes=settings.fleet.max + SERVERS,
    )
    try:
        return [ok("store", found=url), *asyncio.run(found)]
    except StokerError as error:
        return [
            problem(
                "store",
                found=f"{error.message} [{error.code}]",
                risk="nothing works without it",
                fix="correct --store, STOKER_STORE or 'store' in the file",
                code=error.code,
            )
        ]


def _broker(shell: "Shell") -> list[Finding]:
    from stoker.connect import examine_broker

    url = shell.app.settings.broker
    if not url:
        return []
    try:
        return asyncio.run(examine_broker(url, clock=shell.app.clock))
    except StokerError as error:
        return [
            _stopped("broker", error, "correct --broker, STOKER_BROKER or 'broker' in the file")
        ]
