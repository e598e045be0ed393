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
    from rich.console import Console
    from rich.table import Table

Row = Sequence[object]

GAP = 2
"""Blanks between two columns."""
FOLDED = 24
"""Width that the last column of a table can live with."""


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
        self,
        columns: Sequence[str],
        rows: Iterable[Row],
        *,
        empty: str = "nothing found",
        spare: Sequence[str] = (),
    ) -> None:
        """Print rows below headings; states are coloured.

        In a pipe the columns are padded with blanks, nothing is cut, and nothing is printed for
        no rows, so that ``wc -l`` and ``cut`` work.

        Args:
            columns: The headings.
            rows: A value for each of them.
            empty: What a terminal says when there are no rows.
            spare: Columns that a narrow terminal goes without, the first one first.
        """
        cells = [[clean("" if cell is None else cell) for cell in row] for row in rows]
        if not cells:
            if self.is_terminal:
                click.secho(empty, dim=True)
        elif self.is_terminal:
            console = self.console()
            kept, fitting = fit(columns, cells, width=console.width, spare=spare)
            console.print(rich_table(kept, fitting))
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

    def console(self, *, stderr: bool = False) -> "Console":
        """Return a rich console that neither reads markup nor guesses at what it prints."""
        from rich.console import Console

        return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def rich_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> "Table":
    """Make a table for a terminal. Cells are folded at its edge, never cut; ids stay whole."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name in {"id", "state", "verdict"})
    for row in cells:
        table.add_row(*(Text(cell, style=STATE_COLOURS.get(cell, "")) for cell in row))
    return table


def fit(
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    *,
    width: int,
    spare: Sequence[str],
) -> tuple[list[str], list[list[str]]]:
    """Leave columns out until a table fits; the last one may be folded to `FOLDED`."""
    kept = list(range(len(columns)))
    widths = [max(len(columns[i]), *(len(row[i]) for row in cells)) for i in kept]
    widths[-1] = min(widths[-1], FOLDED)
    for name in spare:
        if sum(widths[i] + GAP for i in kept) - GAP <= width:
            break
        kept.remove(columns.index(name))
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in cells]


def plain_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Lay rows out in columns padded with at least two blanks; an empty cell is a ``-``."""
    rows = [[name.upper() for name in columns], *([c or "-" for c in row] for row in cells)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    return "\n".join(
        (" " * GAP).join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def counted(counts: Mapping[str, int]) -> str:
    """Return counts as one line: ``3 queued, 1 running``."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "none"
