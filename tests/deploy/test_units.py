"""The units of systemd, as systemd itself reads them. No unit is started here."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stoker.settings import Settings
from tests.deploy.files import UNITS

EXPOSED = 20
"""Tenths of `systemd-analyze security` that a unit may have at most; 100 is the worst."""


def systemd_analyze(*words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        raise RuntimeError("there is no systemd-analyze; run scripts/install-servers")
    return subprocess.run([program, *words], capture_output=True, text=True, check=False)


@pytest.fixture(params=UNITS, ids=lambda file: file.name)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit that finds its program on this machine."""
    source: Path = request.param
    text = source.read_text("utf-8")
    here = text.replace("/srv/stoker/.venv/bin", str(Path(sys.executable).parent))
    assert here != text
    copy = tmp_path / source.name
    copy.write_text(here.replace("WorkingDirectory=/srv/stoker", "WorkingDirectory=/"), "utf-8")
    return copy


def test_systemd_understands_it(unit: Path) -> None:
    told = systemd_analyze("verify", "--man=no", str(unit))
    assert (told.returncode, told.stderr) == (0, "")


def test_it_is_hardened(unit: Path) -> None:
    words = ("security", "--offline=true", f"--threshold={EXPOSED}", "--no-pager", str(unit))
    told = systemd_analyze(*words)
    assert told.returncode == 0, told.stdout
    assert "NoNewPrivileges=yes" in unit.read_text("utf-8")


def test_it_has_time_to_drain_and_is_watched(unit: Path) -> None:
    reader = configparser.RawConfigParser(strict=False)
    reader.optionxform = str  # type: ignore[assignment,method-assign]
    reader.read(unit)
    service = reader["Service"]
    assert (service["Type"], service["Restart"]) == ("notify", "always")
    assert int(service["WatchdogSec"]) >= 10
    needed = Settings().worker.drain + 30 if "fleet" in unit.name else 15
    assert int(service["TimeoutStopSec"]) >= needed
    assert service["User"] == "stoker"
    assert not re.search(r"(?i)(password|secret|token)=\S", unit.read_text("utf-8"))
