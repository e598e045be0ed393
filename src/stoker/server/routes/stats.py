"""The system at a glance, and the tasks it knows."""

import inspect
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from stoker.app.demand import Demand, demand
from stoker.app.stats import Stats, summarize
from stoker.app.stoker import Stoker
from stoker.core.fleets import workers_among
from stoker.server.access import Need, needs
from stoker.server.caller import PREFIX, Caller, reply
from stoker.server.describe import answers
from stoker.server.schemas import TaskList, TaskView

router = APIRouter(prefix=PREFIX, tags=["system"])

DAY = 86_400
Window = Annotated[int, Query(ge=60, le=DAY, description="Seconds that the rates look back.")]


@router.get("/stats", responses=answers(Stats))
@needs(Need.READ)
async def get_stats(request: Request, window: Window = 300) -> Response:
    """Return counts, ages, rates, error share, response times and load of the workers."""
    caller = Caller(request)
    counts = await caller.run(lambda store: store.counts(window=window))
    sessions = workers_among(await caller.run(lambda store: store.sessions()))
    queues = await caller.run(lambda store: store.queues())
    return reply(summarize(counts, sessions, queues, window=window))


@router.get("/scaling", responses=answers(Demand))
@needs(Need.READ)
async def get_scaling(
    request: Request,
    queue: Annotated[
        list[str] | None, Query(description="Only these queues; repeatable.", max_length=100)
    ] = None,
) -> Response:
    """Return how much work waits and runs, for scalers such as KEDA: scale on `total`.

    What runs counts too, so that no worker is taken away from its job; jobs that are not due yet,
    and those of paused queues, do not.
    """
    caller = Caller(request)
    counts = await caller.run(lambda store: store.counts())
    queues = await caller.run(lambda store: store.queues())
    sessions = workers_among(await caller.run(lambda store: store.sessions()))
    return reply(demand(counts, queues, sessions, only=queue or ()))


@router.get("/tasks", responses=answers(TaskList))
@needs(Need.READ)
async def list_tasks(request: Request) -> Response:
    """List the tasks that jobs may name, with the JSON Schema of their payloads."""
    caller = Caller(request)
    names = sorted(await caller.app.aknown_tasks())
    return reply(TaskList([_task(caller.app, name) for name in names]))


def _task(app: Stoker, name: str) -> TaskView:
    task = app.find_task(name)
    if task is None:
        return TaskView(
            name=name, description="", payload_schema=None, queue=None, known_here=False
        )
    first_line = (inspect.getdoc(task.fn) or "").partition("\n")[0]
    return TaskView(
        name=name,
        description=first_line,
        payload_schema=task.json_schema(),
        queue=task.options.queue,
        known_here=True,
    )
