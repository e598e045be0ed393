"""``stoker worker``: one worker process in the foreground."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stoker.cli.exits import DONE
from stoker.cli.shell import Shell, common
from stoker.core.errors import InvalidOption
from stoker.core.task import check_name
from stoker.settings import masked

if TYPE_CHECKING:
    from stoker.worker.worker import Worker

F = TypeVar("F", bound=Callable[..., Any])

logger = logging.getLogger("stoker.cli.worker")


def load_options(fn: F) -> F:
    """Give a command the options that say what one worker does: ``--queue --concurrency``."""
    fn = click.option(
        "--concurrency", "-c", type=int, metavar="N", help="Jobs at once per worker."
    )(fn)
    return click.option(
        "--queue",
        "-q",
        "queues",
        multiple=True,
        metavar="QUEUE[:N]",
        help="Only this queue, at most N of its jobs at once per worker; repeatable.",
    )(fn)


@click.command()
@load_options
@click.option("--name", metavar="NAME", help="For people; host and process id if not given.")
@click.option("--keeper/--no-keeper", default=None, help="Whether it stands for election.")
@common()
def worker(
    shell: Shell,
    *,
    queues: tuple[str, ...],
    concurrency: int | None,
    name: str | None,
    keeper: bool | None,
) -> int:
    """Run one worker process.

    SIGTERM or Ctrl-C drains it: what runs may end, what waits is given back. The second one
    interrupts what runs and gives that back too.
    """
    from stoker.app.running import run_worker
    from stoker.cli.logs import set_up_logging
    from stoker.cli.loop import run_loop
    from stoker.worker.worker import ExitReason, recycle_exec

    shell.override(
        worker__queues=read_queues(queues) or None,
        worker__concurrency=concurrency,
        worker__name=None if name is None else check_name(name, what="worker's name"),
        worker__keeper=keeper,
    )
    set_up_logging(shell.settings.log)
    reason = run_loop(run_worker(shell.app, on_start=lambda worker: _announce(shell, worker)))
    if reason is ExitReason.RECYCLE:
        logger.warning("a thread hangs in a job that was given up; this process is replaced")
        recycle_exec()
    return DONE


def read_queues(words: tuple[str, ...]) -> dict[str, int]:
    """Read ``queue`` and ``queue:n`` as queue to the most of its jobs at once.

    Raises:
        InvalidOption: Not a queue, or no number behind the colon.
    """
    found: dict[str, int] = {}
    for word in words:
        name, colon, number = word.rpartition(":")
        if not colon:
            name, number = word, "0"
        if not number.isdecimal():
            raise InvalidOption(f"--queue is {word!r}; expected QUEUE or QUEUE:N, such as mail:5")
        found[check_name(name, what="queue")] = int(number)
    return found


def _announce(shell: Shell, worker: "Worker") -> None:
    from stoker.cli.loop import ready

    settings = shell.settings
    ready()
    logger.info(
        "worker %s starts: %d jobs at once from %s, store %s",
        worker.name,
        settings.worker.concurrency,
        ", ".join(settings.worker.queues) or "all queues",
        masked(settings.store),
    )
