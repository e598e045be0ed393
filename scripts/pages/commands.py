"""The page ``docs/reference/cli.md``: every command with its arguments and options."""

import inspect
from collections.abc import Iterator

import click

from scripts.pages.source import NOTICE, table
from stoker.cli.exits import MEANINGS
from stoker.cli.lazy import LazyGroup
from stoker.cli.main import cli

_COMMON = {"common_store", "common_broker", "common_app", "common_jobs", "common_config"}
_INTRO = """# Command line

Every command that needs a store or tasks takes `--store URL`, `--broker URL`, `--app MODULE:APP`,
`--jobs DIR` and `--config FILE`, before or after its name; they are left out below. What they leave
open comes from `STOKER_*` variables, then from the configuration file, then from the defaults (see
[settings](settings.md)). Reads take `--json` and print one JSON document.

On a terminal there are tables, colours and progress bars; in a pipe plain text, nothing cut.
Answers go to stdout, everything else to stderr. With `--json` errors are JSON too:
`{"error": {"code", "message", "details"}}`.

"""


def page() -> str:
    """Return the page."""
    parts = [NOTICE.format(source="src/stoker/cli/"), _INTRO, "## Exit codes\n\n"]
    parts.append(table(("code", "meaning"), [(str(c), text) for c, text in MEANINGS.items()]))
    parts.append(
        "\n`stoker status` ends with 0 (fine), 1 (needs attention) or 2 (the store is down).\n"
    )
    root = click.Context(cli, info_name="stoker")
    if not isinstance(cli, LazyGroup):
        raise TypeError("the root command is a lazy group")
    for heading, entries in cli.sections.items():
        parts.append(f"\n## {heading}\n")
        for name in entries:
            parts += _command(cli.get_command(root, name), root, name)
    return "".join(parts)


def _command(command: click.Command | None, parent: click.Context, name: str) -> Iterator[str]:
    if command is None:
        raise LookupError(name)
    context = click.Context(command, info_name=name, parent=parent)
    is_pure_group = isinstance(command, click.Group) and not command.invoke_without_command
    if not is_pure_group:
        yield f"\n### `{context.command_path}`\n\n"
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"```text\n{context.command_path} {usage}\n```\n\n"
        yield f"{_help(command)}\n"
        yield from _options(command, context)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from _command(command.get_command(context, inner), context, inner)


def _help(command: click.Command) -> str:
    text = inspect.cleandoc(command.help or "")
    before, mark, example = text.partition("\b\n")
    if not mark:
        return text
    return f"{before}```text\n{inspect.cleandoc(example)}\n```"


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    rows = [
        (f"`{record[0]}`", " ".join(record[1].split()))
        for parameter in command.params
        if isinstance(parameter, click.Option)
        and parameter.name not in _COMMON
        and (record := parameter.get_help_record(context)) is not None
    ]
    if rows:
        yield "\n"
        yield table(("option", "meaning"), rows)
