"""``stoker config``: the configuration in force, and where each value came from."""

import json
from typing import Any

import click

from stoker.cli.shell import Shell, common, group, json_option
from stoker.settings import shown


@group
def config() -> None:
    """Show the configuration in force."""


@config.command()
@click.option("--origin", is_flag=True, help="Also where each value came from.")
@json_option
@common()
def show(shell: Shell, *, origin: bool) -> None:
    """Show every key with its value; secrets are masked."""
    origins = shell.loaded.origins
    rows = list(shown(shell.settings))
    given = dict(shown(shell.loaded.settings))
    where = {
        key: origins.get(key, "default") if given.get(key) == value else f"app {shell.settings.app}"
        for key, value in rows
    }
    if shell.out.as_json:
        document: dict[str, Any] = {
            key: {"value": value, "origin": where[key]} if origin else value for key, value in rows
        }
        shell.out.document(document)
        return
    for key, value in rows:
        told = "" if value is None else json.dumps(value, ensure_ascii=False)
        text = f"{key} = {told}".rstrip()
        shell.out.line(f"{text:<50}  # {where[key]}" if origin else text)
