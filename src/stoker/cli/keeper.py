"""``stoker keeper``: a housekeeper by itself."""

import logging
from typing import TYPE_CHECKING

import click

from stoker.cli.shell import Shell, common
from stoker.core.task import check_name

if TYPE_CHECKING:
    from stoker.app.stoker import Stoker
    from stoker.core.store import Store

logger = logging.getLogger("stoker.cli.keeper")


@click.command()
@click.option("--name", metavar="NAME", help="For people; host and process id if not given.")
@common()
def keeper(shell: Shell, *, name: str | None) -> None:
    """Run a housekeeper without a worker.

    It takes back what dead workers held, fires schedules and purges what is old. Workers and
    servers bring their own; several do no harm, one of them is elected.
    """
    from stoker.cli.logs import set_up_logging
    from stoker.cli.loop import run_loop

    if name is not None:
        check_name(name, what="keeper's name")
    set_up_logging(shell.settings.log)
    run_loop(_run(shell.app, name or default_name()))


def default_name() -> str:
    """Return host and process id."""
    import os
    import platform

    return f"{platform.node() or 'keeper'}-{os.getpid()}"


async def _run(app: "Stoker", name: str) -> None:
    async with app:
        await app.sync_schedules()
        await app.arun(lambda store: _keep(app, store, name))


async def _keep(app: "Stoker", store: "Store", name: str) -> None:
    from stoker.app.running import build_keeper
    from stoker.cli.loop import on_stop, ready

    keeper = build_keeper(app, store, name=name)
    logger.info("keeper %s starts", name)
    with on_stop(keeper.stop):
        ready()
        await keeper.run()
    logger.info("keeper %s ended", name)
