"""Groups of commands that are imported when they are called.

A group knows the name and the one-line help of each command by heart; the module behind it is
imported only when the command runs or shows its own help. A test compares the two helps.
"""

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

import click

Entry = tuple[str, str]
"""``"module:attribute"`` and the first line of the command's help."""


class LazyGroup(click.Group):
    """A group whose commands live in modules that are not imported yet.

    Attributes:
        sections: Heading to the commands below it, each by its name.
    """

    def __init__(
        self, *args: Any, sections: Mapping[str, Mapping[str, Entry]] | None = None, **kwargs: Any
    ) -> None:
        """Make a group.

        Args:
            *args: As `click.Group`.
            sections: Heading to name to entry, in the order of the help.
            **kwargs: As `click.Group`.
        """
        super().__init__(*args, **kwargs)
        self.sections = sections or {}
        self._entries = {n: e for part in self.sections.values() for n, e in part.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        return [*self._entries, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        entry = self._entries.get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = entry[0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest ones."""
        name = args[0]
        if name.startswith("-") or name in self.list_commands(ctx):
            return super().resolve_command(ctx, args)
        near = difflib.get_close_matches(name, self.list_commands(ctx), n=3)
        hint = " or ".join(repr(n) for n in near)
        said = f"did you mean {hint}?" if near else "--help lists them"
        raise click.UsageError(f"there is no command {name[:80]!r}; {said}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands section by section, without importing them."""
        if not self._entries:
            super().format_commands(ctx, formatter)
            return
        for heading, entries in self.sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name, text) for name, (_, text) in entries.items()])
