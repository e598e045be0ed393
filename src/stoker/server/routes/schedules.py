"""Schedules: make, look, change, remove, pause, resume, fire now."""

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from stoker.app.bodies import one_task
from stoker.core.duration import Duration, optional_when, seconds, when
from stoker.core.errors import InvalidSchedule, Refused, ScheduleNotFound, from_code
from stoker.core.job import JobRecord, JobSpec
from stoker.core.records import ScheduleInfo, ScheduleSpec
from stoker.keeper import cron as cron_rules
from stoker.keeper.schedules import make_schedule, manual_firing, paused, preview, resumed
from stoker.server.access import Need, needs
from stoker.server.caller import PREFIX, Caller, reply
from stoker.server.describe import answers, takes
from stoker.server.schemas import ScheduleBody, ScheduleList, SchedulePatch, ScheduleView
from stoker.server.submitting import records

router = APIRouter(prefix=f"{PREFIX}/scheduled-jobs", tags=["schedules"])

PREVIEWED = 10
"""Firings that are shown ahead."""
_EXAMPLE = {
    "name": "daily-report",
    "task": "send_email",
    "cron_expression": "0 9 * * *",
    "timezone": "Europe/Berlin",
    "payload": {"to": "user@example.com", "subject": "Report", "body": "..."},
}


@router.post(
    "",
    status_code=201,
    responses=answers(ScheduleView, status=201, body=True, refuses=(409,)),
    openapi_extra=takes(ScheduleBody, example=_EXAMPLE),
)
@needs(Need.OPERATE)
async def make_scheduled_job(request: Request) -> Response:
    """Make a schedule. Its name must be new; PATCH changes an existing one."""
    caller = Caller(request)
    body = await caller.body(ScheduleBody)
    job = await _template(caller, one_task(body.task, body.job_type), body.payload, body.options())
    now = await caller.now()
    spec = make_schedule(
        body.name,
        _rule(body.cron_expression, body.interval),
        job,
        now=now,
        timezone=body.timezone,
        catch_up=body.catch_up,
        paused=body.paused,
    )
    if await caller.run(lambda store: store.schedules([spec.name])):
        raise Refused(
            f"a schedule is named {spec.name!r} already; change it with PATCH "
            f"{PREFIX}/scheduled-jobs/{spec.name}, or remove it first",
            name=spec.name,
        )
    headers = {"location": f"{PREFIX}/scheduled-jobs/{spec.name}"}
    return reply(await _put(caller, spec), 201, headers=headers)


@router.get("", responses=answers(ScheduleList))
@needs(Need.READ)
async def list_scheduled_jobs(request: Request) -> Response:
    """List the schedules by name, each with its next firings."""
    caller = Caller(request)
    found = await caller.run(lambda store: store.schedules())
    return reply(ScheduleList([_view(info) for info in found]))


@router.post(
    "/{name:path}/run", status_code=201, responses=answers(JobRecord, status=201, refuses=(404,))
)
@needs(Need.OPERATE)
async def fire_scheduled_job(request: Request, name: str) -> Response:
    """Submit the schedule's job now, whatever its rule says and although it is paused."""
    caller = Caller(request)
    spec = (await _known(caller, name)).spec
    firing = manual_firing(spec, now=await caller.now(), clock=caller.app.clock)
    [answer] = await caller.run(lambda store: store.fire([firing], actor=caller.actor))
    if answer is None:
        raise _unknown(name)
    if answer.error is not None:
        raise from_code(answer.error.code, answer.error.message)
    [job] = await records(caller, [answer.id])
    return reply(job, 201, headers={"location": f"{PREFIX}/jobs/{job.id}"})


@router.post("/{name:path}/pause", responses=answers(ScheduleView, refuses=(404,)))
@needs(Need.OPERATE)
async def pause_scheduled_job(request: Request, name: str) -> Response:
    """Stop a schedule from firing until it is resumed."""
    caller = Caller(request)
    return reply(await _put(caller, paused(await _known(caller, name))))


@router.post("/{name:path}/resume", responses=answers(ScheduleView, refuses=(404,)))
@needs(Need.OPERATE)
async def resume_scheduled_job(request: Request, name: str) -> Response:
    """Let a schedule fire again, from now on: what fell into the pause is not caught up."""
    caller = Caller(request)
    info = await _known(caller, name)
    return reply(await _put(caller, resumed(info, now=await caller.now())))


@router.get("/{name:path}", responses=answers(ScheduleView, refuses=(404,)))
@needs(Need.READ)
async def get_scheduled_job(request: Request, name: str) -> Response:
    """Return a schedule with its next firings."""
    return reply(_view(await _known(Caller(request), name)))


@router.patch(
    "/{name:path}",
    responses=answers(ScheduleView, body=True, refuses=(404,)),
    openapi_extra=takes(SchedulePatch, example={"cron_expression": "0 8 * * MON-FRI"}),
)
@needs(Need.OPERATE)
async def change_scheduled_job(request: Request, name: str) -> Response:
    """Change what is given of a schedule; the rest stays."""
    caller = Caller(request)
    body = await caller.body(SchedulePatch)
    info = await _known(caller, name)
    now = await caller.now()
    spec = make_schedule(
        name,
        _new_rule(info.spec, body),
        await _new_job(caller, info.spec.job, body),
        now=now,
        timezone=body.timezone or info.spec.timezone,
        catch_up=body.catch_up or info.spec.catch_up,
        paused=info.spec.paused,
        previous=info,
    )
    if body.paused is not None and body.paused is not spec.paused:
        changed = msgspec.structs.replace(info, spec=spec)
        spec = paused(changed) if body.paused else resumed(changed, now=now)
    return reply(await _put(caller, spec))


@router.delete("/{name:path}", responses=answers(ScheduleView, refuses=(404,)))
@needs(Need.OPERATE)
async def remove_scheduled_job(request: Request, name: str) -> Response:
    """Remove a schedule; answer with what it was. Jobs that it fired stay."""
    caller = Caller(request)
    info = await _known(caller, name)
    absent = await caller.run(lambda store: store.put_schedules(remove=[name], actor=caller.actor))
    if absent:
        raise _unknown(name)
    return reply(_view(info))


async def _template(
    caller: Caller, task: str, payload: Mapping[str, Any], options: Mapping[str, Any]
) -> JobSpec:
    call = await caller.app.acall(task, payload, **options)
    spec = call.spec("", defaults=caller.app.defaults)
    caller.app.check_spec(spec)
    return spec


async def _new_job(caller: Caller, old: JobSpec, body: SchedulePatch) -> JobSpec:
    """Return the template with what the patch gives; a new task brings its own options along."""
    options = body.options()
    names_task = body.task is not None or body.job_type is not None
    task = one_task(body.task, body.job_type) if names_task else old.task
    payload = msgspec.json.decode(old.payload) if body.payload is None else body.payload
    new = await _template(caller, task, payload, options)
    if task != old.task:
        return new
    changed = {key: getattr(new, key) for key in options if key != "max_retries"}
    changed["payload"] = new.payload
    if "max_retries" in options:
        policy = new.retry if "retry" in options else old.retry
        changed["retry"] = policy.replace(max_retries=options["max_retries"])
    return msgspec.structs.replace(old, **changed)


def _rule(cron: str | None, interval: Duration | None) -> Duration:
    """Return the rule, in a form that cannot be taken for the other kind."""
    if (cron is None) == (interval is None):
        raise InvalidSchedule(
            "the schedule needs one rule: 'cron_expression', such as '0 9 * * *', or 'interval', "
            "such as '30s'"
        )
    if interval is not None:
        return seconds(interval, name="interval")
    expression = str(cron).strip()
    cron_rules.check(expression)
    return expression


def _new_rule(old: ScheduleSpec, body: SchedulePatch) -> Duration:
    if body.cron_expression is not None or body.interval is not None:
        return _rule(body.cron_expression, body.interval)
    return old.every if old.every is not None else old.cron or ""


async def _put(caller: Caller, spec: ScheduleSpec) -> ScheduleView:
    await caller.run(lambda store: store.put_schedules([spec], actor=caller.actor))
    return _view(await _known(caller, spec.name))


async def _known(caller: Caller, name: str) -> ScheduleInfo:
    found = await caller.run(lambda store: store.schedules([name]))
    if not found:
        raise _unknown(name)
    return found[0]


def _unknown(name: str) -> ScheduleNotFound:
    return ScheduleNotFound(
        f"no schedule is named {name[:100]!r}; GET {PREFIX}/scheduled-jobs lists them",
        name=name[:100],
    )


def _view(info: ScheduleInfo) -> ScheduleView:
    spec, job = info.spec, info.spec.job
    return ScheduleView(
        name=spec.name,
        task=job.task,
        payload=msgspec.Raw(job.payload),
        queue=job.queue,
        priority=job.priority,
        max_retries=job.retry.max_retries,
        timeout=job.timeout,
        tenant=job.tenant,
        unique_key=job.unique_key,
        cron_expression=spec.cron,
        interval=spec.every,
        timezone=spec.timezone,
        catch_up=spec.catch_up,
        paused=spec.paused,
        next_at=optional_when(spec.next_at),
        in_words=_in_words(spec),
        next_firings=[when(at) for at in preview(spec, PREVIEWED)],
        last_at=optional_when(info.last_at),
        last_job_id=info.last_job_id,
        fired=info.fired,
        created_at=info.created_at,
        updated_at=info.updated_at,
    )


def _in_words(spec: ScheduleSpec) -> str:
    if spec.cron is not None:
        return cron_rules.in_words(spec.cron)
    return f"Every {spec.every:g} s" if spec.every is not None else ""
