"""Traces by OpenTelemetry: from the submit, through the job's headers, to each of its attempts.

While ``tracing.enabled`` is not set, the library is not imported, and neither submitting nor
running a job passes through here. Names follow the conventions for messaging: a *send* span where
jobs are submitted, whose context travels in each job as ``traceparent``, and a *process* span for
each attempt, its child. No payload, no result and no error's message goes into a span.

Who embeds Stoker sets up his own provider; the command line sets one up that exports by OTLP, as
the ``OTEL_*`` variables say.
"""

import sys
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from stoker.core.context import JobContext
from stoker.core.errors import MissingExtra
from stoker.core.job import ErrorInfo, JobSpec, Outcome

T = TypeVar("T")

CARRIED = ("traceparent", "tracestate")
"""Headers that carry a context from process to process."""
_SYSTEM = {"messaging.system": "stoker"}
_exporting: list[str] = []
"""The service that this process exports spans as, if it does."""
_FAILED = frozenset({Outcome.FAILED, Outcome.CRASHED})


class Tracing:
    """Opens spans. Made only where tracing is on."""

    def __init__(self, provider: Any = None) -> None:
        """Use a provider of tracers.

        Args:
            provider: An OpenTelemetry ``TracerProvider``; the process's own if not given.

        Raises:
            MissingExtra: OpenTelemetry is not installed.
        """
        try:
            from opentelemetry import context, trace
            from opentelemetry.trace.propagation.tracecontext import (
                TraceContextTextMapPropagator,
            )
        except ImportError as error:
            raise missing(error) from None
        self._context = context
        self._trace = trace
        self._carrier = TraceContextTextMapPropagator()
        self._tracer = trace.get_tracer("stoker", tracer_provider=provider)

    @contextmanager
    def submitting(
        self, jobs: Sequence[JobSpec], *, carrier: Mapping[str, str] | None = None
    ) -> Iterator[list[JobSpec]]:
        """Open a span around a submit; yield the jobs with its context in their headers.

        A job that brings a context of its own keeps it.

        Args:
            jobs: To be submitted in one call.
            carrier: Headers of a request that may carry the caller's context.
        """
        queues = {job.queue for job in jobs}
        attributes: dict[str, Any] = {
            **_SYSTEM,
            "messaging.operation.name": "submit",
            "messaging.operation.type": "send",
        }
        if len(queues) == 1:
            attributes["messaging.destination.name"] = next(iter(queues))
        if len(jobs) == 1:
            attributes["messaging.message.id"] = jobs[0].id
            attributes["stoker.task"] = jobs[0].task
        else:
            attributes["messaging.batch.message_count"] = len(jobs)
        parent = self._carrier.extract(carrier) if carrier else None
        with self._tracer.start_as_current_span(
            _named("submit", queues),
            context=parent,
            kind=self._trace.SpanKind.PRODUCER,
            attributes=attributes,
            record_exception=False,
        ):
            headers: dict[str, str] = {}
            self._carrier.inject(headers)
            yield [_carrying(job, headers) for job in jobs]

    @contextmanager
    def processing(self, job: JobContext) -> Iterator[Any]:
        """Open a span around an attempt, as a child of the one that submitted the job."""
        attributes: dict[str, Any] = {
            **_SYSTEM,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": job.queue,
            "messaging.message.id": job.id,
            "messaging.client.id": job.worker,
            "stoker.task": job.task,
            "stoker.attempt": job.attempt,
        }
        with self._tracer.start_as_current_span(
            _named("process", {job.queue}),
            context=self._carrier.extract(dict(job.headers)),
            kind=self._trace.SpanKind.CONSUMER,
            attributes=attributes,
            record_exception=False,
        ) as span:
            yield span

    def tell(self, span: Any, outcome: Outcome, error: ErrorInfo | None) -> None:
        """Write into an attempt's span how it ended."""
        span.set_attribute("stoker.outcome", str(outcome))
        if outcome in _FAILED:
            code = error.code if error is not None else str(outcome)
            kind = (error.type if error is not None else "") or code
            span.set_attribute("error.type", kind)
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, code))

    def continued(self, work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """Return work that goes on in the present context on another thread."""
        return self._within(self._context.get_current(), work)

    async def _within(self, context: Any, work: Coroutine[Any, Any, T]) -> T:
        token = self._context.attach(context)
        try:
            return await work
        finally:
            self._context.detach(token)


def carried() -> dict[str, str]:
    """Return the present context as headers; nothing where nobody has imported OpenTelemetry."""
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return headers


@contextmanager
def continuing(headers: Mapping[str, str]) -> Iterator[None]:
    """Go on in the context that some headers carry, if they carry one."""
    if "traceparent" not in headers:
        yield
        return
    from opentelemetry import context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    token = context.attach(TraceContextTextMapPropagator().extract(headers))
    try:
        yield
    finally:
        context.detach(token)


def exports() -> bool:
    """Whether this process exports by `export`."""
    return bool(_exporting)


def export(service: str) -> None:
    """Give the process a provider that exports by OTLP, unless it has one.

    Args:
        service: The name of the service, unless ``OTEL_SERVICE_NAME`` says another.

    Raises:
        MissingExtra: OpenTelemetry or its exporter is not installed.
    """
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise missing(error) from None
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    resource = Resource.create({"service.name": service}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    _exporting.append(service)


def missing(error: ImportError) -> MissingExtra:
    """Return the error for a process without the library."""
    return MissingExtra(
        f"tracing is on, and OpenTelemetry is not installed ({error}); install it with: "
        "pip install 'stoker[otel]', or set tracing.enabled = false"
    )


def _carrying(job: JobSpec, headers: Mapping[str, str]) -> JobSpec:
    if "traceparent" in job.headers:
        return job
    return msgspec.structs.replace(job, headers={**job.headers, **headers})


def _named(operation: str, queues: set[str]) -> str:
    """Return the name of a span: the operation, and the queue if there is one for all."""
    return f"{operation} {next(iter(queues))}" if len(queues) == 1 else operation
