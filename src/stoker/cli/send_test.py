"""``stoker send-test``: quick jobs of the standard tasks, to see that a system works."""

import base64
import gzip
from typing import TYPE_CHECKING, Any

import click

from stoker.cli.exits import DONE, FAILED
from stoker.cli.shell import Shell, common, json_option
from stoker.cli.text import length
from stoker.core.duration import seconds
from stoker.core.errors import InvalidOption, ResultTimeout
from stoker.core.job import JobRecord
from stoker.core.lifecycle import State

if TYPE_CHECKING:
    from stoker.app.job import Job
    from stoker.app.stoker import Stoker
    from stoker.core.store import Store
    from stoker.settings import Settings

_TEXT = b"Stoker keeps the fire going. " * 50
_TABLE = "city,people\nBerlin,3700000\nRome,2800000\n"


@click.command("send-test")
@click.argument("names", nargs=-1, metavar="[TASK]...")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the results.")
@click.option("--timeout-wait", default="60s", show_default=True, help="How long to wait.")
@json_option
@common()
def send_test(shell: Shell, *, names: tuple[str, ...], wait: bool, timeout_wait: str) -> int:
    """Submit quick jobs to try the system.

    One job each of trial, compress, decompress, checksum, analysis.batch, csv.statistics,
    send_email (into the outbox, if no SMTP server is set) and encrypt (if there is a key). TASK
    chooses among those, and video.process, which encodes a second of a test picture.
    """
    payloads = test_payloads(shell.settings)
    unknown = [name for name in names if name not in payloads]
    if unknown:
        raise InvalidOption(
            f"there is no test job for {unknown[0]!r}; there is one for {', '.join(payloads)}"
        )
    chosen = names or tuple(name for name in payloads if name != "video.process")
    limit = seconds(timeout_wait, name="--timeout-wait")

    async def work(app: "Stoker", _: "Store") -> list[JobRecord]:
        calls = [await app.acall(name, payloads[name]) for name in chosen]
        jobs = await app.asubmit_many(calls)
        if not wait:
            return [await job.arecord() for job in jobs]
        return await _ends(app, jobs, limit)

    found = shell.run(work)
    if shell.out.as_json:
        shell.out.document({"jobs": found})
    else:
        rows = ((job.id, job.task, job.state, _took(job), job.error or "") for job in found)
        shell.out.table(("id", "task", "state", "took", "error"), rows)
    well = all(job.state is State.COMPLETED for job in found) or not wait
    return DONE if well else FAILED


def test_payloads(settings: "Settings") -> dict[str, dict[str, Any]]:
    """Return a payload for each task that can be tried without a network or a file."""
    text = base64.b64encode(_TEXT).decode()
    packed = base64.b64encode(gzip.compress(_TEXT, mtime=0)).decode()
    payloads: dict[str, dict[str, Any]] = {
        "trial": {"message": "hello", "seconds": 0.1},
        "compress": {"data": text},
        "decompress": {"data": packed},
        "checksum": {"data": text},
        "analysis.batch": {"data": _TABLE},
        "csv.statistics": {"data": _TABLE},
        "video.process": {"duration": 1, "height": 144},
    }
    if settings.tasks.smtp is None:
        payloads["send_email"] = {
            "to": "someone@example.com",
            "subject": "A test of Stoker",
            "body": "This message was written by stoker send-test.",
        }
    if settings.tasks.encryption_key is not None:
        payloads["encrypt"] = {"data": text}
    return payloads


async def _ends(app: "Stoker", jobs: "list[Job[Any]]", limit: float) -> list[JobRecord]:
    deadline = app.clock.monotonic() + limit
    found: list[JobRecord] = []
    for job in jobs:
        try:
            found.append(await job.await_end(max(0.0, deadline - app.clock.monotonic())))
        except ResultTimeout as error:
            raise ResultTimeout(
                f"{error.message}. Is a worker running? stoker explain {job.id}", id=job.id
            ) from None
    return found


def _took(job: JobRecord) -> str:
    if job.finished_at is None:
        return ""
    return length((job.finished_at - job.submitted_at).total_seconds())
