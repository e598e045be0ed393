"""What the prose names exists: files, anchors, make targets, commands, options, settings."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click

from stoker.cli.main import cli
from stoker.settings import PREFIX, Section, Settings
from tests.repo.tree import ROOT, pages, text, tree, where

LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
SYMBOL = re.compile(r"\[`([\w.]+)`\]\(([\w./]+\.py)\)")
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
PATHS = re.compile(r"(?:src|docs|tests|scripts|benchmarks|examples|\.ci)/[\w./*-]*[\w*/]")
VARIABLE = re.compile(rf"\b{PREFIX}[A-Z_]+\b")
NOT_SETTINGS = {
    "STOKER_CONFIG",
    "STOKER_TEST_REQUIRE",
    "STOKER_TASKS__ENCRYPTION_KEY_FILE",  # of the C worker's plugin
}
SHELLS = {"console", "bash", "sh", "shell"}


def test_every_link_leads_somewhere() -> None:
    dead = [
        f"{where(page)}: {target}"
        for page in pages()
        for target in LINK.findall(text(page))
        if not target.startswith(("http://", "https://", "mailto:")) and not _leads(page, target)
    ]
    assert dead == []


def test_no_code_in_a_sentence_is_broken_over_two_lines() -> None:
    """Such code would escape the tests below."""
    broken = [
        f"{where(page)}: {line}"
        for page in pages()
        for line in FENCE.sub("", text(page)).splitlines()
        if line.count("`") % 2
    ]
    assert broken == []


def test_every_path_named_in_the_prose_exists() -> None:
    missing = [
        f"{where(page)}: {path}"
        for page in pages()
        for code in INLINE.findall(text(page))
        for path in PATHS.findall(code)
        if not _exists(path)
    ]
    assert missing == []


def test_every_function_that_a_page_links_to_is_in_that_file() -> None:
    missing = [
        f"{where(page)}: {name} in {target}"
        for page in pages()
        for name, target in SYMBOL.findall(text(page))
        if not _defines(page.parent / target, name.split("."))
    ]
    assert missing == []


def test_every_make_target_named_in_the_prose_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text(ROOT / "Makefile"), flags=re.MULTILINE))
    named = [
        (where(page), word)
        for page in pages()
        for words in _commands(page)
        if words[0] == "make"
        for word in words[1:]
        if "=" not in word and not word.startswith("-")
    ]
    assert ("README.md", "demo") in named
    assert [f"{place}: make {word}" for place, word in named if word not in targets] == []


def test_every_stoker_command_named_in_the_prose_exists() -> None:
    named = [(where(page), words) for page in pages() for words in _stoker_commands(page)]
    assert len(named) >= 20, "the commands in the pages were not found"
    wrong = [
        f"{place}: {' '.join(words)}: {why}" for place, words in named if (why := _wrong(words))
    ]
    assert wrong == []


def test_every_variable_named_in_the_prose_is_a_setting() -> None:
    in_c = VARIABLE.findall(text(ROOT / "workers" / "c" / "include" / "stoker_worker.h"))
    known = set(_variables()) | NOT_SETTINGS | set(in_c)
    unknown = [
        f"{where(page)}: {name}"
        for page in pages()
        for name in VARIABLE.findall(text(page))
        if name.rstrip("_") not in known and name not in {PREFIX, f"{PREFIX}SECTION__KEY"}
    ]
    assert unknown == []


def test_every_decision_record_has_the_same_four_parts() -> None:
    parts = ("## Context", "## Choice", "## Price", "## What would change our mind")
    records = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert len(records) >= 7
    assert [where(r) for r in records if not all(part in text(r) for part in parts)] == []
    numbers = [int(record.name[:4]) for record in records]
    assert numbers == list(range(1, len(records) + 1))


def _leads(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.exists():
        return False
    if anchor and file.suffix == ".md":
        return anchor in _anchors(file)
    return True


def _defines(file: Path, names: list[str]) -> bool:
    if names[-1] == "py":
        return file.is_file()
    body: list[ast.stmt] = tree(file.resolve()).body
    for name in names:
        found = [node for node in body if getattr(node, "name", None) == name]
        if not found:
            return False
        body = getattr(found[0], "body", [])
    return True


@cache
def _anchors(file: Path) -> set[str]:
    prose = FENCE.sub("", text(file))
    headings = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)"', prose))


def _exists(path: str) -> bool:
    return any(ROOT.glob(path)) if "*" in path else (ROOT / path).exists()


def _commands(page: Path) -> Iterator[list[str]]:
    """Yield the commands of a page: those in shell blocks, and those in backticks."""
    source = text(page)
    for language, block in FENCE.findall(source):
        if language in SHELLS:
            yield from _shell_lines(language, block)
    for code in INLINE.findall(FENCE.sub("", source)):
        if code.startswith(("make ", "stoker ")):
            yield _split(code)


def _shell_lines(language: str, block: str) -> Iterator[list[str]]:
    for line in block.replace("\\\n", " ").splitlines():
        shown = line.removeprefix("$ ")
        if (language != "console" or line.startswith("$ ")) and shown.split():
            for part in re.split(r"&&|\|\||[|;]", shown):
                if words := _split(part):
                    yield words


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line.partition(" #")[0])
    except ValueError:
        return line.split()


def _stoker_commands(page: Path) -> Iterator[list[str]]:
    for words in _commands(page):
        while words and "=" in words[0]:
            words = words[1:]  # noqa: PLW2901 - variables before the command
        if words and words[-1] == "&":
            words = words[:-1]  # noqa: PLW2901 - the shell's own word
        if words and words[0] == "stoker" and len(words) > 1:
            yield words


def _wrong(words: list[str]) -> str | None:
    """Say why a command would not be understood, or None."""
    context = click.Context(cli, info_name="stoker")
    options = _options(cli)
    rest = iter(words[1:])
    for word in rest:
        name, given, _ = word.partition("=")
        if word.startswith("-"):
            if name not in options:
                return f"no option {name}"
            if not (given or options[name]):
                next(rest, None)
        elif isinstance(context.command, click.Group):
            command = context.command.get_command(context, word)
            if command is None:
                return f"no command {word}"
            context = click.Context(command, parent=context, info_name=word)
            options |= _options(command)
    return None


def _options(command: click.Command) -> dict[str, bool]:
    """Return the names of a command's options, and whether each is a flag."""
    found = {"--help": True}
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            is_flag = parameter.is_flag or parameter.count
            names = [*parameter.opts, *parameter.secondary_opts]
            found |= dict.fromkeys(names, bool(is_flag))
    return found


def _variables() -> Iterator[str]:
    for name in Settings.__struct_fields__:
        section = getattr(Settings(), name)
        if isinstance(section, Section):
            yield from (f"{PREFIX}{name}__{key}".upper() for key in section.__struct_fields__)
        else:
            yield f"{PREFIX}{name}".upper()
