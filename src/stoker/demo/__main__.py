"""The demo: real jobs through real worker processes on SQLite, in one command, without a network.

It starts ``stoker up`` as a user would, plays its acts against it, and checks that each ends in
the state it must. ``--no-wait`` then stops everything and exits with 0 or 1; otherwise the system
stays up for a look around until Ctrl-C.
"""

import argparse
import asyncio
import base64
import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live

from stoker.core.errors import StokerError
from stoker.core.fleets import workers_among
from stoker.core.job import SessionState
from stoker.core.store import Store
from stoker.demo.acts import Scenario
from stoker.demo.inputs import make_inputs
from stoker.demo.screen import lines, table
from stoker.demo.services import DemoServices
from stoker.demo.tasks import app
from stoker.settings import load

WORKERS = 2
READY_WITHIN = 60.0
ENDS_WITHIN = 150.0
PIPE_WIDTH = 130


def main() -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stoker.demo", description=__doc__)
    parser.add_argument("--no-wait", action="store_true", help="stop and exit when all acts ended")
    parser.add_argument("--folder", default="demo-out", help="where everything is kept")
    chosen = parser.parse_args()
    folder = Path(chosen.folder)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "results").mkdir(parents=True)
    try:
        return asyncio.run(_demo(folder, stay=not chosen.no_wait))
    except KeyboardInterrupt:
        return 0
    except StokerError as error:
        print(f"the demo failed: {error}", file=sys.stderr)
        return 1


async def _demo(folder: Path, *, stay: bool) -> int:
    # A pipe has no width of its own; a table that wraps its cells is hard to read in a log.
    console = Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)
    console.print("[bold]Stoker's demo[/]: making pictures, tables and texts to work on ...")
    inputs = await asyncio.to_thread(make_inputs, folder / "inputs")
    async with DemoServices() as services:
        port = _free_port(8000)
        config = _write_config(folder, smtp=services.smtp_url, port=port)
        app.configure(load(config).settings)
        async with _system(config, folder / "stoker.log", console, port=port), app:
            await app.arun(_wait_for_workers)
            right = await _play(
                Scenario(app, inputs, web_url=services.web_url, out=folder / "results"), console
            )
            console.print(f"e-mails that the local SMTP server took: {len(services.messages)}")
            if stay:
                await _stay(console, port)
    return 0 if right else 1


async def _play(scenario: Scenario, console: Console) -> bool:
    acts = scenario.acts()
    async with asyncio.timeout(ENDS_WITHIN):
        async with asyncio.TaskGroup() as group:
            for act in acts:
                group.create_task(act.run())
            if console.is_terminal:
                with Live(table(acts), console=console, refresh_per_second=8) as live:
                    while not all(act.done for act in acts):
                        await asyncio.sleep(0.1)
                        live.update(table(acts))
            else:
                async for line in lines(acts):
                    console.print(line, highlight=False)
    if not console.is_terminal:
        console.print(table(acts))
    wrong = [act for act in acts if not act.is_right]
    for act in wrong:
        console.print(f"[red]wrong[/]: {act.title}: {act.failure or 'unexpected end'}")
    console.print(f"{len(acts) - len(wrong)} of {len(acts)} acts ended as they must")
    return not wrong


@asynccontextmanager
async def _system(config: Path, log: Path, console: Console, *, port: int) -> AsyncIterator[None]:
    """Run ``stoker up`` as a process of its own, and stop it as Ctrl-C would."""
    command = ["-m", "stoker", "up", "--config", str(config), "--app", "stoker.demo.tasks:app"]
    command += ["--port", str(port), "--workers", str(WORKERS)]
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdout=output, stderr=output, start_new_session=True
        )
    console.print(
        f"started: stoker {' '.join(command[2:])}\n"
        f"its log is {log}; the dashboard: http://127.0.0.1:{port}/"
    )
    watch = asyncio.ensure_future(process.wait())  # noqa: TID251 - ends with the block below
    try:
        yield
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
        code = await watch
        console.print(f"stopped: stoker up ended with exit code {code}")


async def _wait_for_workers(store: Store) -> None:
    async with asyncio.timeout(READY_WITHIN):
        while True:
            found = workers_among(await store.sessions())
            alive = [s for s in found if s.state is SessionState.ALIVE]
            if len(alive) >= WORKERS:
                return
            await asyncio.sleep(0.05)


async def _stay(console: Console, port: int) -> None:
    console.print(
        f"\nEverything is still up; the dashboard: http://127.0.0.1:{port}/\n"
        "Try in another terminal:\n"
        f"  .venv/bin/stoker --help\n"
        f"  curl http://127.0.0.1:{port}/api/v1/stats\n"
        "Ctrl-C stops it all."
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def _write_config(folder: Path, *, smtp: str, port: int) -> Path:
    key = base64.b64encode(os.urandom(32)).decode()
    config = folder / "stoker.toml"
    config.touch(mode=0o600)
    config.write_text(
        f'store = "sqlite:///{folder}/demo.db"\n\n'
        f"[server]\nport = {port}\n\n"
        f'[tasks]\nsmtp = "{smtp}"\nencryption_key = "{key}"\nscrape_private = true\n',
        encoding="utf-8",
    )
    return config


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            number: int = probe.getsockname()[1]
            return number
    raise StokerError("no free port on 127.0.0.1")


if __name__ == "__main__":
    sys.exit(main())
