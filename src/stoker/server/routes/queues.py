"""Queues: look, pause, resume, limit, purge."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from stoker.app.stats import QueueStats, queue_stats
from stoker.core.errors import QueueNotFound
from stoker.core.lifecycle import WAITING
from stoker.core.records import MAX_PAGE, JobQuery, QueueInfo
from stoker.server.access import Need, needs
from stoker.server.caller import PREFIX, Caller, reply
from stoker.server.describe import answers, takes
from stoker.server.schemas import LimitBody, Purged, QueueList

router = APIRouter(prefix=f"{PREFIX}/queues", tags=["queues"])


@router.get("", responses=answers(QueueList))
@needs(Need.READ)
async def list_queues(request: Request) -> Response:
    """List the queues that ever had a job or a setting, by name."""
    caller = Caller(request)
    counts = await caller.run(lambda store: store.counts())
    queues = await caller.run(lambda store: store.queues())
    return reply(QueueList([queue_stats(queue, counts.now) for queue in queues]))


@router.post("/{name:path}/pause", responses=answers(QueueStats, refuses=(404,)))
@needs(Need.OPERATE)
async def pause_queue(request: Request, name: str) -> Response:
    """Stop leasing from a queue. Running jobs go on, and jobs are still accepted."""
    return await _set(Caller(request), name, paused=True)


@router.post("/{name:path}/resume", responses=answers(QueueStats, refuses=(404,)))
@needs(Need.OPERATE)
async def resume_queue(request: Request, name: str) -> Response:
    """Lease from a queue again."""
    return await _set(Caller(request), name, paused=False)


@router.post(
    "/{name:path}/limit",
    responses=answers(QueueStats, body=True, refuses=(404,)),
    openapi_extra=takes(LimitBody, example={"limit": 5}),
)
@needs(Need.OPERATE)
async def limit_queue(request: Request, name: str) -> Response:
    """Set how many jobs of a queue may be leased at once, over all workers."""
    caller = Caller(request)
    body = await caller.body(LimitBody)
    return await _set(caller, name, limit=body.limit or 0)


@router.delete("/{name:path}/jobs", responses=answers(Purged, refuses=(404,)))
@needs(Need.OPERATE)
async def purge_queue(request: Request, name: str) -> Response:
    """Delete the waiting jobs of a queue, those of workflows and running ones excepted."""
    caller = Caller(request)
    await _known(caller, name)
    query = JobQuery(queues=(name,), states=tuple(sorted(WAITING)))
    purged = 0
    while True:
        count = await caller.run(
            lambda store: store.purge(query, limit=MAX_PAGE, actor=caller.actor)
        )
        purged += count
        if count < MAX_PAGE:
            return reply(Purged(purged))


@router.get("/{name:path}", responses=answers(QueueStats, refuses=(404,)))
@needs(Need.READ)
async def get_queue(request: Request, name: str) -> Response:
    """Return a queue: its settings and its load."""
    caller = Caller(request)
    return await _show(caller, await _known(caller, name))


async def _set(
    caller: Caller, name: str, *, paused: bool | None = None, limit: int | None = None
) -> Response:
    await _known(caller, name)
    changed = await caller.run(
        lambda store: store.set_queue(name, paused=paused, limit=limit, actor=caller.actor)
    )
    return await _show(caller, changed)


async def _show(caller: Caller, queue: QueueInfo) -> Response:
    counts = await caller.run(lambda store: store.counts())
    return reply(queue_stats(queue, counts.now))


async def _known(caller: Caller, name: str) -> QueueInfo:
    """Return a queue that has jobs or settings, or that the configuration or a task names."""
    queues = await caller.run(lambda store: store.queues())
    for queue in queues:
        if queue.name == name:
            return queue
    registry = caller.app.registry
    declared = {registry.get(task).options.queue for task in registry}
    if name in declared or name in caller.app.settings.queues:
        return QueueInfo(name)
    names = ", ".join(queue.name for queue in queues[:20]) or "none yet"
    raise QueueNotFound(f"no queue is named {name[:100]!r}; there are {names}", queue=name[:100])
