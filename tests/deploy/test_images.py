"""The Dockerfile, by hadolint and by rules of our own. No image is built here."""

import re
import subprocess
import sys
from pathlib import Path

from tests.deploy.files import DOCKERFILE, ROOT

TEXT = DOCKERFILE.read_text("utf-8")
STAGE = re.compile(r"^FROM (\S+) AS (\w+)\n(.*?)(?=^FROM |\Z)", re.MULTILINE | re.DOTALL)
STAGES = {name: (base, body) for base, name, body in STAGE.findall(TEXT)}


def test_hadolint_has_nothing_to_say() -> None:
    program = Path(sys.executable).with_name("hadolint")
    told = subprocess.run(
        [str(program), "--failure-threshold", "style", str(DOCKERFILE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout


def test_what_is_foreign_is_pinned_to_a_version() -> None:
    foreign = {base for base, _ in STAGES.values() if base not in STAGES}
    assert foreign
    assert all(re.search(r":(?:\d+\.\d+\.\d+|bookworm-\d{8})-", base) for base in foreign)


def test_nobody_is_root_and_signals_pass() -> None:
    assert set(STAGES) == {"build", "base", "server", "worker", "buildc", "cworker"}
    _, base = STAGES["base"]
    assert re.search(r"^USER 10001:10001$", base, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["tini", "--"\]$', base, re.MULTILINE)
    for name in ("server", "worker"):
        parent, body = STAGES[name]
        assert parent == "base"
        assert "USER" not in body
        assert re.search(r"^HEALTHCHECK ", body, re.MULTILINE)
        # In the form of a list: a shell in between would keep signals to itself.
        assert re.search(r'^CMD \["stoker", ', body, re.MULTILINE)


def test_no_secret_goes_into_an_image() -> None:
    assert "STOKER_SERVER__REQUIRE_KEY=always" in STAGES["server"][1]
    plain = TEXT.replace("REQUIRE_KEY", "")
    assert not re.search(r"(?i)^(?:ARG|ENV).*(?:password|secret|token|key)", plain, re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert ignored[0] == "*"
    taken = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {
        word.removeprefix("./")
        for line in re.findall(r"^COPY (?!--from)(.*)$", TEXT, re.MULTILINE)
        for word in line.split()[:-1]
    }
    assert copied == taken
    assert all((ROOT / name).exists() for name in copied)


def test_the_worker_in_c_is_built_apart_and_brings_no_compiler_along() -> None:
    base, body = STAGES["cworker"]
    assert base == STAGES["buildc"][0]
    assert re.search(r"^USER 10001:10001$", body, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["tini", "--"\]$', body, re.MULTILINE)
    assert re.search(r'^CMD \["stoker-worker-c", ', body, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", body, re.MULTILINE)
    installed = re.findall(r"--no-install-recommends (.*) \\$", body, re.MULTILINE)[0].split()
    assert not any(name.endswith("-dev") or name in {"gcc", "make"} for name in installed)
    # What it is linked against comes with it.
    assert {"libssl3", "libyajl2"} <= set(installed)
