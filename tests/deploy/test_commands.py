"""Every command and every variable in the files of a deployment means something to Stoker."""

import subprocess
import sys
from pathlib import Path

import pytest

from stoker.settings import load
from tests.deploy.files import DEPLOY, SCRIPTS, commands, parse, variables

COMMANDS = sorted(set(commands()))
VARIABLES = sorted(set(variables()), key=str)
NOT_SETTINGS = {"STOKER_CONFIG"}


def test_the_commands_and_variables_are_found() -> None:
    assert {place for place, _ in COMMANDS} >= {
        "docker-compose.yml",
        "Dockerfile",
        "server.yaml",
        "worker.yaml",
        "stoker-fleet.service",
        "try-it",
    }
    assert {name for _, name, _ in VARIABLES} >= {"STOKER_STORE", "STOKER_WORKER__DRAIN"}


@pytest.mark.parametrize(("place", "words"), COMMANDS, ids=str)
def test_each_command_is_understood(place: str, words: tuple[str, ...]) -> None:
    assert parse(words).startswith("stoker ")


@pytest.mark.parametrize(("place", "name", "value"), VARIABLES)
def test_each_variable_is_a_setting_with_a_value_that_it_takes(
    place: str, name: str, value: str | None, tmp_path: Path
) -> None:
    if name not in NOT_SETTINGS:
        given = "memory://" if value is None else value
        assert load(env={name: given}, folder=tmp_path).origins


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.name)
def test_each_script_is_one_that_shellcheck_likes(script: Path) -> None:
    words = [str(Path(sys.executable).with_name("shellcheck")), "--shell=sh", str(script)]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout
    assert script.stat().st_mode & 0o111


def test_no_file_holds_a_password() -> None:
    for file in DEPLOY.rglob("*"):
        if file.is_file():
            for line in file.read_text("utf-8").splitlines():
                before, found, after = line.partition("PASSWORD '")
                assert not found, f"{file}: {before}{found}{after}"
