"""What the demo plays.

Each act submits something, steps in where a person would, and says in which state it must end.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stoker.app.job import Job
from stoker.app.stoker import Stoker
from stoker.core.errors import StokerError
from stoker.core.job import JobRecord
from stoker.core.lifecycle import TERMINAL, State
from stoker.core.records import JobQuery
from stoker.demo import tasks
from stoker.demo.inputs import Inputs

SCHEDULE = "demo-every-second"


@dataclass
class Act:
    """One line of the demo's table.

    Attributes:
        title: What a person sees.
        play: Does it and returns the job that shows the outcome.
        expect: The state in which that job must be at the end.
        record: The job as it was last seen.
        remark: What else is worth saying.
        failure: Why the act went wrong, if it did.
    """

    title: str
    play: Callable[["Act"], Awaitable[None]]
    expect: State = State.COMPLETED
    record: JobRecord | None = None
    remark: str = ""
    failure: str = ""
    done: bool = field(default=False)

    @property
    def is_right(self) -> bool:
        """Whether the act ended as it must."""
        return (
            self.done
            and not self.failure
            and self.record is not None
            and self.record.state is self.expect
        )

    async def run(self) -> None:
        """Play the act; what goes wrong is kept for the table."""
        try:
            await self.play(self)
        except (StokerError, TimeoutError) as error:
            self.failure = str(error)
        self.done = True

    async def watch(self, job: Job[Any], *, until: Callable[[JobRecord], bool]) -> JobRecord:
        """Follow a job until a condition holds or it has ended."""
        async for record in job.updates():
            self.record = record
            if until(record):
                return record
        assert self.record is not None  # noqa: S101 - updates() yields at least once
        return self.record


def _ended(record: JobRecord) -> bool:
    return record.state in TERMINAL


class Scenario:
    """All acts of the demo on one app."""

    def __init__(self, app: Stoker, inputs: Inputs, *, web_url: str, out: Path) -> None:
        """Prepare the acts; nothing is submitted yet.

        Args:
            app: Where jobs go.
            inputs: Real files to work on.
            web_url: A page of the local web server.
            out: Folder for results.
        """
        self._app = app
        self._inputs = inputs
        self._web_url = web_url
        self._out = out

    def acts(self) -> list[Act]:
        """Return the acts in the order of the table."""
        return [
            *self._standard(),
            Act("fails once, retried, then completed", self._flaky),
            Act("dead letter, mended, replayed", self._invoice),
            Act("cancelled while it runs", self._cancel, expect=State.CANCELLED),
            Act("fired by cron, every second", self._cron),
            Act("workflow of five jobs", self._workflow),
        ]

    def _standard(self) -> list[Act]:
        out, given = self._out, self._inputs
        picture, text = str(given.picture), str(given.text)
        packed, sealed = str(out / "text.gz"), str(out / "text.sealed")
        plain: list[tuple[str, dict[str, Any]]] = [
            (
                "image.process",
                {
                    "file": picture,
                    "operation": "thumbnail",
                    "width": 160,
                    "output": str(out / "thumbnail.png"),
                },
            ),
            ("image.blur", {"file": picture, "radius": 8, "output": str(out / "blurred.png")}),
            ("image.resize", {"file": picture, "width": 320, "output": str(out / "small.png")}),
            ("analysis.batch", {"file": str(given.table)}),
            ("csv.statistics", {"file": str(given.table)}),
            ("checksum", {"file": str(given.table)}),
            (
                "send_email",
                {
                    "to": "reader@example.com",
                    "subject": "Stoker's demo",
                    "body": "This went through a real SMTP dialogue.",
                },
            ),
            ("scrape_website", {"url": self._web_url, "selector": "h1"}),
            (
                "video.process",
                {
                    "file": str(given.video),
                    "height": 180,
                    "output_format": "webm",
                    "output": str(out / "movie.webm"),
                },
            ),
        ]
        return [
            *(Act(name, self._submitting(name, payload)) for name, payload in plain),
            Act("compress, then decompress", self._pair(
                "compress", {"file": text, "output": packed},
                "decompress", {"file": packed, "output": str(out / "text.again")})),
            Act("encrypt, then decrypt", self._pair(
                "encrypt", {"file": text, "output": sealed},
                "decrypt", {"file": sealed, "output": str(out / "text.opened")})),
        ]  # fmt: skip

    def _submitting(self, name: str, payload: dict[str, Any]) -> Callable[[Act], Awaitable[None]]:
        async def play(act: Act) -> None:
            job = await self._app.asubmit(name, payload)
            await act.watch(job, until=_ended)

        return play

    def _pair(
        self, first: str, first_payload: dict[str, Any], second: str, second_payload: dict[str, Any]
    ) -> Callable[[Act], Awaitable[None]]:
        async def play(act: Act) -> None:
            flow = self._app.workflow(f"{first}-{second}")
            one = flow.add(await self._app.acall(first, first_payload))
            two = flow.add(await self._app.acall(second, second_payload), after=[one])
            run = await flow.asubmit()
            await act.watch(run.jobs[two.name], until=_ended)
            same = await asyncio.to_thread(
                _same, Path(first_payload["file"]), Path(second_payload["output"])
            )
            act.remark = "came back unchanged" if same else ""
            act.failure = "" if same else "what came back differs from what went in"

        return play

    async def _flaky(self, act: Act) -> None:
        record = await act.watch(await tasks.flaky.asubmit("Berlin"), until=_ended)
        act.remark = f"{record.failed} failure, then attempt {record.attempt}"
        act.failure = "" if record.failed == 1 else "it did not fail once"

    async def _invoice(self, act: Act) -> None:
        rates = self._out / "rates.csv"
        job = await tasks.invoice.asubmit(str(rates))
        dead = await act.watch(job, until=_ended)
        if dead.state is not State.DEAD_LETTER:
            act.failure = "it did not become a dead letter"
            return
        rates.write_text("EUR,1\nUSD,1.1\n", encoding="utf-8")
        await job.aretry()
        record = await act.watch(job, until=_ended)
        act.remark = f"dead after {dead.attempt} attempts, replayed, {len(record.attempts)} on file"

    async def _cancel(self, act: Act) -> None:
        job = await tasks.patient.asubmit(60.0)
        running = await act.watch(job, until=lambda r: r.state is State.RUNNING or _ended(r))
        answer = await job.acancel("the demo changed its mind")
        await act.watch(job, until=_ended)
        act.remark = f"was {running.state}, answer {answer}"
        act.failure = "" if answer == "requested" else f"the answer to cancel was {answer}"

    async def _cron(self, act: Act) -> None:
        self._app.schedule(SCHEDULE, "* * * * * *", tasks.tick.call("tick"))
        await self._app.sync_schedules()
        found = await self._first_of(JobQuery(schedule=SCHEDULE))
        job = await self._app.aget(found.id)
        await self._app.arun(lambda s: s.put_schedules(remove=[SCHEDULE], actor="demo"))
        await act.watch(job, until=_ended)

    async def _first_of(self, query: JobQuery) -> JobRecord:
        async with asyncio.timeout(30):
            while not (found := await self._app.afind(query)):
                await self._app.arun(lambda store: store.wait(["default"], timeout=0.2))
        return found[-1]

    async def _workflow(self, act: Act) -> None:
        flow = self._app.workflow("demo-report")
        inputs = self._inputs
        files = [inputs.text, inputs.table, inputs.page]
        counted = [flow.add(tasks.count_words.call(str(file))) for file in files]
        total = flow.add(tasks.add_up.call([node.output for node in counted]))
        page = flow.add(tasks.report.call(total.output, str(self._out / "report.txt")))
        run = await flow.asubmit()
        await act.watch(run.jobs[page.name], until=_ended)
        info = await run.ainfo()
        act.remark = f"{info.total} jobs, {info.counts.get(State.COMPLETED, 0)} completed"
        act.failure = "" if info.state == "completed" else f"the workflow is {info.state}"


def _same(one: Path, two: Path) -> bool:
    return one.read_bytes() == two.read_bytes()
