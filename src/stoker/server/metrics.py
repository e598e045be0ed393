"""Figures for Prometheus: the store's own counts, and the traffic of this server.

What the store says is asked for when it is scraped (or was, within the last second, by whoever
watches), so it is right whichever server is asked, and survives its restart. That holds for the
histograms too: the store keeps them. Labels are bounded: states, priorities, outcomes, route
templates, at most `MOST_QUEUES` queues and `MOST_TASKS` tasks; the jobs of the rest are summed up
under ``(other)``, a name that no queue and no task can have.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from starlette.types import Scope

from stoker.app.overview import minute_of
from stoker.app.stats import worker_stats
from stoker.core.job import SessionState
from stoker.core.records import QueueInfo
from stoker.core.spread import BOUNDS
from stoker.server.live import Streams
from stoker.server.watch import Seen, Watch

MOST_QUEUES = 100
MOST_TASKS = 100
RECENT = timedelta(minutes=5)
"""How far the figures by task look back, in whole minutes."""
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

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._overview = seen.frame.overview
        self._counts = seen.counts
        self._queues = sorted(seen.queues, key=_load, reverse=True)[:MOST_QUEUES]
        self._shown = {queue.name for queue in self._queues}

    def collect(self) -> Iterator[Metric]:
        store = self._overview.store
        value = {"engine": store.engine, "durability": store.durability}
        yield InfoMetricFamily("stoker_store", "The store behind this server.", value=value)
        yield GaugeMetricFamily(
            "stoker_store_latency_seconds",
            "How long the store took to answer a question about one job.",
            value=store.latency,
        )
        yield self._jobs()
        yield from self._queue_gauges()
        yield self._totals()
        yield self._tasks()
        yield from self._histograms()
        yield from self._workers()
        yield GaugeMetricFamily(
            "stoker_keeper_elected",
            "1 when somebody was elected keeper and has not resigned.",
            value=self._overview.keeper is not None,
        )
        yield from self._broker()

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

    def _tasks(self) -> Metric:
        """Tell what happened with each task lately; stores keep no totals by task."""
        family = GaugeMetricFamily(
            "stoker_task_recent",
            "What happened to jobs and attempts in the last five whole minutes.",
            labels=("task", "outcome"),
        )
        end = minute_of(self._counts.now)
        lines = [a for a in self._counts.activity if end - RECENT <= a.minute_at < end]
        busy: Counter[str] = Counter()
        for line in lines:
            busy[line.task] += line.count
        shown = {task for task, _ in busy.most_common(MOST_TASKS)}
        summed: Counter[tuple[str, str]] = Counter()
        for line in lines:
            summed[line.task if line.task in shown else OTHER, line.outcome] += line.count
        for labels, count in sorted(summed.items()):
            family.add_metric(labels, count)
        return family

    def _histograms(self) -> Iterator[Metric]:
        spread = self._counts.spread
        yield _histogram(
            "stoker_job_wait_seconds",
            "From due to leased, of every attempt that ended since the store was made.",
            spread.waited,
            spread.waited_sum,
        )
        yield _histogram(
            "stoker_job_run_seconds",
            "From started to settled, of every attempt that ended since the store was made.",
            spread.ran,
            spread.ran_sum,
        )

    def _broker(self) -> Iterator[Metric]:
        status = self._overview.broker
        if status is None:
            return
        yield GaugeMetricFamily(
            "stoker_broker_connected",
            "1 while this server's rings leave and arrive.",
            value=status.connected,
        )
        rings = CounterMetricFamily(
            "stoker_broker_rings", "Rings of this server, by what became of them.", labels=("fate",)
        )
        for fate in ("rung", "dropped", "heard", "foreign"):
            rings.add_metric((fate,), getattr(status, fate))
        yield rings

    def _workers(self) -> Iterator[Metric]:
        load = worker_stats(self._seen.sessions)
        states = Counter(str(session.state) for session in self._seen.sessions)
        family = GaugeMetricFamily("stoker_workers", "Living workers.", labels=("state",))
        for state in (SessionState.ALIVE, SessionState.DRAINING):
            family.add_metric((str(state),), states[str(state)])
        yield family
        yield GaugeMetricFamily(
            "stoker_worker_slots", "Jobs that the workers can run at once.", value=load.slots
        )
        yield GaugeMetricFamily("stoker_worker_busy", "Jobs that they hold.", value=load.busy)
        yield GaugeMetricFamily(
            "stoker_worker_utilization",
            "Share of the slots that are busy; 0 without slots.",
            value=load.utilization or 0.0,
        )


class _Streams:
    """The open streams of this server, as a collector."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "stoker_http_streams",
            "Streams of server-sent events that this server holds open.",
            value=self._streams.open_now,
        )


async def expose(
    watch: Watch, traffic: Traffic, streams: Streams, *, accept: str
) -> tuple[bytes, str]:
    """Return all figures in the format that the client wants, and the format's name.

    Raises:
        StokerError: The store could not be asked.
    """
    registry = CollectorRegistry()
    registry.register(_Snapshot(await watch.now()))
    registry.register(_Streams(streams))
    registry.register(traffic.seconds)
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


def _histogram(name: str, text: str, classes: Mapping[int, int], seconds: float) -> Metric:
    buckets: list[tuple[str, float]] = []
    below = 0
    for number, bound in enumerate(BOUNDS):
        below += classes.get(number, 0)
        buckets.append((f"{bound:g}", below))
    buckets.append(("+Inf", below + classes.get(len(BOUNDS), 0)))
    family = HistogramMetricFamily(name, text)
    family.add_metric((), buckets, seconds)
    return family


def _load(queue: QueueInfo) -> int:
    return sum(queue.counts.values())
