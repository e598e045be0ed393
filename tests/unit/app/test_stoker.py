import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
import pytest

from stoker.app.stoker import Stoker
from stoker.core.clock import SystemClock
from stoker.core.errors import (
    Cancelled,
    DuplicateTask,
    InvalidArguments,
    InvalidConfig,
    InvalidOption,
    InvalidPayload,
    InvalidTask,
    JobFailed,
    JobNotFound,
    PayloadTooLarge,
    QueueNotFound,
    Refused,
    ResultTimeout,
    UnknownTask,
    Unsupported,
    UsageError,
)
from stoker.core.job import (
    ErrorInfo,
    Outcome,
    Priority,
    SessionSpec,
    Settlement,
)
from stoker.core.lifecycle import State
from stoker.core.records import ScheduleSpec
from stoker.core.retry import RetryPolicy
from stoker.core.store import Store
from stoker.settings import LimitSettings, Settings, TaskSettings


def make_app(**settings: object) -> Stoker:
    return Stoker(settings=Settings(store="memory://", **settings))  # type: ignore[arg-type]


@pytest.fixture
async def app() -> AsyncIterator[Stoker]:
    made = make_app()
    async with made:
        yield made


async def settle(store: Store, outcome: Outcome, result: bytes | None = None) -> None:
    """Run the next job by hand, as a worker would."""
    await store.beat(SessionSpec(id="s", name="w"), [], ttl=30)
    nonce = SystemClock().new_nonce()
    got = await store.exchange("s", [], queues={"default": 9, "video": 9}, want=1, nonce=nonce)
    [leased] = got.leased
    error = ErrorInfo(code="task_error", type="ValueError", message="bad", traceback="Trace...")
    await store.exchange(
        "s",
        [
            Settlement(
                id=leased.id,
                epoch=leased.epoch,
                nonce=leased.nonce,
                outcome=outcome,
                result=result,
                error=None if outcome is Outcome.COMPLETED else error,
            )
        ],
        queues={},
        want=0,
        nonce=nonce + "x",
    )


class TestDeclaring:
    def test_a_task_is_still_a_plain_function(self) -> None:
        app = make_app()

        @app.task
        def shout(text: str) -> str:
            return text.upper()

        assert shout("x") == "X"
        assert shout.name == "shout"

    async def test_an_async_task_is_still_a_coroutine_function(self) -> None:
        app = make_app()

        @app.task
        async def fetch(text: str) -> str:
            return text.upper()

        assert await fetch("x") == "X"
        assert fetch.task.options.run_in == "async"

    def test_two_functions_of_one_name_are_refused(self) -> None:
        app = make_app()
        app.task("same")(lambda: 1)
        with pytest.raises(DuplicateTask, match="'same' is taken"):
            app.task("same")(lambda: 2)

    def test_options_are_checked_when_the_task_is_declared(self) -> None:
        app = make_app()
        with pytest.raises(InvalidOption, match="priority is 'urgent'"):
            app.task("x", priority="urgent")(lambda: 1)
        with pytest.raises(InvalidOption, match="timeout is 'soon'"):
            app.task("x", timeout="soon")(lambda: 1)
        with pytest.raises(InvalidTask, match="no 'async def'"):
            app.task("x", run_in="async")(lambda: 1)

    def test_a_task_with_star_arguments_is_refused(self) -> None:
        def many(*texts: str) -> None: ...

        with pytest.raises(InvalidTask, match=r"\*texts"):
            make_app().task(many)

    def test_a_task_without_a_policy_gets_that_of_the_configuration(self) -> None:
        from stoker.settings import RetrySettings

        app = make_app(retry=RetrySettings(max_retries=7))
        assert app.task("x")(lambda: 1).task.options.retry.max_retries == 7


class TestSubmitting:
    async def test_a_submitted_job_has_the_options_of_its_task(self, app: Stoker) -> None:
        policy = RetryPolicy(5, base="1s")

        @app.task("video.process", queue="video", priority="high", timeout="15m", retry=policy)
        def process(file: str, height: int = 720) -> str:
            return file

        record = await (await process.asubmit("movie.mp4", height=480)).arecord()
        assert record.task == "video.process"
        assert record.queue == "video"
        assert record.priority is Priority.HIGH
        assert record.timeout == 900.0
        assert record.max_retries == 5
        assert record.to_dict()["payload"] == {"file": "movie.mp4", "height": 480}

    async def test_options_of_one_job_win_over_those_of_the_task(self, app: Stoker) -> None:
        @app.task(queue="slow", max_retries=9)
        def work() -> None: ...

        moment = datetime(2100, 1, 1, tzinfo=UTC)
        job = await work.options(
            queue="fast", priority="low", max_retries=1, run_at=moment, tenant="acme"
        ).asubmit()
        record = await job.arecord()
        assert (record.queue, record.priority, record.max_retries) == ("fast", Priority.LOW, 1)
        assert (record.state, record.run_at, record.tenant) == (State.SCHEDULED, moment, "acme")

    async def test_wrong_arguments_are_refused_before_anything_is_submitted(
        self, app: Stoker
    ) -> None:
        @app.task
        def shout(text: str) -> str:
            return text

        with pytest.raises(InvalidArguments, match="missing required field `text`"):
            await app.asubmit("shout", {})
        with pytest.raises(InvalidArguments, match="Expected `str`, got `int`"):
            await app.asubmit("shout", {"text": 1})
        with pytest.raises(InvalidArguments, match="unknown field `txt`"):
            await app.asubmit("shout", {"text": "a", "txt": "b"})
        with pytest.raises(InvalidPayload, match="NaN"):
            await app.asubmit("shout", {"text": float("nan")})
        assert await app.afind() == []

    async def test_an_unknown_task_is_refused_with_the_nearest_name(self, app: Stoker) -> None:
        app.task("video.process")(lambda: 1)
        with pytest.raises(UnknownTask, match=r"did you mean 'video\.process'") as caught:
            await app.asubmit("video.proces", {})
        assert caught.value.code == "unknown_task"

    async def test_who_names_no_task_is_told_the_own_ones_first(self, app: Stoker) -> None:
        spec = SessionSpec(id="s", name="w", tasks=("elsewhere", "checksum"))
        await app.arun(lambda store: store.beat(spec, [], ttl=30))
        app.task("zebra")(lambda: 1)
        with pytest.raises(UnknownTask, match=r"known are .*zebra, elsewhere, analysis\.batch, "):
            await app.asubmit("qqq", {})

    async def test_a_task_that_a_worker_announced_is_known_by_name(self, app: Stoker) -> None:
        spec = SessionSpec(id="s", name="w", tasks=("elsewhere",))
        await app.arun(lambda store: store.beat(spec, [], ttl=30))
        job = await app.asubmit("elsewhere", {"any": [1, 2]})
        assert (await job.arecord()).to_dict()["payload"] == {"any": [1, 2]}

    async def test_a_payload_over_the_limit_is_refused(self) -> None:
        async with make_app(limits=LimitSettings(payload=100)) as app:  # type: ignore[arg-type]
            app.task("big")(_take)
            with pytest.raises(PayloadTooLarge, match="the limit is 100"):
                await app.asubmit("big", {"text": "x" * 200})

    async def test_a_queue_that_is_not_declared_is_refused(self) -> None:
        async with make_app(queues=("image.process",)) as app:
            app.task("a", queue="own")(_take)
            await app.asubmit("a", {"text": "x"})
            await app.asubmit("a", {"text": "x"}, queue="image.process")
            with pytest.raises(QueueNotFound, match="no queue is named 'imagee'"):
                await app.asubmit("a", {"text": "x"}, queue="imagee")

    async def test_the_same_unique_key_gives_the_live_job(self, app: Stoker) -> None:
        take = app.task("take")(_take)
        first = await take.options(unique_key="k").asubmit("a")
        second = await take.options(unique_key="k").asubmit("b")
        assert (first.created, second.created) == (True, False)
        assert first.id == second.id

    async def test_many_calls_go_in_one_batch_and_keep_their_order(self, app: Stoker) -> None:
        take = app.task("take")(_take)
        jobs = await app.asubmit_many([take.call(str(n)) for n in range(50)])
        assert len({job.id for job in jobs}) == 50
        records = [await job.arecord() for job in jobs]
        assert [r.to_dict()["payload"]["text"] for r in records] == [str(n) for n in range(50)]

    async def test_a_batch_over_the_limit_is_refused(self) -> None:
        async with make_app(limits=LimitSettings(batch=2)) as app:
            take = app.task("take")(_take)
            with pytest.raises(InvalidOption, match="the limit is 2"):
                await app.asubmit_many([take.call("x")] * 3)

    async def test_a_store_without_transactions_says_so(self, app: Stoker) -> None:
        take = app.task("take")(_take)
        with pytest.raises(Unsupported, match="only PostgreSQL and SQLite stores can"):
            await take.options(connection=object()).asubmit("x")

    def test_a_connection_means_nothing_for_schedules_and_workflows(self) -> None:
        app = make_app()
        call = app.task("take")(_take).options(connection=object()).call("x")
        with pytest.raises(Unsupported, match="nothing for a schedule"):
            app.schedule("nightly", "0 3 * * *", call)
        with pytest.raises(Unsupported, match="nothing for a node"):
            app.workflow("flow").add(call)

    async def test_one_batch_joins_one_transaction(self, app: Stoker) -> None:
        take = app.task("take")(_take)
        calls = [take.options(connection=object()).call("x"), take.call("y")]
        with pytest.raises(InvalidOption, match="different connections"):
            await app.asubmit_many(calls)

    def test_an_unknown_broker_is_refused_and_its_password_hidden(self) -> None:
        app = Stoker(settings=Settings(store="memory://", broker="mqtt://u:secret@h"))
        take = app.task("take")(_take)
        with pytest.raises(InvalidConfig, match=r"mqtt://u:\*\*\*@h"):
            take.submit("x")
        app.close()

    def test_a_broker_that_is_away_stops_nobody(self) -> None:
        app = Stoker(settings=Settings(store="memory://", broker="amqp://u:p@127.0.0.1:1"))
        take = app.task("take")(_take)
        assert take.submit("x").state is State.QUEUED
        app.close()


class TestWaiting:
    async def test_result_gives_what_the_task_returned(self, app: Stoker) -> None:
        @app.task
        def born(text: str) -> datetime:
            return datetime.fromisoformat(text)

        job = await born.asubmit("2020-01-01")
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(job.aresult(timeout="10s"))
            await app.arun(lambda s: settle(s, Outcome.COMPLETED, b'"2020-01-01T00:00:00Z"'))
        assert waiting.result() == datetime(2020, 1, 1, tzinfo=UTC)

    async def test_result_of_a_dead_letter_raises_with_the_remote_traceback(
        self, app: Stoker
    ) -> None:
        job = await app.task("take")(_take).asubmit("x")
        await app.arun(lambda s: settle(s, Outcome.FAILED))
        with pytest.raises(JobFailed, match="ValueError: bad") as caught:
            await job.aresult(timeout=5)
        assert caught.value.traceback == "Trace..."
        assert "Trace..." in str(caught.value)

    async def test_result_of_a_cancelled_job_raises_cancelled(self, app: Stoker) -> None:
        job = await app.task("take")(_take).asubmit("x")
        assert await job.acancel("not needed") == "cancelled"
        assert await job.acancel() == "too_late"
        with pytest.raises(Cancelled):
            await job.aresult(timeout=5)

    async def test_a_result_that_does_not_come_in_time_raises_and_the_job_goes_on(
        self, app: Stoker
    ) -> None:
        job = await app.task("take")(_take).asubmit("x")
        with pytest.raises(ResultTimeout, match="is queued"):
            await job.aresult(timeout=0.01)
        assert (await job.arecord()).state is State.QUEUED

    async def test_a_dead_letter_can_be_retried_and_a_live_job_cannot(self, app: Stoker) -> None:
        job = await app.task("take")(_take).asubmit("x")
        with pytest.raises(Refused, match="has not ended"):
            await job.aretry()
        await app.arun(lambda s: settle(s, Outcome.FAILED))
        await job.aretry()
        assert (await job.arecord()).state is State.QUEUED

    async def test_updates_end_with_the_job(self, app: Stoker) -> None:
        job = await app.task("take")(_take).asubmit("x")
        states = []
        async for record in job.updates():
            states.append(record.state)
            if record.state is State.QUEUED:
                await app.arun(lambda s: settle(s, Outcome.COMPLETED, b"1"))
        assert states[0] is State.QUEUED
        assert states[-1] is State.COMPLETED

    async def test_an_unknown_id_is_told_from_a_waiting_job(self, app: Stoker) -> None:
        with pytest.raises(JobNotFound, match="no job has the id 'nobody'"):
            await app.aget("nobody")


class TestBlocking:
    def test_blocking_verbs_work_without_any_loop(self) -> None:
        app = make_app()
        take = app.task("take")(_take)
        job = take.submit("x")
        assert job.state is State.QUEUED
        assert app.get(job.id).id == job.id
        assert [r.id for r in app.find()] == [job.id]
        app.run(app.arun(lambda s: settle(s, Outcome.COMPLETED, b'"X"')))
        assert job.result(timeout=5) == "X"
        app.close()

    def test_threads_share_one_store(self) -> None:
        app = make_app()
        take = app.task("take")(_take)
        threads = [
            threading.Thread(target=lambda: [take.submit("x") for _ in range(20)]) for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(app.find(limit=1000)) == 100
        app.close()

    async def test_a_blocking_verb_on_the_apps_own_loop_is_refused(self, app: Stoker) -> None:
        with pytest.raises(UsageError, match="asubmit"):
            app.task("take")(_take).submit("x")

    async def test_async_code_may_use_an_app_that_blocking_code_opened(self) -> None:
        app = make_app()
        take = app.task("take")(_take)
        first = await asyncio.to_thread(take.submit, "x")
        second = await take.asubmit("y")
        assert {r.id for r in await app.afind()} == {first.id, second.id}
        await asyncio.to_thread(app.close)

    def test_a_store_that_cannot_be_opened_says_so(self) -> None:
        app = Stoker(settings=Settings(store="mysql://x"))
        with pytest.raises(InvalidConfig, match="sqlite://"):
            app.task("take")(_take).submit("x")
        app.close()


class TestSchedules:
    async def test_declared_schedules_are_put_once_and_keep_their_pause(self, app: Stoker) -> None:
        take = app.task("take")(_take)
        app.schedule("nightly", "0 3 * * *", take.call("report"), timezone="Europe/Berlin")
        assert await app.sync_schedules() == ["nightly"]
        assert await app.sync_schedules() == []
        [info] = await app.arun(lambda s: s.schedules())
        assert info.spec.job.task == "take"
        paused = _paused(info.spec)
        await app.arun(lambda s: s.put_schedules([paused]))
        app.schedule("nightly", "0 4 * * *", take.call("report"), timezone="Europe/Berlin")
        assert await app.sync_schedules() == ["nightly"]
        [info] = await app.arun(lambda s: s.schedules())
        assert (info.spec.cron, info.spec.paused) == ("0 4 * * *", True)

    async def test_a_changed_payload_keeps_the_planned_moment(self, app: Stoker) -> None:
        take = app.task("take")(_take)
        app.schedule("often", "every 30s", take.call("a"))
        await app.sync_schedules()
        [before] = await app.arun(lambda s: s.schedules())
        missed = msgspec.structs.replace(before.spec, next_at=1000.0)
        await app.arun(lambda s: s.put_schedules([missed]))
        app.schedule("often", "every 30s", take.call("b"))
        assert await app.sync_schedules() == ["often"]
        [after] = await app.arun(lambda s: s.schedules())
        assert (after.spec.next_at, after.spec.job.payload) == (1000.0, b'{"text":"b"}')
        app.schedule("often", "every 40s", take.call("b"))
        await app.sync_schedules()
        [moved] = await app.arun(lambda s: s.schedules())
        assert moved.spec.next_at != 1000.0


class TestStandardTasks:
    def test_standard_tasks_are_known_unless_switched_off(self) -> None:
        assert make_app().find_task("compress") is not None
        assert make_app().find_task("process_video") is not None
        assert make_app(tasks=TaskSettings(standard=False)).find_task("compress") is None


def _take(text: str) -> str:
    return text


def _paused(spec: ScheduleSpec) -> ScheduleSpec:
    return msgspec.structs.replace(spec, paused=True)
