"""Tables in a pipe: plain, whole, without colours."""

import io

import pytest
from rich.console import Console

from stoker.cli.output import Output, counted, plain_table, rich_table

LONG_ID = "0190f3c4-aaaa-7bbb-8ccc-ddddeeeeffff"


def test_columns_are_padded_and_empty_cells_are_dashes() -> None:
    text = plain_table(("id", "state"), [[LONG_ID, "queued"], ["x", ""]])
    assert text.splitlines() == [
        f"{'ID':<36}  STATE",
        f"{LONG_ID}  queued",
        f"{'x':<36}  -",
    ]


def test_a_pipe_gets_no_colours_and_no_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = Output()
    out.table(("task", "state"), [("evil\x1b[31m\n", "completed")])
    out.line("\x1b[2J", style="red")
    out.pairs([("state", "running"), ("none", None)])
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert printed.splitlines() == [
        f"{'TASK':<14}  STATE",
        "evil\\x1b[31m\\n  completed",
        "\\x1b[2J",
        "state  running",
    ]


def test_no_rows_print_nothing_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(("id",), [])
    assert capsys.readouterr().out == ""


def test_a_narrow_terminal_shows_every_character_of_an_id() -> None:
    console = Console(file=io.StringIO(), width=30, force_terminal=False)
    console.print(rich_table(("id", "task"), [[LONG_ID, "a.long.name.of.a.task"]]))
    assert isinstance(console.file, io.StringIO)
    shown = "".join(console.file.getvalue().split())
    assert "…" not in shown


def test_markup_in_data_is_not_obeyed() -> None:
    console = Output().console()
    with console.capture() as capture:
        console.print(rich_table(("task",), [["[bold]x[/bold]"]]))
    assert "[bold]x[/bold]" in capture.get()


def test_counts_read_as_one_line() -> None:
    assert counted({"queued": 1200, "running": 0, "failed": 1}) == "1,200 queued, 1 failed"
    assert counted({}) == "none"
