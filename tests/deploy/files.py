"""What the files of a deployment say: their commands, their variables, their documents."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml

from stoker.cli.main import cli

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
SCRIPTS = sorted(
    file
    for folder in ("compose", "rabbitmq")
    for file in (DEPLOY / folder).iterdir()
    if file.read_text("utf-8").startswith("#!/bin/sh")
)

Words = tuple[str, ...]


def documents(file: Path) -> list[dict[str, Any]]:
    """Return the documents of a YAML file."""
    return [found for found in yaml.safe_load_all(file.read_text("utf-8")) if found]


def parse(words: Words) -> str:
    """Parse a command line with the real commands; return the path of the command.

    Raises:
        click.UsageError: It would be refused.
    """
    context = cli.make_context(words[0], list(words[1:]))
    while isinstance(context.command, click.Group):
        rest = [*context._protected_args, *context.args]
        if not rest:
            break
        name, command, rest = context.command.resolve_command(context, rest)
        if name is None or command is None:
            raise click.UsageError(f"no command {words}")
        context = command.make_context(name, rest, parent=context)
    return context.command_path


def commands() -> Iterator[tuple[str, Words]]:
    """Yield each command line of Stoker in the files, with where it is."""
    for file in (COMPOSE, *MANIFESTS):
        for document in documents(file):
            yield from ((file.name, words) for words in _lists(document))
    for text in re.findall(
        r"^.*?(?:CMD|ENTRYPOINT) (\[.*\])$", DOCKERFILE.read_text(), re.MULTILINE
    ):
        yield from (("Dockerfile", words) for words in _lists(json.loads(text)))
    for unit in UNITS:
        for line in re.findall(r"^ExecStart=(.*)$", unit.read_text("utf-8"), re.MULTILINE):
            program, *words = shlex.split(line)
            yield unit.name, (Path(program).name, *words)
    for script in SCRIPTS:
        for line in re.findall(r"\brun (stoker [^|)\n]*)", script.read_text("utf-8")):
            yield script.name, tuple(shlex.split(line.replace('"$job"', "ID")))


def _lists(value: Any) -> Iterator[Words]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _lists(inner)
    elif isinstance(value, list):
        if value and value[0] == "stoker":
            yield tuple(str(word) for word in value)
        else:
            for inner in value:
                yield from _lists(inner)


def variables() -> Iterator[tuple[str, str, str | None]]:
    """Yield the variables that the files set: where, name, and value if it is written there."""
    for file in (COMPOSE, *MANIFESTS):
        for document in documents(file):
            yield from ((file.name, *pair) for pair in _settings(document))
    for name, value in re.findall(r"\b(STOKER_\w+)=(\S*)", DOCKERFILE.read_text("utf-8")):
        yield "Dockerfile", name, value
    for unit in UNITS:
        for line in re.findall(r"^Environment=(.*)$", unit.read_text("utf-8"), re.MULTILINE):
            for word in shlex.split(line):
                name, _, value = word.partition("=")
                yield unit.name, name, value


def _settings(value: Any) -> Iterator[tuple[str, str | None]]:
    if isinstance(value, list):
        for inner in value:
            yield from _settings(inner)
    elif isinstance(value, dict):
        if str(value.get("name", "")).startswith("STOKER_"):
            yield value["name"], value.get("value")
        for key, inner in value.items():
            if str(key).startswith("STOKER_") and isinstance(inner, str):
                yield key, None if "${" in inner else inner
            else:
                yield from _settings(inner)
