"""One child: real processes, real signals."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence

import pytest

from stoker.fleet.identity import Identity
from stoker.fleet.process import Process, describe_exit
from stoker.testing import wait_until
from tests.unit.fleet.children import DIES, DRAINS, PARENT, STUBBORN, command


class Output:
    """Starts processes and collects what they say."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.lines: list[tuple[str, bytes]] = []
        self._tasks = tasks
        self._processes: list[Process] = []

    async def spawn(self, line: Sequence[str], *, name: str = "w-1") -> Process:
        process = await Process.spawn(name, line, capture=True)
        self._processes.append(process)
        self._tasks.create_task(process.forward(self.sink))
        return process

    def sink(self, name: str, line: bytes) -> None:
        self.lines.append((name, line))

    async def first_line(self) -> str:
        await wait_until(lambda: self.lines, "the child says something")
        return self.lines[0][1].decode()

    async def end(self) -> None:
        for process in self._processes:
            process.kill()
            await process.wait()


@pytest.fixture
async def output() -> AsyncIterator[Output]:
    async with asyncio.TaskGroup() as tasks:
        output = Output(tasks)
        yield output
        await output.end()


async def test_a_child_that_is_asked_to_drain_leaves_by_itself(output: Output) -> None:
    process = await output.spawn(command(DRAINS))
    await output.first_line()
    process.drain()
    assert await process.wait() == 0
    await wait_until(lambda: len(output.lines) == 2, "its last words")
    assert output.lines == [("w-1", b"ready"), ("w-1", b"leaving")]


async def test_a_stubborn_child_is_killed(output: Output) -> None:
    process = await output.spawn(command(STUBBORN))
    await output.first_line()
    process.drain()
    process.kill()
    assert await process.wait() == -signal.SIGKILL


async def test_the_pid_is_that_of_the_command(output: Output) -> None:
    process = await output.spawn(command("import os; print(os.getpid(), os.getpgid(0))"))
    assert await output.first_line() == f"{process.pid} {process.pid}"


async def test_what_a_dead_child_leaves_behind_is_killed(output: Output) -> None:
    process = await output.spawn(command(PARENT))
    grandchild = Identity.of(int(await output.first_line()))
    assert grandchild.is_alive()
    os.kill(process.pid, signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL
    assert await grandchild.ended(10)


async def test_a_command_that_does_not_exist_says_so(output: Output) -> None:
    process = await output.spawn(["/nowhere/stoker"])
    assert await process.wait() == 127
    assert await output.first_line() == "cannot run '/nowhere/stoker': No such file or directory"


async def test_signals_after_the_end_hit_nobody(output: Output) -> None:
    process = await output.spawn(command(DIES))
    assert await process.wait() == 3
    process.drain()
    process.kill()


async def test_lines_without_an_end_and_very_long_ones_come_through(output: Output) -> None:
    process = await output.spawn(command("print('x' * 200_000); print('end', end='')"))
    await process.wait()
    await wait_until(lambda: output.lines and output.lines[-1][1] == b"end", "the last word")
    assert sum(len(line) for _, line in output.lines) == 200_003


async def test_a_sink_that_breaks_ends_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_name: str, _line: bytes) -> None:
        raise BrokenPipeError("the terminal was closed")

    words = "print('a', flush=True); print('b' * 200_000, flush=True)"
    process = await Process.spawn("w-1", command(words), capture=True)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(process.forward(broken))
        assert await process.wait() == 0
    (line,) = caplog.records
    assert "the output of w-1 goes nowhere" in line.getMessage()


async def test_a_command_starts_with_the_usual_signal_handling(output: Output) -> None:
    program = (
        "import signal; print(signal.getsignal(signal.SIGXFSZ), signal.pthread_sigmask(0, []))"
    )
    await output.spawn([sys.executable, "-c", program])
    assert "set()" in await output.first_line()


async def test_the_environment_is_the_one_that_is_given() -> None:
    program = "import os, sys; sys.exit(len(os.environ.get('COLOUR', '')))"
    process = await Process.spawn("w-1", command(program), env={"COLOUR": "green"})
    assert await process.wait() == len("green")


SUPERVISOR = """
import asyncio, sys
from stoker.fleet.process import Process

async def main():
    process = await Process.spawn("w-1", sys.argv[1:])
    print(process.pid, flush=True)
    await process.wait()

asyncio.run(main())
"""


async def test_a_killed_supervisor_leaves_no_child_behind() -> None:
    supervisor = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SUPERVISOR, *command(DRAINS)), stdout=asyncio.subprocess.PIPE
    )
    assert supervisor.stdout is not None
    said = sorted([await supervisor.stdout.readline(), await supervisor.stdout.readline()])
    assert said[1] == b"ready\n"
    child = Identity.of(int(said[0]))
    assert child.is_alive()
    supervisor.kill()
    assert await child.ended(10)
    await supervisor.communicate()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "drained"),
        (3, "ended with exit code 3"),
        (127, "could not be started"),
        (-9, "was killed by SIGKILL"),
        (-15, "was killed by SIGTERM"),
        (-63, "was killed by signal 63"),
    ],
)
def test_exit_codes_are_said_in_words(code: int, words: str) -> None:
    assert describe_exit(code) == words
