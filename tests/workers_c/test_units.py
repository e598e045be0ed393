"""What is checked in C itself, and how the program is built."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.repo.tree import ROOT
from tests.workers_c.program import BUILD, FOLDER, PROGRAM, build, plugin

UNITS = sorted(file.stem for file in (FOLDER / "tests").glob("test_*.c"))
VECTORS = ("errors", "hello", "refused", "store", "worker")
SOURCE_LIMIT = 600


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_does_what_its_test_says(unit: str) -> None:
    build()
    done = run(BUILD / unit)
    assert done.returncode == 0, done.stderr
    checks, failed = map(int, re.findall(r"(\d+) (?:checks|failed)", done.stdout))
    assert checks >= 20
    assert failed == 0


def test_the_golden_vectors_are_read_and_written_to_the_byte() -> None:
    build()
    folder = ROOT / "protocol" / "vectors"
    assert sorted(file.stem for file in folder.glob("*.json")) == sorted(VECTORS)
    for name in VECTORS:
        done = run(BUILD / "vectors", folder / f"{name}.json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(done.stdout.splitlines()) == (folder / f"{name}.json").read_text().count(
            '"frame_hex"'
        )


def test_a_changed_vector_is_noticed(tmp_path: Path) -> None:
    build()
    text = (ROOT / "protocol" / "vectors" / "worker.json").read_text()
    # In the meaning that the program writes its bytes from, and in nothing else.
    damaged = tmp_path / "worker.json"
    damaged.write_text(text.replace('2c2274746c223a33302e307d7d"', '2c2274746c223a33312e307d7d"'))
    done = run(BUILD / "vectors", damaged)
    assert done.returncode == 1
    assert "not ok the first beat" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_units_pass_under_address_and_undefined_behaviour_sanitizers() -> None:
    build("sanitize")
    for name in VECTORS:
        done = run(BUILD / "asan" / "vectors", ROOT / "protocol" / "vectors" / f"{name}.json")
        # The reader of the test files frees nothing; what counts here is what it reads and writes.
        assert "ERROR: AddressSanitizer" not in done.stderr, done.stderr
        assert "runtime error" not in done.stderr, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_units_are_clean_under_valgrind() -> None:
    build("valgrind")


def test_the_program_is_hardened() -> None:
    build()
    header = run("readelf", "-hW", PROGRAM).stdout
    segments = run("readelf", "-lW", PROGRAM).stdout
    dynamic = run("readelf", "-dW", PROGRAM).stdout
    symbols = run("readelf", "-sW", "--dyn-syms", PROGRAM).stdout
    assert re.search(r"Type:\s+DYN", header), "it is not position independent"
    assert "GNU_RELRO" in segments
    assert re.search(r"BIND_NOW|FLAGS.*NOW", dynamic)
    assert re.search(r"GNU_STACK.* RW ", segments), "the stack is executable"
    assert "__stack_chk_fail" in symbols
    assert "__vsnprintf_chk" in symbols, "it is built without _FORTIFY_SOURCE"


def test_plugins_find_what_the_header_declares_and_nothing_else() -> None:
    build()
    header = (FOLDER / "include" / "stoker_worker.h").read_text()
    declared = set(re.findall(r"^STOKER_EXPORT [^;{]*?\*?(stoker_\w+)\(", header, re.MULTILINE))
    declared.discard("stoker_plugin_entry_point")
    shown = run("nm", "-D", "--defined-only", PROGRAM).stdout
    exported = set(re.findall(r" [TDBR] (stoker_\w+)", shown))
    assert len(declared) >= 40
    assert exported == declared


def test_the_libraries_are_those_of_the_design_and_no_more() -> None:
    build()
    needed = re.findall(r"NEEDED.*\[(lib\w+)", run("readelf", "-d", PROGRAM).stdout)
    assert set(needed) <= {"libssl", "libcrypto", "libyajl", "libc", "libm", "libpthread", "libdl"}


def test_every_file_in_c_can_be_read_in_one_sitting() -> None:
    files = [*(FOLDER / "src").glob("*.[ch]"), *FOLDER.glob("tests/**/*.c"), *FOLDER.glob("fuzz/*")]
    lengths = {file.name: len(file.read_text().splitlines()) for file in files if file.is_file()}
    assert len(lengths) >= 40
    assert {name: n for name, n in lengths.items() if n > SOURCE_LIMIT} == {}


def test_the_versions_of_the_two_packages_agree() -> None:
    version = re.search(r'"(.+)"', (FOLDER / "src" / "version.h").read_text())
    assert version is not None
    assert f'version = "{version[1]}"' in (ROOT / "pyproject.toml").read_text()


def test_the_plugins_of_the_tests_are_there() -> None:
    build()
    assert all(plugin(name).is_file() for name in ("trials", "other_abi", "not_opened", "shapes"))
