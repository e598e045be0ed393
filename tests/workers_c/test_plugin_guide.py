"""The guide to plugins, typed as a reader would: its plugin compiled, its workflow run."""

import asyncio
import os
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from stoker.testing import wait_until
from tests.integration.test_pages import BLOCK
from tests.servers.server import free_port
from tests.workers_c.program import ROOT, build, environment

GUIDE = ROOT / "docs" / "guides" / "c-plugins.md"
PATIENCE = 60.0

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The root of a clone, with the files of the guide in it."""
    build("programs")
    build("plugins")
    (tmp_path / "workers").symlink_to(ROOT / "workers")
    for _, title, code in BLOCK.findall(GUIDE.read_text()):
        if title:
            (tmp_path / title).write_text(code)
    return tmp_path


def commands(language: str, *having: str) -> tuple[list[str], list[str]]:
    """Return the commands, and the other lines, of the one block that has these words."""
    [block] = [
        code
        for kind, _, code in BLOCK.findall(GUIDE.read_text())
        if kind == language and all(word in code for word in having)
    ]
    lines = block.splitlines()
    typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return typed, [line for line in lines if not line.startswith("$ ")]


def test_the_plugin_of_the_guide_compiles_and_runs(folder: Path) -> None:
    typed, shown = commands("console", "--try")
    assert len((folder / "lines.c").read_text().splitlines()) <= 35
    said = [
        subprocess.run(
            ["bash", "-c", command],  # noqa: S607 - as a reader types it
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
            env=environment(),
        )
        for command in typed
    ]
    assert said[0].stderr == ""
    assert said[-1].stdout.splitlines() == shown


def _words(command: str, ports: dict[str, int]) -> list[str]:
    """Return a command of the guide, on free ports and with this Python."""
    words = shlex.split(command.replace("8001", str(ports["gateway"])))
    if words[0] == "stoker":
        words[:1] = [sys.executable, "-m", "stoker"]
    if words[0] == "python":
        words[0] = sys.executable
    return words + (["--port", str(ports["http"])] if "server" in words else [])


@asynccontextmanager
async def _running(words: list[str], folder: Path, name: str) -> AsyncIterator[None]:
    log = folder / f"{name}.log"
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *words, cwd=folder, stdout=sink, stderr=sink, env=environment()
        )
    try:
        yield
        process.terminate()
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0, log.read_text()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize("is_mixed", [True, False], ids=["in-c", "in-python"])
async def test_the_workflow_of_the_guide_runs_on_python_and_c(
    folder: Path, *, is_mixed: bool
) -> None:
    """And once more with the C worker's queue moved to a worker in Python: the answer stays."""
    ports = {"gateway": free_port(), "http": free_port()}
    [server, worker, native, submit], [answer] = commands("text", "submit.py")
    (folder / "stoker.toml").write_text(f'store = "tcp://127.0.0.1:{ports["gateway"]}"\n')
    if not is_mixed:
        native = worker.replace("--queue default", "--queue native")
    async with AsyncExitStack() as up:
        await up.enter_async_context(_running(_words(server, ports), folder, "server"))
        await wait_until(lambda: _accepts(ports["gateway"]), "it serves", timeout=PATIENCE)
        await up.enter_async_context(_running(_words(worker, ports), folder, "worker"))
        await up.enter_async_context(_running(_words(native, ports), folder, "native"))
        ended = await asyncio.create_subprocess_exec(
            *_words(submit, ports),
            cwd=folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment(PYTHONPATH=os.pathsep.join(sys.path)),
        )
        async with asyncio.timeout(PATIENCE):
            said, _ = await ended.communicate()
    assert said.decode().splitlines() == [answer]
    made = {"album.ppm", "album-blurred.ppm", "album-blurred-resized.ppm", "album-blurred.ppm.gz"}
    assert made <= set(os.listdir(folder))  # noqa: PTH208 - a path's own way is for threads


def test_the_table_of_the_guide_names_every_plugin_and_task() -> None:
    rows = re.findall(r"^\| `(\w+)\.so` \| (.*?) \|", GUIDE.read_text(), re.MULTILINE)
    sources = {file.stem: file.read_text() for file in (ROOT / "workers/c/plugins").glob("*.c")}
    assert {name for name, _ in rows} == set(sources)
    for name, tasks in rows:
        assert set(re.findall(r'\.name = "([\w.]+)"', sources[name])) == set(
            re.findall(r"`([\w.]+)`", tasks)
        )
