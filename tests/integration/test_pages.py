"""The pages' code, run as a reader would: files written, commands typed, programs executed.

In a page's order, in one empty folder: a block with a ``title`` is a file; a console block is what
one types after each ``$``, with ``&`` for what stays up; any other Python block is a program of its
own. Lines below a command are its output; ``...`` stands for any number of lines.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from stoker.settings import load

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    "README.md",
    "docs/tutorial.md",
    *(
        f"docs/guides/{n}.md"
        for n in (
            "brokers",
            "deployment",
            "effects",
            "fleets",
            "monitoring",
            "postgresql",
            "remote-workers",
            "retries-and-dead-letters",
            "schedules",
            "several-hosts",
            "timeouts-and-isolation",
            "transactions",
            "workflows",
        )
    ),
]
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
ELSEWHERE = {"docs/guides/c-plugins.md", "docs/guides/c-worker.md"}
"""Run by tests/workers_c, which build what they need."""
SHOWN = {"docs/guides/coming-from.md", "docs/guides/dashboard.md"}
"""Tables and pictures; tests/browser drives what the pictures show."""
NOT_HERE = ("make ", "git ")
"""Commands for a clone of the repository; the gate runs those."""
DEADLINE = 110.0
BIN = Path(sys.executable).parent


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES)
def test_the_code_on_the_page_runs(page: str, tmp_path: Path) -> None:
    blocks = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    assert blocks, "the page has no code"
    with ExitStack() as staying:
        for language, title, code in blocks:
            if title:
                (tmp_path / title).write_text(code, encoding="utf-8")
            elif language == "console":
                _type(code, tmp_path, staying)
            elif language == "python":
                _run([sys.executable, "-W", "error", "-c", code], tmp_path)


@pytest.mark.parametrize("page", [*PAGES, "docs/reference/settings.md"])
def test_every_configuration_on_the_page_can_be_loaded(page: str, tmp_path: Path) -> None:
    for number, (language, _, code) in enumerate(BLOCK.findall((ROOT / page).read_text())):
        if language == "toml":
            file = tmp_path / f"{number}.toml"
            file.write_text(code, encoding="utf-8")
            assert load(file, env={}).origins


def test_every_guide_is_run() -> None:
    guides = {f"docs/guides/{file.name}" for file in (ROOT / "docs" / "guides").glob("*.md")}
    assert guides - set(PAGES) == {*SHOWN, *ELSEWHERE}


def _type(block: str, folder: Path, staying: ExitStack) -> None:
    for command, expected in _commands(block):
        if command.startswith(NOT_HERE):
            continue
        if command.endswith(" &"):
            staying.enter_context(_kept_up(command.removesuffix(" &"), folder))
        else:
            shown = _run(_bash(command), folder)
            assert re.fullmatch(_pattern(expected), shown), f"$ {command}\n{shown}"


def _commands(block: str) -> Iterator[tuple[str, list[str]]]:
    command: str | None = None
    output: list[str] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            if command is not None:
                yield command, output
            command, output = line[2:].strip(), []
        else:
            output.append(line)
    if command is not None:
        yield command, output


def _pattern(expected: list[str]) -> str:
    lines = ["(?:.*\n)*?" if line == "..." else f"{re.escape(line)}\n" for line in expected]
    return "".join(lines) if expected else r"(?s:.*)"


def _bash(command: str) -> list[str]:
    prelude = f'export PATH="{BIN}:$PATH" NO_COLOR=1 COLUMNS=200; unset ${{!STOKER_@}}; '
    return ["bash", "-c", prelude + command]


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def _kept_up(command: str, folder: Path) -> Iterator[None]:
    with (folder / "background.log").open("ab") as log:
        process = subprocess.Popen(
            _bash(f"exec {command}"), cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(DEADLINE)
            finally:
                process.kill()
    assert process.returncode == 0, (folder / "background.log").read_text(encoding="utf-8")
