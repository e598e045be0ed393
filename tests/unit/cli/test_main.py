"""The root command: lazy, in sections, with hints."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from stoker.cli.lazy import LazyGroup
from stoker.cli.main import cli


def _context() -> click.Context:
    return click.Context(cli, info_name="stoker")


def test_the_help_known_by_heart_is_that_of_each_command() -> None:
    assert isinstance(cli, LazyGroup)
    for entries in cli.sections.values():
        for name, (_, text) in entries.items():
            command = cli.get_command(_context(), name)
            assert command is not None, name
            assert command.name == name
            assert (command.help or "").split("\n", 1)[0].strip() == text


def test_help_lists_every_command_and_the_exit_codes() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    for name in cli.list_commands(_context()):
        assert f"\n  {name} " in result.output
    assert "Exit codes:" in result.output


@pytest.mark.parametrize(("wrong", "right"), [("strat", "status"), ("job", "jobs")])
def test_a_misspelled_command_names_the_nearest(wrong: str, right: str) -> None:
    result = CliRunner().invoke(cli, [wrong])
    assert result.exit_code == 2
    assert f"there is no command {wrong!r}; did you mean {right!r}" in result.stderr


def test_no_command_shows_the_help() -> None:
    result = CliRunner().invoke(cli, [], prog_name="stoker")
    assert result.exit_code == 2
    assert "Usage: stoker" in result.output


def test_help_imports_neither_the_commands_nor_heavy_libraries() -> None:
    code = (
        "import sys, stoker; before = set(sys.modules);"
        "from stoker.cli.main import cli; cli.main(['--help'], standalone_mode=False);"
        "heavy = {'rich', 'apsw', 'fastapi'};"
        "own = {m for m in sys.modules if m.startswith('stoker.')} - before;"
        "known = {'stoker.cli', 'stoker.cli.main', 'stoker.cli.lazy', 'stoker.cli.shell',"
        " 'stoker.cli.exits', 'stoker.cli.text', 'stoker.cli.output', 'stoker.core',"
        " 'stoker.core.errors'};"
        "print(*sorted(heavy & set(sys.modules) | own - known), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""


def test_an_unknown_option_is_a_usage_error_in_json_too() -> None:
    result = CliRunner().invoke(cli, ["jobs", "ls", "--nope", "--json"])
    assert result.exit_code == 2
    assert '"code":"usage"' in result.stderr
    assert "--nope" in result.stderr


def test_version_prints_the_version() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert result.exit_code == 0
    assert result.output.startswith("stoker 0.")


def test_every_group_takes_the_common_options() -> None:
    context = _context()
    commands = [cli, *(cli.get_command(context, name) for name in cli.list_commands(context))]
    groups = [command for command in commands if isinstance(command, click.Group)]
    assert len(groups) > 9
    for group in groups:
        taken = {option for parameter in group.params for option in parameter.opts}
        assert taken >= {"--store", "--broker", "--app", "--jobs", "--config"}, group.name


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_common_options_may_stand_before_the_name_of_a_command(
    place: int, tmp_path: Path
) -> None:
    words = ["queues", "ls"]
    words[place:place] = ["--store", f"sqlite:///{tmp_path}/here.db"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "here.db").exists()


def test_a_misspelled_command_of_a_group_names_the_nearest() -> None:
    result = CliRunner().invoke(cli, ["workers", "stp"])
    assert result.exit_code == 2
    assert "there is no command 'stp'; did you mean 'stop'" in result.stderr
