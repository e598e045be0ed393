import fcntl
import os
from pathlib import Path

import pytest

from stoker.core.errors import InvalidArguments
from stoker.tasks.files import Folder, Measured, part_file, writing


def parts(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if file.name.endswith(".part")]


def test_a_relative_name_is_inside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    assert Folder(str(tmp_path)).source("a.txt") == tmp_path / "a.txt"


def test_without_a_folder_names_are_relative_to_where_the_worker_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("a")
    assert Folder(None).source("a.txt") == tmp_path / "a.txt"


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "/etc/passwd",
        "a/../../secret",
        "link",
        "link/secret",
        "deep/link/secret",
        "..",
        "./../secret",
    ],
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    (root / "a").mkdir()
    (tmp_path / "secret").write_text("s")
    (root / "link").symlink_to(tmp_path)
    (root / "deep" / "link").symlink_to("../..")
    folder = Folder(str(root))
    with pytest.raises(InvalidArguments, match="outside"):
        folder.source(name)
    with pytest.raises(InvalidArguments, match="outside"):
        folder.target(name)


def test_a_link_that_stays_inside_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "link").symlink_to("a.txt")
    assert Folder(str(tmp_path)).source("link") == tmp_path / "a.txt"


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_what_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArguments):
        Folder(str(tmp_path)).source(name)


def test_a_circle_of_links_is_refused_or_absent(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises((InvalidArguments, OSError)):
        Folder(str(tmp_path)).source("one")


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"'movie\.mp4' does not exist.*looked for") as it:
        Folder(str(tmp_path)).source("movie.mp4")
    assert str(tmp_path) in str(it.value)


def test_a_folder_and_a_pipe_are_no_input(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    os.mkfifo(tmp_path / "pipe")
    folder = Folder(str(tmp_path))
    with pytest.raises(InvalidArguments, match="is a folder; expected a regular file"):
        folder.source("sub")
    with pytest.raises(InvalidArguments, match="is a pipe; expected a regular file"):
        folder.source("pipe")


def test_a_device_is_never_replaced_by_an_output() -> None:
    with pytest.raises(InvalidArguments, match="is a device"):
        Folder(None).target("/dev/null")


def test_the_input_is_never_the_output(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    folder = Folder(str(tmp_path))
    with pytest.raises(InvalidArguments, match="both the input and the output"):
        folder.target("./a", source=folder.source("a"))


def test_the_folder_of_an_output_is_made(tmp_path: Path) -> None:
    target = Folder(str(tmp_path)).target("new/deep/a")
    assert target == tmp_path / "new/deep/a"
    assert target.parent.is_dir()


def test_an_output_appears_whole_and_with_usual_rights(tmp_path: Path) -> None:
    target = tmp_path / "out"
    old = os.umask(0o027)
    try:
        with writing(target) as handle:
            handle.write(b"half")
            assert not target.exists()
            handle.write(b" and half")
    finally:
        os.umask(old)
    assert target.read_bytes() == b"half and half"
    assert target.stat().st_mode & 0o777 == 0o640
    assert parts(tmp_path) == []


def test_a_failed_output_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        _interrupted(target)
    assert target.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def _interrupted(target: Path) -> None:
    with writing(target) as handle:
        handle.write(b"new")
        raise KeyboardInterrupt


def test_parts_of_dead_writers_are_removed_and_those_of_living_ones_kept(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with part_file(target) as dead, part_file(target) as living:
        # What SIGKILL does: the lock is gone, the file is not.
        fcntl.flock(dead, fcntl.LOCK_UN)
        with writing(target) as handle:
            handle.write(b"x")
        assert not Path(dead.name).exists()
        assert Path(living.name).exists()
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_parts_of_another_output_are_left_alone(tmp_path: Path) -> None:
    with part_file(tmp_path / "other") as other:
        fcntl.flock(other, fcntl.LOCK_UN)
        with writing(tmp_path / "out") as handle:
            handle.write(b"x")
        assert Path(other.name).exists()


def test_an_output_may_have_the_longest_name(tmp_path: Path) -> None:
    target = tmp_path / ("ü" * 127)
    with writing(target) as handle:
        handle.write(b"x")
    assert target.read_bytes() == b"x"


def test_what_is_written_is_counted_and_hashed(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as handle:
        measured = Measured(handle)
        measured.write(b"ab")
        measured.write(b"c")
    assert measured.size == 3
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert measured.sha256 == expected
