"""The checks of ``stoker doctor``: this machine, the configuration, the store.

Each check returns findings; none of them changes anything or raises.
"""

import base64
import binascii
import importlib.util
import os
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from stoker.cli.text import bytes_text, length
from stoker.core.errors import StokerError

if TYPE_CHECKING:
    from stoker.app.stoker import Stoker
    from stoker.cli.shell import Shell
    from stoker.core.records import SchemaStatus, StoreInfo
    from stoker.core.store import Store
    from stoker.settings import Settings

Verdict = Literal["ok", "note", "warning", "problem"]

MIN_SQLITE = (3, 51, 3)
"""The first SQLite without the bug that can corrupt a database when its log is reset."""
LITTLE_SPACE = 1 << 30
NO_SPACE = 100 << 20
FEW_FILES = 1024
CLOCK_SKEW = 2.0
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs"})
FLEETING = frozenset({"tmpfs", "ramfs", "overlay"})
FORMATS = ("auto", "text", "json")
EXTRAS = {
    "server": ("fastapi", "httptools", "prometheus_client", "uvicorn"),
    "tasks": ("cryptography", "httpx2", "imageio_ffmpeg", "PIL", "selectolax"),
    "yaml": ("yaml",),
    "fast": ("uvloop",),
}
"""Extra to the modules that it installs."""


class Finding(msgspec.Struct, frozen=True):
    """What one check found."""

    check: str
    verdict: Verdict
    found: str
    fix: str = ""


def check_up(shell: "Shell") -> list[Finding]:
    """Run every check that the state of things allows."""
    findings = [*_python(), *_sqlite(), *_files(), *_zones(), *_extras()]
    settings, found = _settings(shell)
    findings += found
    if settings is None:
        return findings
    findings += [*_sense(settings), *_tasks(shell), *_where(settings), *_store(shell)]
    return findings


def _python() -> Iterator[Finding]:
    found = f"Python {sys.version.split()[0]} at {sys.executable}"
    fine = sys.version_info >= (3, 11)
    yield Finding("python", "ok" if fine else "problem", found, "" if fine else "use 3.11 or later")


def _sqlite() -> Iterator[Finding]:
    try:
        import apsw
    except ImportError as error:
        yield Finding("sqlite", "problem", f"apsw is missing: {error}", "pip install apsw")
        return
    version = apsw.sqlite_lib_version()
    if tuple(int(part) for part in version.split(".")) >= MIN_SQLITE:
        yield Finding("sqlite", "ok", f"SQLite {version}")
        return
    found = f"SQLite {version} can corrupt a database when its log is reset"
    yield Finding("sqlite", "problem", found, "pip install 'apsw>=3.51.3'")


def _files() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = soft != resource.RLIM_INFINITY and soft < FEW_FILES
    yield Finding(
        "open files",
        "warning" if few else "ok",
        f"at most {soft:,} ({hard:,} at the most)",
        f"ulimit -n {FEW_FILES * 4}" if few else "",
    )


def _zones() -> Iterator[Finding]:
    try:
        ZoneInfo("Europe/Berlin")
    except ZoneInfoNotFoundError:
        yield Finding("time zones", "problem", "no time zone data", "pip install tzdata")
    else:
        yield Finding("time zones", "ok", "found")


def _extras() -> Iterator[Finding]:
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        if missing:
            found = f"not installed: {', '.join(missing)}"
            fix = f"pip install 'stoker[{extra}]' if you need it"
            yield Finding(f"extra {extra}", "note", found, fix)
        else:
            yield Finding(f"extra {extra}", "ok", "installed")


def _settings(shell: "Shell") -> "tuple[Settings | None, list[Finding]]":
    try:
        loaded = shell.loaded
    except StokerError as error:
        fix = "correct the key; stoker config show prints what holds"
        return None, [Finding("settings", "problem", error.message, fix)]
    try:
        settings = shell.settings
    except StokerError as error:
        fix = "correct --app, STOKER_APP or 'app' in the file"
        return loaded.settings, [Finding("app", "problem", error.message, fix)]
    origins = sorted(set(loaded.origins.values()))
    found = f"from {', '.join(origins)}" if origins else "all defaults"
    return settings, [Finding("settings", "ok", found)]


def _sense(settings: "Settings") -> Iterator[Finding]:
    lease, beat = settings.worker.lease, settings.worker.beat
    if beat is not None and beat * 2 > lease:
        yield Finding(
            "worker.beat",
            "problem",
            f"beats every {length(beat)}, and a lease lasts {length(lease)}",
            "a third of worker.lease, or leave it out",
        )
    key = settings.tasks.encryption_key
    if key is not None and not _is_key(key.reveal()):
        yield Finding(
            "tasks.encryption_key",
            "problem",
            "not 32 bytes in base64",
            "python -c 'import base64,os; print(base64.b64encode(os.urandom(32)).decode())'",
        )
    if settings.log.format not in FORMATS:
        found = f"{settings.log.format!r} is none"
        yield Finding("log.format", "problem", found, f"one of {', '.join(FORMATS)}")
    if settings.broker is not None:
        yield Finding("broker", "problem", "this version has no broker", "leave it out")


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
        yield Finding("tasks", "problem", error.message, "correct it; no worker starts with it")
    else:
        yield Finding("tasks", "ok", f"{len(names)} known")


def _where(settings: "Settings") -> Iterator[Finding]:
    parts = urlsplit(settings.store)
    if parts.scheme != "sqlite":
        return
    file = Path(unquote(parts.path[1:])).absolute()
    folder = next((p for p in file.parents if p.is_dir()), Path("/"))
    kind = file_system(folder)
    if kind in NETWORK:
        found = f"{folder} is on a network file system ({kind}), where SQLite corrupts"
        yield Finding("file system", "problem", found, "put the file on a local disk")
    elif kind in FLEETING:
        found = f"{folder} is on {kind}: what is there goes with the machine or the container"
        yield Finding("file system", "warning", found, "put the file on a disk or a volume")
    else:
        yield Finding("file system", "ok", f"{folder} is on {kind or 'a local disk'}")
    yield from _space(folder)
    target = file if file.exists() else folder
    if not os.access(target, os.W_OK) or not os.access(folder, os.W_OK):
        found = f"{target} cannot be written by this user"
        yield Finding("permissions", "problem", found, f"chown or chmod {folder} and what is in it")


def _space(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    verdict: Verdict = "ok"
    if free < LITTLE_SPACE:
        verdict = "problem" if free < NO_SPACE else "warning"
    fix = "" if verdict == "ok" else "make room; a full disk stops submits"
    yield Finding("disk space", verdict, f"{bytes_text(free)} free in {folder}", fix)


def file_system(folder: Path, *, mounts: Path = Path("/proc/mounts")) -> str:
    """Return the kind of file system that a folder is on; empty where that cannot be known."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    best, kind = -1, ""
    for line in lines:
        fields = line.split(" ")
        point = Path(fields[1].replace("\\040", " "))
        # The last one wins: a later mount hides an earlier one on the same point.
        if folder.resolve().is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind


def _store(shell: "Shell") -> Iterator[Finding]:
    from stoker.core.duration import when

    async def ask(app: "Stoker", store: "Store") -> "tuple[StoreInfo, SchemaStatus, float]":
        counts = await store.counts()
        skew = (counts.now - when(app.clock.now())).total_seconds()
        return store.info, await store.migrate(dry_run=True), skew

    try:
        info, schema, skew = shell.run(ask)
    except StokerError as error:
        fix = "correct --store, STOKER_STORE or 'store' in the file"
        yield Finding("store", "problem", f"{error.message} [{error.code}]", fix)
        return
    yield Finding("store", "ok", f"{info.engine} {info.version} at {info.url}")
    yield from _promises(info)
    if schema.pending:
        found = f"version {schema.current} of {schema.latest}"
        yield Finding("layout", "problem", found, "stoker db migrate")
    else:
        yield Finding("layout", "ok", f"version {schema.current}")
    far = abs(skew) > CLOCK_SKEW
    found = f"the store's clock differs by {length(abs(skew))}"
    fix = "set both clocks by NTP" if far else ""
    yield Finding("clock", "warning" if far else "ok", found, fix)


def _promises(info: "StoreInfo") -> Iterator[Finding]:
    verdict: Verdict = "ok" if info.durability == "full" else "warning"
    fix = "" if verdict == "ok" else "use sqlite:/// with durability=full to lose nothing"
    yield Finding("durability", verdict, f"{info.durability}; can be lost: {info.can_lose}", fix)
