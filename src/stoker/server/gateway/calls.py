"""From a verb and its parameters to the method of a store."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from stoker.core.store import Store
from stoker.core.wire import records, verbs

LONGEST_WAIT = 60.0
"""Seconds that one ``wait`` may take; whoever wants more asks again."""

Call = Callable[[Store, Any], Awaitable[Any]]


async def _submit(store: Store, p: verbs.SubmitParams) -> Any:
    jobs = [records.read_job(job) for job in p.jobs]
    return await store.submit(jobs, workflow=p.workflow, actor=p.actor)


async def _exchange(store: Store, p: verbs.ExchangeParams) -> Any:
    return await store.exchange(
        p.session_id,
        records.read_settlements(p.settlements),
        queues=p.queues,
        want=p.want,
        nonce=p.nonce,
        aged=p.aged,
        ids=p.ids,
    )


async def _beat(store: Store, p: verbs.BeatParams) -> Any:
    return await store.beat(records.read_session(p.session), p.held, ttl=p.ttl)


async def _cancel(store: Store, p: verbs.CancelParams) -> Any:
    query = records.read_query(p.query)
    return await store.cancel(query, actor=p.actor, reason=p.reason, limit=p.limit)


async def _requeue(store: Store, p: verbs.RequeueParams) -> Any:
    return await store.requeue(
        records.read_query(p.query),
        downstream=p.downstream,
        payload=None if p.payload is msgspec.UNSET else bytes(p.payload),
        interval=p.interval,
        actor=p.actor,
        reason=p.reason,
        limit=p.limit,
    )


async def _reap(store: Store, p: verbs.ReapParams) -> Any:
    return await store.reap(sessions=p.sessions, grace=p.grace, limit=p.limit, actor=p.actor)


async def _purge(store: Store, p: verbs.PurgeParams) -> Any:
    return await store.purge(
        records.read_query(p.query),
        older_than=p.older_than,
        keep=p.keep,
        limit=p.limit,
        actor=p.actor,
    )


async def _get(store: Store, p: verbs.GetParams) -> Any:
    return await store.get(p.ids)


async def _find(store: Store, p: verbs.FindParams) -> Any:
    return await store.find(records.read_query(p.query), cursor=p.cursor, limit=p.limit)


async def _counts(store: Store, p: verbs.CountsParams) -> Any:
    return await store.counts(window=p.window)


async def _workflows(store: Store, p: verbs.WorkflowsParams) -> Any:
    return await store.workflows(p.ids, cursor=p.cursor, limit=p.limit)


async def _put_schedules(store: Store, p: verbs.PutSchedulesParams) -> Any:
    schedules = [records.read_schedule(spec) for spec in p.schedules]
    return await store.put_schedules(schedules, remove=p.remove, actor=p.actor)


async def _schedules(store: Store, p: verbs.SchedulesParams) -> Any:
    return await store.schedules(p.names)


async def _fire(store: Store, p: verbs.FireParams) -> Any:
    firings = [records.read_firing(firing) for firing in p.firings]
    return await store.fire(firings, actor=p.actor)


async def _set_queue(store: Store, p: verbs.SetQueueParams) -> Any:
    return await store.set_queue(p.name, paused=p.paused, limit=p.limit, actor=p.actor)


async def _queues(store: Store, _: verbs.QueuesParams) -> Any:
    return await store.queues()


async def _sessions(store: Store, p: verbs.SessionsParams) -> Any:
    return await store.sessions(ended=p.ended)


async def _set_session(store: Store, p: verbs.SetSessionParams) -> Any:
    return await store.set_session(p.ids, p.command, actor=p.actor)


async def _put_keys(store: Store, p: verbs.PutKeysParams) -> Any:
    return await store.put_keys(p.keys, revoke=p.revoke, used=p.used, actor=p.actor)


async def _keys(store: Store, p: verbs.KeysParams) -> Any:
    return await store.keys(p.ids)


async def _lead(store: Store, p: verbs.LeadParams) -> Any:
    return await store.lead(p.name, p.holder, ttl=p.ttl)


async def _resign(store: Store, p: verbs.ResignParams) -> Any:
    return await store.resign(p.term)


async def _record(store: Store, p: verbs.RecordParams) -> Any:
    await store.record(p.events)


async def _events(store: Store, p: verbs.EventsParams) -> Any:
    return await store.events(records.read_event_query(p.query), limit=p.limit)


async def _wait(store: Store, p: verbs.WaitParams) -> Any:
    return await store.wait(p.queues, ids=p.ids, timeout=min(p.timeout, LONGEST_WAIT))


async def _migrate(store: Store, p: verbs.MigrateParams) -> Any:
    return await store.migrate(to=p.to, dry_run=p.dry_run)


CALLS: Mapping[str, Call] = {
    "submit": _submit,
    "exchange": _exchange,
    "beat": _beat,
    "cancel": _cancel,
    "requeue": _requeue,
    "reap": _reap,
    "purge": _purge,
    "get": _get,
    "find": _find,
    "counts": _counts,
    "workflows": _workflows,
    "put_schedules": _put_schedules,
    "schedules": _schedules,
    "fire": _fire,
    "set_queue": _set_queue,
    "queues": _queues,
    "sessions": _sessions,
    "set_session": _set_session,
    "put_keys": _put_keys,
    "keys": _keys,
    "lead": _lead,
    "resign": _resign,
    "record": _record,
    "events": _events,
    "wait": _wait,
    "migrate": _migrate,
}
"""Verb to the call that it is."""
