"""A command line with a store that lasts from one command to the next."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from stoker.app.stoker import Stoker
from stoker.cli.main import cli
from stoker.core.fleets import FleetKind, FleetReport, FleetWorker, FleetWorkerState
from stoker.core.job import ErrorInfo, Leased, Outcome, SessionSpec, Settlement
from stoker.core.store import Store


class Line:
    """Runs commands in a folder of their own, on one SQLite file."""

    def __init__(self, folder: Path) -> None:
        """Use a folder."""
        self.folder = folder
        self.store = f"sqlite:///{folder / 'stoker.db'}"

    def __call__(self, *words: str, code: int | None = 0, stdin: str | None = None) -> Result:
        """Run a command and check its exit code; None takes any."""
        result = CliRunner().invoke(cli, list(words), input=stdin)
        if code is not None:
            assert result.exit_code == code, f"{words}: {result.exit_code}\n{result.output}"
        return result

    def lines(self, *words: str, code: int | None = 0) -> list[str]:
        """Run a command and return the lines of its answer."""
        return self(*words, code=code).stdout.splitlines()

    def json(self, *words: str, code: int | None = 0) -> Any:
        """Run a command with --json and return its answer."""
        return json.loads(self(*words, "--json", code=code).stdout)

    def error(self, *words: str, code: int) -> dict[str, Any]:
        """Run a command with --json that fails, and return its error."""
        error: dict[str, Any] = json.loads(self(*words, "--json", code=code).stderr)["error"]
        return error

    def fleet(self, *kinds: str) -> None:
        """Be a fleet named ``mill`` on a host named ``mars``; its first kind cannot run."""
        report = FleetReport(
            kinds=tuple(
                FleetKind(
                    name=name,
                    program="python",
                    concurrency=4,
                    min=1,
                    max=3,
                    start_within=5.0,
                    wanted=2,
                    ready=1,
                    is_failing=name == kinds[0],
                )
                for name in kinds
            ),
            workers=(
                FleetWorker(
                    name=f"mill-{kinds[0]}-1",
                    kind=kinds[0],
                    state=FleetWorkerState.BACKING_OFF,
                    quick_deaths=4,
                    last_exit="ended with exit code 3",
                ),
            ),
        )

        async def work(store: Store) -> None:
            spec = SessionSpec(
                id="00000000-0000-7000-8000-00000000000f",
                name="fleet:mill",
                host="mars",
                kind="fleet",
                concurrency=0,
                details=msgspec.to_builtins(report),
            )
            await store.beat(spec, [], ttl=60)

        asyncio.run(self._in_store(work))

    def announce(self, *tasks: str) -> None:
        """Be a worker that knows tasks which nobody here knows."""
        spec = SessionSpec(id="00000000-0000-7000-8000-000000000002", name="w2", tasks=tasks)
        asyncio.run(self._in_store(lambda store: store.beat(spec, [], ttl=60)))

    def lease(self, number: int = 1) -> list[Leased]:
        """Be a worker named ``w1`` that takes jobs and keeps them."""

        async def work(store: Store) -> list[Leased]:
            spec = SessionSpec(
                id="00000000-0000-7000-8000-000000000001", name="w1", queues=("default",)
            )
            await store.beat(spec, [], ttl=60)
            queues = {queue.name: number for queue in await store.queues()}
            taken = await store.exchange(
                spec.id, [], queues=queues, want=number, nonce=Stoker().clock.new_nonce()
            )
            return taken.leased

        return asyncio.run(self._in_store(work))

    def end(self, jobs: list[Leased], outcome: Outcome, **more: Any) -> None:
        """End jobs as that worker."""
        told = [
            Settlement(id=j.id, epoch=j.epoch, nonce=j.nonce, outcome=outcome, **more) for j in jobs
        ]

        async def work(store: Store) -> None:
            await store.exchange(
                "00000000-0000-7000-8000-000000000001",
                told,
                queues={},
                want=0,
                nonce=Stoker().clock.new_nonce(),
            )

        asyncio.run(self._in_store(work))

    def bury(self, number: int = 1, *, message: str = "no such host") -> list[str]:
        """Submit jobs and let them die; return their ids."""
        ids = [self("send", "send_email", "to=a@example.com").stdout.strip() for _ in range(number)]
        error = ErrorInfo(code="task_error", type="OSError", message=message, traceback="Trace\n")
        self.end(self.lease(number), Outcome.FAILED, error=error, ran_for=0.5)
        return ids

    async def _in_store(self, work: Any) -> Any:
        async with Stoker(self.store) as app:
            return await app.arun(work)


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.chdir(tmp_path)
    found = Line(tmp_path)
    monkeypatch.setenv("STOKER_STORE", found.store)
    return found
