"""``stoker send``: submit a job from a shell."""

from typing import TYPE_CHECKING, Any

import click

from stoker.cli.exits import DONE, FAILED
from stoker.cli.payload import read_payload, warn_of_texts
from stoker.cli.shell import Shell, common, json_option
from stoker.core.errors import StokerError
from stoker.core.job import JobRecord
from stoker.core.lifecycle import State

if TYPE_CHECKING:
    from stoker.app.job import Job
    from stoker.app.stoker import Stoker
    from stoker.core.store import Store


@click.command()
@click.argument("task")
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE | KEY:=JSON | @FILE.json | -]...")
@click.option("--priority", metavar="high|medium|low", help="Lane inside the queue.")
@click.option("--queue", "-q", help="Another queue than the task's own.")
@click.option("--in", "delay", metavar="DURATION", help="Due in: 30s, 10m, 1h30m.")
@click.option("--at", "run_at", metavar="WHEN", help="Due at: ISO 8601 with an offset.")
@click.option("--max-retries", type=int, metavar="N", help="Attempts after the first.")
@click.option("--timeout", metavar="DURATION", help="Hard limit of one attempt.")
@click.option("--expires", metavar="DURATION", help="Do not start it after that long.")
@click.option("--unique", "unique_key", metavar="KEY", help="One live job per key and task.")
@click.option("--tenant", help="On whose behalf.")
@click.option("--wait", is_flag=True, help="Wait for the end; print the result.")
@click.option("--timeout-wait", metavar="DURATION", help="How long to wait (with --wait).")
@json_option
@common()
def send(
    shell: Shell,
    *,
    task: str,
    arguments: tuple[str, ...],
    wait: bool,
    timeout_wait: str | None,
    **options: Any,
) -> int:
    """Submit a job.

    Prints its id; with --wait its result, once it has ended, and ends with 1 when it failed.
    TASK is a name that "stoker tasks" lists. A value is text, turned into a number where the
    task wants one; KEY:=JSON takes any JSON.

    \b
        stoker send video.process file=movie.mp4 height=720 --priority high --wait
        stoker send report '@report.json' --in 10m
    """  # noqa: D301 - \b keeps click from wrapping
    from stoker.app.running import know_jobs

    payload = read_payload(arguments, limit=shell.settings.limits.payload)
    problem = know_jobs(shell.app)
    if problem is not None:
        shell.out.warn(problem.message)

    async def work(app: "Stoker", _: "Store") -> int:
        call = await app.acall(task, payload, from_text=True, **options)
        warn_of_texts(shell.out, call, arguments)
        job = await app.asubmit_call(call)
        if not job.created:
            shell.out.note(f"a live job has that unique key already: {job.id}")
        if wait:
            return await _wait(shell, job, timeout_wait)
        if shell.out.as_json:
            shell.out.document((await job.arecord()).to_dict())
        else:
            shell.out.line(job.id)
        return DONE

    return shell.run(work)


async def _wait(shell: Shell, job: "Job[Any]", timeout: str | None) -> int:
    from stoker.cli.follow import follow

    try:
        record = await follow(job, shell.out, timeout=timeout)
    except BaseException as error:
        if not isinstance(error, StokerError):
            shell.out.note(f"the job goes on: stoker jobs show {job.id}")
        raise
    return finish(shell, record)


def finish(shell: Shell, record: JobRecord) -> int:
    """Print how a job ended, and return the exit code for that."""
    if shell.out.as_json:
        shell.out.document(record.to_dict())
        return DONE if record.state is State.COMPLETED else FAILED
    if record.state is State.COMPLETED:
        shell.out.text(_result(record))
        return DONE
    error = record.error
    shell.out.note(f"job {record.id} is {record.state}: {error or 'no error was recorded'}")
    if error is not None and error.traceback:
        shell.out.trace(error.traceback)
    return FAILED


def _result(record: JobRecord) -> str:
    from stoker.cli.text import to_json

    return to_json(record.result, indent=2)
