"""The same payload through both twins: the task in Python, and the plugin of the C worker.

The C side runs in the real `stoker-worker-c --try`, built with AddressSanitizer and
UndefinedBehaviorSanitizer: whatever they find ends the program, and the test with it.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoker.core import codec
from stoker.core.task import Registry
from stoker.settings import Secret, TaskSettings
from stoker.tasks import register
from tests.workers_c.program import FOLDER, build, environment

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
SANITIZED = FOLDER / "build" / "asan"
PATIENCE = 100.0
FOUND = 99
"""What a sanitizer exits with that found something."""


@dataclass(frozen=True)
class Answer:
    """A result, or the type of an error and what it said."""

    result: Any = None
    error: str | None = None
    message: str = ""


@dataclass(frozen=True)
class Twins:
    """Both sides, in one folder."""

    folder: Path

    def both(self, task: str, **payload: Any) -> Answer:
        """Run the payload on both sides and return the answer, which must be the same."""
        data = json.dumps(payload).encode()
        ours, theirs = self.python(task, data), self.c(task, data)
        assert (theirs.error, theirs.result) == (ours.error, ours.result), (ours, theirs)
        return theirs

    def refused(self, task: str, error: str, **payload: Any) -> None:
        """Run the payload on both sides, which must refuse it with that error."""
        answer = self.both(task, **payload)
        assert answer.error == error, answer

    def python(self, task: str, payload: bytes) -> Answer:
        """Run it as a Python worker does."""
        known = Registry()
        register(known, TaskSettings(files=str(self.folder), encryption_key=Secret(KEY)))
        chosen = known.get(task)
        try:
            args, kwargs = chosen.arguments(chosen.check(payload))
            return Answer(json.loads(codec.encode(chosen.fn(*args, **kwargs))))
        except Exception as error:  # noqa: BLE001 - what a worker would record
            return Answer(error=type(error).__name__, message=str(error))

    def c(self, task: str, payload: bytes) -> Answer:
        """Run it as the C worker does."""
        folder = str(self.folder)
        ran = run_c(task, payload, STOKER_TASKS__FILES=folder, STOKER_TASKS__ENCRYPTION_KEY=KEY)
        if ran.returncode == 0:
            return Answer(json.loads(ran.stdout))
        assert ran.returncode == 1, ran.stderr.decode()[-5000:]
        error = json.loads(ran.stderr.splitlines()[-1])["error"]
        return Answer(error=error["type"], message=error["message"])

    @property
    def names(self) -> set[str]:
        """What is in the folder."""
        return {file.name for file in self.folder.iterdir()}


def run_c(task: str, payload: bytes, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Try a task in the C worker, with these variables and no other of ours."""
    build("plugins-asan")
    return subprocess.run(
        [SANITIZED / "stoker-worker-c", "--plugin", _plugin_of(task), "--try", task],
        input=payload,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
        env=environment(
            ASAN_OPTIONS=f"exitcode={FOUND}", UBSAN_OPTIONS=f"exitcode={FOUND}", **variables
        ),
    )


def _plugin_of(task: str) -> Path:
    names = {
        "checksum": "checksum",
        "compress": "compression",
        "decompress": "compression",
        "encrypt": "encryption",
        "decrypt": "encryption",
        "csv.statistics": "csv_statistics",
    }
    return SANITIZED / "plugins" / f"{names.get(task, 'image_filters')}.so"
