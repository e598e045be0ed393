"""``stoker config``: the configuration in force, and where each value came from."""

import json
from collections.abc import Iterator
from typing import Any

import click

from stoker.cli.shell import Shell, common, json_option
from stoker.settings import Secret, Section, Settings, masked


@click.group()
def config() -> None:
    """Show the configuration in force."""


@config.command()
@click.option("--origin", is_flag=True, help="Also where each value came from.")
@json_option
@common()
def show(shell: Shell, *, origin: bool) -> None:
    """Show every key with its value; secrets are masked."""
    origins = shell.loaded.origins
    rows = list(flat(shell.settings))
    given = dict(flat(shell.loaded.settings))
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
        shown = "" if value is None else json.dumps(value, ensure_ascii=False)
        text = f"{key} = {shown}".rstrip()
        shell.out.line(f"{text:<50}  # {where[key]}" if origin else text)


def flat(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Yield every key of the configuration with a value that may be shown."""
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, Section):
            for inner in value.__struct_fields__:
                yield f"{name}.{inner}", _shown(getattr(value, inner))
        else:
            yield name, _shown(value)


def _shown(value: Any) -> Any:
    if isinstance(value, Secret):
        return str(value)
    if isinstance(value, str):
        return masked(value) if "://" in value else value
    if isinstance(value, float):
        return int(value) if value.is_integer() else float(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, dict):
        return {key: _shown(inner) for key, inner in value.items()}
    if isinstance(value, Section):
        return {name: _shown(getattr(value, name)) for name in value.__struct_fields__}
    return list(value) if isinstance(value, tuple) else value
