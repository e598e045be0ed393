"""Spans from the submit to each attempt, and nothing at all while tracing is off."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from stoker.app.running import build_worker
from stoker.app.stoker import Stoker
from stoker.core.store import Store
from stoker.server.http import make_server_app
from stoker.settings import Settings, TracingSettings
from stoker.testing import wait_until
from stoker.tracing import Tracing
from tests.unit.server.asking import Asking

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
CANARY = "canary-of-a-secret"


class Seen:
    """The spans that ended, by name."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]


@pytest.fixture
def seen() -> Iterator[Seen]:
    found = Seen()
    yield found
    found.provider.shutdown()


def make(seen: Seen) -> Stoker:
    app = Stoker(settings=Settings(store="memory://", tracing=TracingSettings(enabled=True)))
    app._tracing = Tracing(seen.provider)

    @app.task("shout", queue="mail")
    def shout(text: str) -> str:
        with trace.get_tracer("mine", tracer_provider=seen.provider).start_as_current_span("inner"):
            return text.upper()

    @app.task("fail", max_retries=0)
    def fail(text: str) -> None:
        raise ValueError(text)

    return app


@pytest.fixture
async def app(seen: Seen) -> AsyncIterator[Stoker]:
    made = make(seen)
    async with made:
        yield made


async def run(app: Stoker, done: Any) -> None:
    """Let a worker work until something holds."""

    async def work(store: Store) -> None:
        worker = build_worker(app, store)
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run())
            try:
                await wait_until(done, "the spans")
            finally:
                worker.drain()

    await app.arun(work)


def ids(span: ReadableSpan) -> tuple[str, str | None]:
    """Return the ids of a span's trace and parent."""
    assert span.context is not None
    parent = None if span.parent is None else f"{span.parent.span_id:016x}"
    return f"{span.context.trace_id:032x}", parent


def span_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


async def test_an_attempt_is_a_child_of_the_span_that_submitted_its_job(
    app: Stoker, seen: Seen
) -> None:
    job = await app.asubmit("shout", {"text": "hi"})
    await run(app, lambda: seen.named("process mail"))
    [send], [process], [inner] = (
        seen.named(name) for name in ("submit mail", "process mail", "inner")
    )
    assert (send.kind, process.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert ids(process) == (ids(send)[0], span_id(send))
    assert ids(inner) == (ids(send)[0], span_id(process))
    assert dict(send.attributes or {}) == {
        "messaging.system": "stoker",
        "messaging.operation.name": "submit",
        "messaging.operation.type": "send",
        "messaging.destination.name": "mail",
        "messaging.message.id": job.id,
        "stoker.task": "shout",
    }
    told = dict(process.attributes or {})
    assert told["messaging.operation.type"] == "process"
    assert told["messaging.message.id"] == job.id
    assert (told["stoker.attempt"], told["stoker.outcome"]) == (1, "completed")
    assert process.status.status_code is StatusCode.UNSET


async def test_a_failed_attempt_is_an_error_and_tells_no_message(app: Stoker, seen: Seen) -> None:
    await app.asubmit("fail", {"text": CANARY})
    await run(app, lambda: seen.named("process default"))
    [span] = seen.named("process default")
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "ValueError"
    assert CANARY not in "".join(one.to_json() for one in seen.all)


async def test_a_batch_is_one_span_and_its_jobs_are_its_children(app: Stoker, seen: Seen) -> None:
    task = app.registry.get("shout")
    assert task is not None
    calls = [await app.acall("shout", {"text": text}) for text in ("a", "b", "c")]
    await app.asubmit_many(calls)
    await run(app, lambda: len(seen.named("process mail")) == 3)
    [send] = seen.named("submit mail")
    assert (send.attributes or {})["messaging.batch.message_count"] == 3
    assert {ids(span)[1] for span in seen.named("process mail")} == {span_id(send)}


async def test_a_job_that_brings_a_context_keeps_it(app: Stoker, seen: Seen) -> None:
    theirs = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-mine": "1"}
    await app.asubmit("shout", {"text": "hi"}, headers=theirs)
    await run(app, lambda: seen.named("process mail"))
    [process] = seen.named("process mail")
    assert ids(process) == (TRACE, PARENT)


async def test_a_context_that_means_nothing_begins_a_new_trace(app: Stoker, seen: Seen) -> None:
    await app.asubmit("shout", {"text": "hi"}, headers={"traceparent": "nonsense"})
    await run(app, lambda: seen.named("process mail"))
    [process] = seen.named("process mail")
    assert process.parent is None


async def test_the_context_of_a_request_goes_on_in_the_job(app: Stoker, seen: Seen) -> None:
    asking = Asking(make_server_app(app))
    async with asking.http:
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        body = b'{"task": "shout", "payload": {"text": "hi"}}'
        (await asking.raw("POST", "/jobs", body, headers=headers)).ok(201)
    [send] = seen.named("submit mail")
    assert ids(send) == (TRACE, PARENT)


def test_blocking_code_hands_its_context_over_to_the_loop(seen: Seen) -> None:
    app = make(seen)
    try:
        tracer = trace.get_tracer("mine", tracer_provider=seen.provider)
        with tracer.start_as_current_span("request"):
            app.submit("shout", {"text": "hi"})
    finally:
        app.close()
    [request], [send] = seen.named("request"), seen.named("submit mail")
    assert ids(send) == (ids(request)[0], span_id(request))


def test_nothing_is_imported_while_tracing_is_off() -> None:
    program = (
        "import sys; from stoker import Stoker; app = Stoker('memory://');"
        "app.task('noop')(lambda: None); app.submit('noop'); app.close();"
        "print(sorted(m for m in sys.modules if m.startswith('opentelemetry')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
