"""``stoker schedules``: look at schedules, make, change, stop and run them."""

import difflib
from typing import TYPE_CHECKING, Any

import click
import msgspec

from stoker.cli.payload import read_payload, warn_of_texts
from stoker.cli.shell import Shell, common, group, json_option
from stoker.cli.text import length, moment, since
from stoker.core.duration import optional_when, when
from stoker.core.errors import ScheduleNotFound, from_code
from stoker.core.records import ScheduleInfo, ScheduleSpec

if TYPE_CHECKING:
    from datetime import datetime

    from stoker.app.stoker import Stoker
    from stoker.core.store import Store

_COLUMNS = ("name", "state", "rule", "timezone", "task", "next", "last", "fired")
_SPARE = ("timezone", "last", "fired")


@group
def schedules() -> None:
    """List and change schedules."""


@schedules.command("ls")
@click.option("--next", "count", type=int, default=0, metavar="N", help="Show the next N firings.")
@json_option
@common()
def ls(shell: Shell, *, count: int) -> None:
    """List schedules."""
    from stoker.keeper.schedules import preview

    found = shell.run(lambda _, store: store.schedules())
    upcoming = {info.spec.name: preview(info.spec, max(count, 0)) for info in found}
    if shell.out.as_json:
        shell.out.document({"schedules": [_plain(info, upcoming) for info in found]})
        return
    now = when(shell.app.clock.now())
    rows = (_row(info, now) for info in found)
    shell.out.table(_COLUMNS, rows, empty="no schedules", spare=_SPARE)
    if count > 0:
        firings = [(name, moment(when(at))) for name, all_ in upcoming.items() for at in all_]
        shell.out.heading("Next firings")
        shell.out.table(("name", "at"), firings)


@schedules.command()
@click.argument("name")
@click.argument("words", nargs=-1, metavar="[CRON] TASK [KEY=VALUE]...")
@click.option("--every", metavar="DURATION", help="An interval instead of a cron expression.")
@click.option("--timezone", default="UTC", show_default=True, help="IANA name, for cron.")
@click.option(
    "--catch-up",
    type=click.Choice(["skip", "last", "all"]),
    default="last",
    show_default=True,
    help="What to do with firings missed while no keeper ran.",
)
@click.option("--paused", is_flag=True, help="Wait to be resumed.")
@click.option("--priority", metavar="high|medium|low", help="Lane of its jobs.")
@click.option("--queue", "-q", help="Queue of its jobs.")
@click.option("--max-retries", type=int, metavar="N", help="Retries of its jobs.")
@click.option("--timeout", metavar="DURATION", help="Hard limit of an attempt.")
@json_option
@common()
def add(
    shell: Shell,
    *,
    name: str,
    words: tuple[str, ...],
    every: str | None,
    timezone: str,
    catch_up: str,
    paused: bool,
    **options: Any,
) -> None:
    """Make or change a schedule.

    \b
        stoker schedules add nightly "0 3 * * *" report day:=1 --timezone Europe/Berlin
        stoker schedules add beat --every 30s ping
    """  # noqa: D301 - \b keeps click from wrapping
    from stoker.app.running import know_jobs
    from stoker.keeper.schedules import make_schedule

    rule, task, arguments = _parts(words, every)
    payload = read_payload(arguments, limit=shell.settings.limits.payload)
    know_jobs(shell.app)

    async def work(app: "Stoker", store: "Store") -> tuple[ScheduleInfo, bool]:
        call = await app.acall(task, payload, from_text=True, **options)
        warn_of_texts(shell.out, call, arguments)
        stored = await store.schedules([name])
        spec = make_schedule(
            name,
            rule,
            call.spec("", defaults=app.defaults),
            now=app.clock.now(),
            timezone=timezone,
            catch_up=catch_up,
            paused=paused,
            previous=stored[0] if stored else None,
        )
        created = await store.put_schedules([spec], actor=app.actor)
        return (await _one(store, name)), bool(created)

    info, created = shell.run(work)
    if shell.out.as_json:
        shell.out.document(_plain(info, {}))
        return
    at = moment(optional_when(info.spec.next_at))
    shell.out.line(f"{'added' if created else 'changed'} schedule {name}; it fires next at {at}")


@schedules.command("rm")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@json_option
@common()
def rm(shell: Shell, *, names: tuple[str, ...]) -> None:
    """Remove schedules; jobs that they fired stay."""

    async def work(app: "Stoker", store: "Store") -> None:
        for name in names:
            await _one(store, name)
        await store.put_schedules(remove=names, actor=app.actor)

    shell.run(work)
    if shell.out.as_json:
        shell.out.document({"removed": names})
    else:
        shell.out.line(f"removed {', '.join(names)}")


@schedules.command()
@click.argument("name")
@json_option
@common()
def pause(shell: Shell, *, name: str) -> None:
    """Stop a schedule from firing."""
    from stoker.keeper.schedules import paused

    _change(shell, name, paused)


@schedules.command()
@click.argument("name")
@json_option
@common()
def resume(shell: Shell, *, name: str) -> None:
    """Let a schedule fire again; what fell into the pause is not caught up."""
    from stoker.keeper.schedules import resumed

    _change(shell, name, lambda info: resumed(info, now=shell.app.clock.now()))


@schedules.command()
@click.argument("name")
@json_option
@common()
def run(shell: Shell, *, name: str) -> None:
    """Fire a schedule now, whatever its rule says; prints the job's id."""
    from stoker.keeper.schedules import manual_firing

    async def work(app: "Stoker", store: "Store") -> str:
        info = await _one(store, name)
        firing = manual_firing(info.spec, now=app.clock.now(), clock=app.clock)
        [fired] = await store.fire([firing], actor=app.actor)
        if fired is None:
            raise _not_found(name, [])
        if fired.error is not None:
            raise from_code(fired.error.code, fired.error.message)
        return fired.id

    job_id = shell.run(work)
    if shell.out.as_json:
        shell.out.document({"name": name, "job_id": job_id})
    else:
        shell.out.line(job_id)


def _parts(words: tuple[str, ...], every: str | None) -> tuple[str, str, tuple[str, ...]]:
    """Split the words into rule, task and arguments."""
    needed = 1 if every is not None else 2
    if len(words) < needed:
        wanted = "TASK" if every is not None else "a cron expression (quoted) and TASK"
        raise click.UsageError(f"expected {wanted} after the name")
    if every is not None:
        return f"every {every}", words[0], words[1:]
    return words[0], words[1], words[2:]


def _change(shell: Shell, name: str, change: Any) -> None:
    async def work(app: "Stoker", store: "Store") -> ScheduleInfo:
        spec: ScheduleSpec = change(await _one(store, name))
        await store.put_schedules([spec], actor=app.actor)
        return await _one(store, name)

    info = shell.run(work)
    if shell.out.as_json:
        shell.out.document(_plain(info, {}))
        return
    at = moment(optional_when(info.spec.next_at))
    said = "is paused" if info.spec.paused else f"fires next at {at}"
    shell.out.line(f"schedule {name} {said}")


async def _one(store: "Store", name: str) -> ScheduleInfo:
    found = await store.schedules([name])
    if not found:
        raise _not_found(name, [info.spec.name for info in await store.schedules()])
    return found[0]


def _not_found(name: str, known: list[str]) -> ScheduleNotFound:
    near = difflib.get_close_matches(name, known, n=2)
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    return ScheduleNotFound(f"no schedule is named {name[:100]!r}{hint}", suggestions=near)


def _row(info: ScheduleInfo, now: "datetime") -> tuple[object, ...]:
    spec = info.spec
    return (
        spec.name,
        "paused" if spec.paused else "open",
        spec.cron or f"every {length(spec.every)}",
        spec.timezone if spec.cron else "",
        spec.job.task,
        "" if spec.paused else since(optional_when(spec.next_at), now),
        since(optional_when(info.last_at), now),
        info.fired,
    )


def _plain(info: ScheduleInfo, upcoming: dict[str, list[float]]) -> dict[str, Any]:
    """Return a schedule as flat JSON."""
    spec = info.spec
    shown: dict[str, Any] = {
        "name": spec.name,
        "task": spec.job.task,
        "cron_expression": spec.cron,
        "interval": spec.every,
        "timezone": spec.timezone,
        "catch_up": spec.catch_up,
        "paused": spec.paused,
        "payload": msgspec.Raw(spec.job.payload),
        "queue": spec.job.queue,
        "priority": spec.job.priority,
        "max_retries": spec.job.retry.max_retries,
        "timeout": spec.job.timeout,
        "tenant": spec.job.tenant,
        "unique_key": spec.job.unique_key,
        "next_at": optional_when(spec.next_at),
        "last_at": optional_when(info.last_at),
        "last_job_id": info.last_job_id,
        "fired": info.fired,
        "created_at": info.created_at,
        "updated_at": info.updated_at,
    }
    shown["next_firings"] = [when(at) for at in upcoming.get(spec.name, ())]
    return shown
