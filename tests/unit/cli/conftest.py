"""A command line with a store that lasts from one command to the next."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stoker.cli.main import cli


class Line:
    """Runs commands in a folder of their own, on one SQLite file."""

    def __init__(self, folder: Path) -> None:
        """Use a folder."""
        self.folder = folder
        self.store = f"sqlite:///{folder / 'stoker.db'}"

    def __call__(self, *words: str, code: int | None = 0, stdin: str | None = None) -> Result:
        """Run a command and check its exit code; None takes any."""
        result = CliRunner().invoke(cli, list(words), input=stdin)
        if code is not None:
            assert result.exit_code == code, f"{words}: {result.exit_code}\n{result.output}"
        return result

    def lines(self, *words: str, code: int | None = 0) -> list[str]:
        """Run a command and return the lines of its answer."""
        return self(*words, code=code).stdout.splitlines()

    def json(self, *words: str, code: int | None = 0) -> Any:
        """Run a command with --json and return its answer."""
        return json.loads(self(*words, "--json", code=code).stdout)

    def error(self, *words: str, code: int) -> dict[str, Any]:
        """Run a command with --json that fails, and return its error."""
        error: dict[str, Any] = json.loads(self(*words, "--json", code=code).stderr)["error"]
        return error


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.chdir(tmp_path)
    found = Line(tmp_path)
    monkeypatch.setenv("STOKER_STORE", found.store)
    return found


