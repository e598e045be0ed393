"""Workers: look, drain, remove."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from stoker.core.errors import Refused, WorkerNotFound
from stoker.core.fleets import workers_among
from stoker.core.job import Command, SessionInfo, SessionState
from stoker.server.access import Need, needs
from stoker.server.caller import PREFIX, Caller, reply
from stoker.server.describe import answers
from stoker.server.schemas import WorkerAnswer, WorkerList

router = APIRouter(prefix=f"{PREFIX}/workers", tags=["workers"])

_ENDED = frozenset({SessionState.LEFT, SessionState.DEAD})


@router.get("", responses=answers(WorkerList))
@needs(Need.READ)
async def list_workers(
    request: Request,
    *,
    ended: Annotated[
        bool, Query(description="Also those that left or died within the last day.")
    ] = False,
) -> Response:
    """List the living workers, newest first."""
    caller = Caller(request)
    found = await caller.run(lambda store: store.sessions(ended=ended))
    return reply(WorkerList(workers_among(found)))


@router.post(
    "/{worker:path}/drain",
    status_code=202,
    responses=answers(WorkerAnswer, status=202, refuses=(404, 409)),
)
@needs(Need.OPERATE)
async def drain_worker(request: Request, worker: str) -> Response:
    """Ask a worker to finish what it runs, to take nothing new, and to leave."""
    return await _command(Caller(request), worker, Command.DRAIN, "draining")


@router.post(
    "/{worker:path}/stop",
    status_code=202,
    responses=answers(WorkerAnswer, status=202, refuses=(404, 409)),
)
@needs(Need.OPERATE)
async def stop_worker(request: Request, worker: str) -> Response:
    """Ask a worker to interrupt what it runs, to give it back, and to leave."""
    return await _command(Caller(request), worker, Command.STOP, "stopping")


@router.get("/{worker:path}", responses=answers(SessionInfo, refuses=(404,)))
@needs(Need.READ)
async def get_worker(request: Request, worker: str) -> Response:
    """Return a worker, by the id of its session or by its name."""
    return reply(await _find(Caller(request), worker))


@router.delete(
    "/{worker:path}",
    status_code=202,
    responses=answers(WorkerAnswer, status=202, refuses=(404, 409)),
)
@needs(Need.OPERATE)
async def remove_worker(request: Request, worker: str) -> Response:
    """Drain a worker: it finishes what it runs, takes nothing new, and leaves.

    One that has been silent past its time to live cannot hear that any more: it is declared dead
    and its jobs are taken back.
    """
    caller = Caller(request)
    found = await _find(caller, worker)
    if found.state in _ENDED:
        raise Refused(f"worker {found.name!r} is gone already: it is {found.state}", id=found.id)
    counts = await caller.run(lambda store: store.counts())
    is_silent = found.expires_at < counts.now
    if is_silent:
        await caller.run(lambda store: store.reap(sessions=[found.id], actor=caller.actor))
    else:
        await caller.run(
            lambda store: store.set_session([found.id], Command.DRAIN, actor=caller.actor)
        )
    now = await _find(caller, found.id)
    return reply(WorkerAnswer("removed" if is_silent else "draining", now), 202)


async def _command(caller: Caller, worker: str, command: Command, answer: str) -> Response:
    found = await _find(caller, worker)
    told = await caller.run(lambda s: s.set_session([found.id], command, actor=caller.actor))
    now = await _find(caller, found.id)
    if not told:
        raise Refused(f"worker {now.name!r} is gone already: it is {now.state}", id=now.id)
    return reply(WorkerAnswer(answer, now), 202)


async def _find(caller: Caller, worker: str) -> SessionInfo:
    sessions = await caller.run(lambda store: store.sessions(ended=True))
    matching = [s for s in workers_among(sessions) if worker in {s.id, s.name}]
    living = [s for s in matching if s.state not in _ENDED]
    if matching:
        return (living or matching)[0]
    raise WorkerNotFound(
        f"no worker has the id or name {worker[:100]!r}; GET {PREFIX}/workers lists them",
        worker=worker[:100],
    )
