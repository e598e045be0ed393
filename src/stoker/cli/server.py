"""``stoker server``: the HTTP API by itself."""

import asyncio
import logging
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stoker.cli import interpreter
from stoker.cli.shell import Shell, common
from stoker.core.errors import MissingExtra
from stoker.settings import masked

if TYPE_CHECKING:
    from stoker.app.stoker import Stoker
    from stoker.core.store import Store
    from stoker.server.run import Listener

F = TypeVar("F", bound=Callable[..., Any])

logger = logging.getLogger("stoker.cli.server")


def address_options(fn: F) -> F:
    """Give a command ``--host``, ``--port``, ``--gateway-...`` and ``--insecure``."""
    fn = click.option(
        "--insecure",
        is_flag=True,
        help="Listen for other machines without TLS, and let everybody in while there is no key.",
    )(fn)
    fn = click.option(
        "--gateway-port", type=int, metavar="N", help="Take remote workers there (8001, say)."
    )(fn)
    fn = click.option(
        "--gateway-host", metavar="NAME", help="Where to take them (default: 127.0.0.1)."
    )(fn)
    fn = click.option("--key", metavar="FILE", help="Private key of the certificate (PEM).")(fn)
    fn = click.option(
        "--certificate", metavar="FILE", help="Speak TLS with this certificate chain (PEM)."
    )(fn)
    fn = click.option("--port", type=int, metavar="N", help="0 for any free one (default: 8000).")(
        fn
    )
    return click.option("--host", metavar="NAME", help="Where to listen (default: 127.0.0.1).")(fn)


@click.command()
@address_options
@click.option("--keeper/--no-keeper", default=True, show_default=True, help="Keep house too.")
@common()
def server(
    shell: Shell,
    *,
    host: str | None,
    port: int | None,
    certificate: str | None,
    key: str | None,
    gateway_host: str | None,
    gateway_port: int | None,
    insecure: bool,
    keeper: bool,
) -> None:
    """Serve the HTTP API.

    SIGTERM or Ctrl-C ends it; open requests may go on for a few seconds.
    """
    from stoker.cli.logs import set_up_logging
    from stoker.cli.loop import run_loop

    shell.override(
        server__host=host,
        server__port=port,
        server__certificate=certificate,
        server__key=key,
        gateway__host=gateway_host,
        gateway__port=gateway_port,
    )
    set_up_logging(shell.settings.log)
    run_loop(_run(shell, insecure=insecure, keeper=keeper))


def listen(shell: Shell, *, insecure: bool) -> "Listener":
    """Bind the address of the settings, before anything else is started.

    Raises:
        PortInUse, InvalidOption: It cannot be bound, or must not be.
        InvalidConfig: Its certificate cannot be used.
        MissingExtra: The libraries of the server are not installed.
    """
    settings = shell.settings.server
    run = running()
    listener: Listener = run.listen(
        settings.host,
        settings.port,
        insecure=insecure,
        secured=run.tls_of(settings) is not None,
    )
    return listener


def listen_gateway(shell: Shell, *, insecure: bool) -> "Listener | None":
    """Bind the gateway's address of the settings, if they have one.

    Raises:
        PortInUse, InvalidOption, InvalidConfig: It cannot be bound, or must not be.
        MissingExtra: The libraries of the server are not installed.
    """
    bound: Listener | None = running().listen_gateway(shell.settings.gateway, insecure=insecure)
    return bound


def running() -> ModuleType:
    """Import the server.

    Raises:
        MissingExtra: Its libraries are not installed.
    """
    try:
        from stoker.server import run
    except ImportError as error:
        raise MissingExtra(
            f"the HTTP server needs libraries that are not installed ({error.name}): "
            "pip install 'stoker[server]'"
        ) from error
    return run


async def _run(shell: Shell, *, insecure: bool, keeper: bool) -> None:
    from stoker.app.running import build_keeper, keeping
    from stoker.cli.keeper import default_name
    from stoker.cli.loop import on_stop

    app = shell.app
    listener = listen(shell, insecure=insecure)
    gateway = listen_gateway(shell, insecure=insecure)
    stop = asyncio.Event()

    async def work(store: "Store") -> None:
        keeps = build_keeper(app, store, name=default_name()) if keeper else None
        async with keeping(keeps):
            await running().serve(
                app,
                insecure=insecure,
                listener=listener,
                gateway=gateway,
                stop=stop,
                started=_announce(app, gateway),
            )

    with on_stop(stop.set), interpreter.serving():
        async with app:
            await app.arun(work)
    logger.info("server ended")


def _announce(app: "Stoker", gateway: "Listener | None") -> "Callable[[Listener], None]":
    from stoker.cli.loop import ready

    def announce(listener: "Listener") -> None:
        logger.info("server listens on %s, store %s", listener.url, masked(app.settings.store))
        ready()
        interpreter.spare()
        if gateway is not None:
            logger.info("remote workers come in at %s", gateway.url)

    return announce
