"""How commands talk: tables and colours for people, plain text in a pipe, JSON for programs.

Answers go to stdout, everything else to stderr, so that a pipe carries answers only. A value from
a store passes `clean` before it is printed.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from stoker.cli.text import STATE_COLOURS, clean, to_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

Row = Sequence[object]


class Output:
    """The voice of one command.

    Attributes:
        as_json: Whether the answer is one JSON document.
        is_terminal: Whether a person reads stdout.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        """Choose a voice.

        Args:
            as_json: Answer with one JSON document.
        """
        self.as_json = as_json
        self.is_terminal = sys.stdout.isatty()

    def document(self, value: Any) -> None:
        """Print one JSON document: records, dicts, lists."""
        click.echo(to_json(value, indent=2))

    def json_line(self, value: Any) -> None:
        """Print one JSON document on one line, for streams."""
        click.echo(to_json(value))

    def line(self, text: object = "", *, style: str | None = None) -> None:
        """Print one line of the answer."""
        click.echo(click.style(clean(text), fg=style) if style else clean(text))

    def text(self, text: str) -> None:
        """Print a text of several lines."""
        click.echo(clean(text, lines=True))

    def note(self, text: object) -> None:
        """Say something that is not the answer, on stderr; programs are not told."""
        if not self.as_json:
            click.echo(clean(text), err=True)

    def warn(self, text: object) -> None:
        """Say on stderr what deserves attention; programs get a line of JSON."""
        if self.as_json:
            click.echo(to_json({"warning": {"message": str(text)}}), err=True)
            return
        click.echo(f"{click.style('Warning:', fg='yellow', bold=True)} {clean(text)}", err=True)

    def trace(self, text: str) -> None:
        """Print a traceback on stderr."""
        click.echo(clean(text, lines=True).rstrip(), err=True)

    def table(
        self, columns: Sequence[str], rows: Iterable[Row], *, empty: str = "nothing found"
    ) -> None:
        """Print rows below headings; a column named ``state`` or ``verdict`` is coloured.

        In a pipe the columns are padded with blanks, nothing is cut, and nothing is printed for
        no rows, so that ``wc -l`` and ``cut`` work. On a terminal ``empty`` is said instead.
        """
        cells = [[clean("" if cell is None else cell) for cell in row] for row in rows]
        if not cells:
            if self.is_terminal:
                click.secho(empty, dim=True)
            return
        if self.is_terminal:
            self.show(rich_table(columns, cells))
        else:
            click.echo(plain_table(columns, cells))

    def pairs(self, pairs: Iterable[tuple[str, object]]) -> None:
        """Print names and values, one pair a line; empty ones are left out."""
        kept = [(name, value) for name, value in pairs if value not in (None, "")]
        width = max((len(name) for name, _ in kept), default=0)
        for name, value in kept:
            label = click.style(f"{name:<{width}}", dim=True)
            colour = STATE_COLOURS.get(str(value))
            shown = click.style(clean(value), fg=colour) if colour else clean(value)
            click.echo(f"{label}  {shown}")

    def heading(self, text: str) -> None:
        """Print a heading with a blank line before it."""
        click.echo()
        click.secho(clean(text), bold=True)

    def show(self, renderable: "RenderableType") -> None:
        """Print something of rich's."""
        self.console().print(renderable)

    def console(self, *, stderr: bool = False) -> "Console":
        """Return a rich console that neither reads markup nor guesses at what it prints."""
        from rich.console import Console

        return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def rich_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> "Table":
    """Make a table for a terminal. Ids are folded at its edge, never cut."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name in {"id", "state"})
    for row in cells:
        table.add_row(*(Text(cell, style=_style(cell)) for cell in row))
    return table


def plain_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Lay rows out in columns padded with at least two blanks; an empty cell is a ``-``."""
    rows = [[name.upper() for name in columns], *([c or "-" for c in row] for row in cells)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def counted(counts: Mapping[str, int]) -> str:
    """Return counts as one line: ``3 queued, 1 running``."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "none"


def _style(cell: str) -> str:
    return STATE_COLOURS.get(cell, "")
