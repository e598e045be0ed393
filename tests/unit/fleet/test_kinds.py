"""From ``[fleet.kinds.NAME]`` to what is started."""

from pathlib import Path

import pytest

from stoker.core.errors import InvalidConfig
from stoker.fleet.kinds import C_WORKER, Kind, kinds_of
from stoker.settings import Settings, load

PYTHON = ("python", "worker", "--name", "{name}")


def settings_of(folder: Path, text: str, **env: str) -> Settings:
    (folder / "stoker.toml").write_text(text)
    return load(env=env, folder=folder).settings


def read(folder: Path, text: str) -> dict[str, Kind]:
    return {kind.name: kind for kind in kinds_of(settings_of(folder, text), PYTHON)}


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A C worker that is there, as far as PATH says."""
    file = tmp_path / "bin" / C_WORKER
    file.parent.mkdir()
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", str(file.parent))
    return C_WORKER


def test_without_kinds_there_is_one_and_its_workers_get_no_new_words(tmp_path: Path) -> None:
    kinds = read(tmp_path, '[fleet]\nname = "w"\nmin = 1\nmax = 5\n[worker]\nqueues = ["a"]\n')
    [kind] = kinds.values()
    assert (kind.name, kind.prefix, kind.is_named) == ("default", "w", False)
    assert (kind.command, kind.queues, kind.slots) == (PYTHON, ("a",), 10)
    assert (kind.least, kind.most) == (1, 5)


def test_a_kind_says_what_its_workers_serve_and_inherits_the_rest(tmp_path: Path) -> None:
    kinds = read(
        tmp_path,
        """
        [fleet]
        name = "w"
        start_within = "9s"
        max_age = "1d"
        [fleet.kinds.mail]
        queues = { mail = 3, slow = 0 }
        concurrency = 4
        max = 6
        max_memory = "1GB"
        [fleet.kinds.rest]
        min = 2
        start_within = "1m"
        max_age = "1h"
        """,
    )
    mail, rest = kinds["mail"], kinds["rest"]
    assert mail.command == (*PYTHON, "--queue", "mail:3", "--queue", "slow", "--concurrency", "4")
    assert (mail.prefix, mail.least, mail.most) == ("w-mail", 1, 6)
    assert (mail.start_within, mail.max_age, mail.max_memory) == (9.0, 86_400.0, 2**30)
    assert (rest.prefix, rest.least, rest.most, rest.queues) == ("w-rest", 2, 2, ())
    assert (rest.start_within, rest.max_age, rest.max_memory) == (60.0, 3_600.0, None)
    assert mail.settings.name == "w-mail"


def test_a_c_worker_gets_the_options_of_a_worker_and_its_plugins(
    tmp_path: Path, program: str
) -> None:
    kinds = read(
        tmp_path,
        f"""
        [fleet.kinds.image]
        command = "{program}"
        plugins = ["./image.so", "./zip.so"]
        queues = ["image"]
        concurrency = 2
        store = "tcp://127.0.0.1:7011"
        """,
    )
    assert kinds["image"].program == program
    assert kinds["image"].command == (
        *(program, "--name", "{name}", "--queue", "image", "--concurrency", "2"),
        *("--plugin", "./image.so", "--plugin", "./zip.so"),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[fleet.kinds.c]\ncommand = "no-such"\n', r"c\.command is 'no-such'.*PATH"),
        ('[fleet.kinds.c]\nplugins = ["a.so"]\n', r"c has plugins.*Python.*stoker-worker-c"),
        (f'[fleet.kinds.c]\ncommand = "{C_WORKER}"\n', r"its store is sqlite.*tcp://127"),
    ],
)
@pytest.mark.usefixtures("program")
def test_a_kind_that_cannot_run_is_refused_with_what_to_do(
    text: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidConfig, match=said):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kinds = 3\n", r"fleet\.kinds \(file .*\) is 3; expected a table a kind"),
        ("[fleet.kinds]\nmail = 3\n", r"fleet\.kinds\.mail \(file .*\) is 3; expected a table"),
        ("[fleet.kinds.mail]\nquees = 1\n", r"kinds\.mail\.quees.*did you mean 'queues'"),
        ("[fleet.kinds.mail]\nxyz = 1\n", r"kinds\.mail\.xyz.*known are queues"),
        ("[fleet.kinds.mail]\nconcurrency = 'x'\n", r"kinds\.mail\.concurrency.*got `str`"),
        ("[fleet.kinds.mail]\nconcurrency = 0\n", r"mail\.concurrency is 0; expected at least 1"),
        ("[fleet.kinds.mail]\nmax_age = 'old'\n", r"kinds\.mail\.max_age.*'10m'"),
        ("[fleet.kinds.mail]\nmin = -1\n", r"mail\.min is -1; expected 0 to"),
        ("[fleet.kinds.mail]\nmin = 3\nmax = 2\n", r"mail\.max is 2; expected 3 \(its min"),
        ("[fleet.kinds.mail]\nmin = 0\n", r"mail\.max is 0; expected 1"),
        ("[fleet.kinds.mail]\nqueues = ['a b']\n", r"kinds\.mail .*queue"),
        ("[fleet.kinds.'a b']\n", r"kinds\.a b .*kind"),
        ("min = 3\n[fleet.kinds.mail]\nmax = 4\n", r"fleet\.min .* delete fleet\.min"),
    ],
)
def test_a_wrong_kind_is_named(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=said):
        settings_of(tmp_path, f"[fleet]\n{text}")


def test_bounds_on_the_command_line_beside_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"fleet\.max \(STOKER_FLEET__MAX\) is set beside"):
        settings_of(tmp_path, "[fleet.kinds.mail]\nmax = 4\n", STOKER_FLEET__MAX="5")
