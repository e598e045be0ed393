"""The page ``docs/reference/cli.md``: every command, its arguments and options."""

from collections.abc import Iterator

import click

from scripts.pages.source import NOTICE, first_line, table
from stoker.cli.exits import MEANINGS
from stoker.cli.main import cli

_INTRO = """# Command line

`stoker COMMAND --help` says the same in the terminal. Every command takes `--store`, `--broker`,
`--app`, `--jobs` and `--config`; what they leave open comes from the variables of the
environment, then from the configuration file ([settings](settings.md)). Every read takes `--json`.

"""
_COMMON = {"store", "broker", "app", "jobs", "config", "as_json"}


def page() -> str:
    """Return the page."""
    parts = [NOTICE.format(source="src/stoker/cli/"), _INTRO, "## Exit codes\n\n", _exits()]
    for context in _commands(click.Context(cli, info_name="stoker")):
        parts += [f"\n## `{context.command_path}`\n\n", _section(context)]
    return "".join(parts)


def _exits() -> str:
    return table(("code", "meaning"), ((f"`{code}`", text) for code, text in MEANINGS.items()))


def _commands(context: click.Context) -> Iterator[click.Context]:
    """Yield a context for each command that does something, depth first."""
    group = context.command
    if not isinstance(group, click.Group):
        yield context
        return
    if group.invoke_without_command:
        yield context
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            yield from _commands(click.Context(command, parent=context, info_name=name))


def _section(context: click.Context) -> str:
    command = context.command
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    text = f"{_prose(command.help)}\n\n```text\n{usage}\n```\n"
    rows = [row for p in command.params if (row := _option(p, context)) is not None]
    return f"{text}\n{table(('option', 'meaning'), rows)}" if rows else text


def _prose(text: str | None) -> str:
    paragraphs = (text or "").partition("\f")[0].split("\n\n")
    return "\n\n".join(first_line(p.replace("\b", "")) for p in paragraphs if p.strip())


def _option(parameter: click.Parameter, context: click.Context) -> tuple[str, str] | None:
    record = parameter.get_help_record(context)
    if record is None or not isinstance(parameter, click.Option) or parameter.name in _COMMON:
        return None
    names, meaning = record
    return f"`{names}`", " ".join(meaning.split())
