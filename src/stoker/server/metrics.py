"""Figures for Prometheus: the store's own counts, and the traffic of this server.

What the store says is asked for when it is scraped, so it is right whichever server is asked, and
survives its restart. Labels are bounded: states, priorities, outcomes, route templates, and at
most `MOST_QUEUES` queues; the jobs of the rest are summed up under ``(other)``, a name that no
queue can have.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from starlette.types import Scope

from stoker.app.stats import worker_stats
from stoker.core.job import SessionInfo, SessionState
from stoker.core.records import Counts, QueueInfo, StoreInfo
from stoker.core.store import Store
from stoker.server.caller import Caller

MOST_QUEUES = 100
OTHER = "(other)"
_METHODS = frozenset({"GET", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Traffic:
    """Counts and times the requests of one server."""

    def __init__(self) -> None:
        """Begin to count."""
        self.seconds = Histogram(
            "stoker_http_request_seconds",
            "Seconds until the response began.",
            ("method", "route", "status"),
            buckets=_BUCKETS,
            registry=None,
        )

    def observe(self, scope: Scope, status: int, took: float) -> None:
        """Count one request."""
        route = getattr(scope.get("route"), "path_format", "(none)")
        method = scope["method"] if scope["method"] in _METHODS else "(other)"
        self.seconds.labels(method, route, str(status)).observe(took)


class _Snapshot:
    """What the store said at one moment, as a collector."""

    def __init__(
        self,
        info: StoreInfo,
        counts: Counts,
        queues: Sequence[QueueInfo],
        sessions: Sequence[SessionInfo],
    ) -> None:
        self._info = info
        self._counts = counts
        self._queues = sorted(queues, key=_load, reverse=True)[:MOST_QUEUES]
        self._shown = {queue.name for queue in self._queues}
        self._sessions = sessions

    def collect(self) -> Iterator[Metric]:
        store = {"engine": self._info.engine, "durability": self._info.durability}
        yield InfoMetricFamily("stoker_store", "The store behind this server.", value=store)
        yield self._jobs()
        yield from self._queue_gauges()
        yield self._totals()
        yield from self._workers()

    def _jobs(self) -> Metric:
        family = GaugeMetricFamily(
            "stoker_jobs", "Jobs in the store.", labels=("queue", "priority", "state")
        )
        summed: Counter[tuple[str, str, str]] = Counter()
        for tally in self._counts.tallies:
            queue = tally.queue if tally.queue in self._shown else OTHER
            summed[queue, str(tally.priority), str(tally.state)] += tally.count
        for labels, count in sorted(summed.items()):
            family.add_metric(labels, count)
        return family

    def _queue_gauges(self) -> Iterator[Metric]:
        age = GaugeMetricFamily(
            "stoker_queue_oldest_age_seconds",
            "Seconds for which the oldest queued job has been due.",
            labels=("queue",),
        )
        paused = GaugeMetricFamily(
            "stoker_queue_paused", "1 while the queue is paused.", labels=("queue",)
        )
        limit = GaugeMetricFamily(
            "stoker_queue_limit", "The most jobs leased at once.", labels=("queue",)
        )
        for queue in sorted(self._queues, key=lambda one: one.name):
            oldest = queue.oldest_at
            seconds = 0.0 if oldest is None else (self._counts.now - oldest).total_seconds()
            age.add_metric((queue.name,), max(0.0, seconds))
            paused.add_metric((queue.name,), queue.paused)
            if queue.limit is not None:
                limit.add_metric((queue.name,), queue.limit)
        yield from (age, paused, limit)

    def _totals(self) -> Metric:
        family = CounterMetricFamily(
            "stoker_outcomes",
            "What happened to jobs and attempts since the store was made.",
            labels=("outcome",),
        )
        for outcome, count in sorted(self._counts.totals.items()):
            family.add_metric((outcome,), count)
        return family

    def _workers(self) -> Iterator[Metric]:
        load = worker_stats(self._sessions)
        states = Counter(str(session.state) for session in self._sessions)
        family = GaugeMetricFamily("stoker_workers", "Living workers.", labels=("state",))
        for state in (SessionState.ALIVE, SessionState.DRAINING):
            family.add_metric((str(state),), states[str(state)])
        yield family
        yield GaugeMetricFamily(
            "stoker_worker_slots", "Jobs that the workers can run at once.", value=load.slots
        )
        yield GaugeMetricFamily("stoker_worker_busy", "Jobs that they hold.", value=load.busy)


async def expose(caller: Caller, traffic: Traffic, *, accept: str) -> tuple[bytes, str]:
    """Return all figures in the format that the client wants, and the format's name."""
    counts = await caller.run(lambda store: store.counts())
    queues = await caller.run(lambda store: store.queues())
    sessions = await caller.run(lambda store: store.sessions())
    info = await caller.run(_info)
    registry = CollectorRegistry()
    registry.register(_Snapshot(info, counts, queues, sessions))
    registry.register(traffic.seconds)
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


async def _info(store: Store) -> StoreInfo:
    return store.info


def _load(queue: QueueInfo) -> int:
    return sum(queue.counts.values())
