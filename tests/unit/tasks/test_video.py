import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from stoker.core.errors import Cancelled, InvalidArguments, MissingExtra
from stoker.settings import TaskSettings
from stoker.tasks import ffmpeg, leash
from stoker.tasks.errors import AddressRefused, BadInput, EncodingFailed
from stoker.tasks.ffmpeg import encode, find_ffmpeg, probe
from stoker.tasks.progress import Progress
from stoker.tasks.video import Container, process_video
from stoker.testing.waiting import wait_until
from tests.unit.tasks.conftest import JobAround
from tests.unit.tasks.sites import http, site

CONTAINERS: list[Container] = ["mp4", "mov", "mkv", "webm", "gif"]


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds, 128 × 72, made once."""
    file = tmp_path_factory.mktemp("video") / "movie.mp4"
    process_video(output=str(file), height=72, duration=2.0)
    return file


def named(file: Path) -> list[str]:
    """The command lines on this machine that name the file; servers' processes come and go."""
    found = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [" ".join(line) for line in found if any(str(file) in part for part in line)]


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def seen_by_ffmpeg(file: str) -> tuple[int, int]:
    found = probe(find_ffmpeg(), Path(file), Progress())
    return found.width, found.height


def test_without_a_source_a_test_picture_is_encoded(tmp_path: Path, settings: TaskSettings) -> None:
    done = process_video(height=90, duration=1.0, settings=settings)
    assert done.file == str(tmp_path / "test-picture-90p.mp4")
    assert done.seconds == pytest.approx(1.0, abs=0.1)
    assert (done.width, done.height) == (160, 90) == seen_by_ffmpeg(done.file)
    assert done.bytes == Path(done.file).stat().st_size > 1000
    assert [file.name for file in tmp_path.iterdir()] == ["test-picture-90p.mp4"]


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_file_becomes_every_format_at_another_height(
    movie: Path, tmp_path: Path, container: Container
) -> None:
    done = process_video(
        str(movie), output_format=container, height=36, output=str(tmp_path / "out")
    )
    assert (done.width, done.height) == (64, 36) == seen_by_ffmpeg(done.file)
    assert done.seconds == pytest.approx(2.0, abs=0.2)


def test_the_output_is_named_after_its_source(movie: Path) -> None:
    done = process_video(str(movie), height=37, output_format="mkv")
    assert done.file == str(movie.with_name("movie-36p.mkv"))
    assert done.height == 36


def test_sound_comes_along(tmp_path: Path) -> None:
    source = tmp_path / "tone.mkv"
    made = [find_ffmpeg(), "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=s=64x36:d=1"]
    made += ["-f", "lavfi", "-i", "sine=d=1", "-c:v", "libx264", "-c:a", "aac", str(source)]
    subprocess.run(made, check=True, timeout=60)
    done = process_video(str(source), height=36, output=str(tmp_path / "out.mp4"))
    told = subprocess.run(
        [find_ffmpeg(), "-i", done.file], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Audio: aac" in told.stderr


def test_a_video_behind_a_url_is_downloaded_and_encoded(
    movie: Path, tmp_path: Path, job: JobAround
) -> None:
    settings = TaskSettings(files=str(tmp_path), scrape_private=True)
    with site(lambda _: http(movie.read_bytes())) as server:
        url = f"http://127.0.0.1:{server.port}/films/my%20movie.mp4?x=1"
        done = process_video(video_url=url, height=36, settings=settings)
    assert done.file == str(tmp_path / "my_movie-36p.mp4")
    assert (done.width, done.height) == (64, 36)
    assert [file.name for file in tmp_path.iterdir()] == ["my_movie-36p.mp4"]
    assert job.reports[0] == (0.0, "download")
    assert job.shares == sorted(job.shares)
    assert (0.3, "download") in job.reports


def test_a_url_inside_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AddressRefused):
        process_video(
            video_url="http://127.0.0.1/movie.mp4", settings=TaskSettings(files=str(tmp_path))
        )
    assert list(tmp_path.iterdir()) == []


def test_progress_follows_the_encoding(
    tmp_path: Path, settings: TaskSettings, job: JobAround
) -> None:
    process_video(height=360, duration=8.0, settings=settings)
    assert job.shares == sorted(job.shares)
    assert len([share for share in job.shares if 0 < share < 1]) >= 1
    assert job.reports[-1][1] == "encode mp4, 360 lines"


def test_a_cancel_midway_kills_ffmpeg_and_leaves_nothing(
    tmp_path: Path, settings: TaskSettings, job: JobAround
) -> None:
    job.cancel_when = lambda: bool(job.shares[-1:] >= [0.01] and named(tmp_path))
    with pytest.raises(Cancelled):
        process_video(height=720, duration=60.0, settings=settings)
    assert 0.01 <= job.shares[-1] < 1.0
    assert named(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


async def test_ffmpeg_dies_with_a_killed_worker_and_its_part_goes_with_the_next_run(
    tmp_path: Path,
) -> None:
    output = str(tmp_path / "out.mp4")
    worker = _worker(output)
    try:
        found = await wait_until(lambda: _encoders(worker.pid), "ffmpeg writes")
        worker.send_signal(signal.SIGKILL)
    finally:
        worker.kill()
        worker.wait()
    await wait_until(lambda: not any(map(_is_alive, found)), "ffmpeg is gone")
    (left,) = names(tmp_path)
    assert left.endswith(".part")
    await asyncio.to_thread(process_video, height=16, duration=0.2, output=output)
    assert names(tmp_path) == ["out.mp4"]


def _worker(output: str) -> "subprocess.Popen[bytes]":
    code = "import sys; from stoker.tasks.video import process_video; "
    code += "process_video(height=720, duration=3600.0, output=sys.argv[1])"
    return subprocess.Popen([sys.executable, "-c", code, output])


def _encoders(pid: int) -> list[int]:
    """The children that have become ffmpeg and write the output."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        try:
            if any(argument.endswith(".part") for argument in child.cmdline()):
                found += [child.pid] if "ffmpeg" in child.name() else []
        except psutil.NoSuchProcess:
            continue
    return found


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_leash_whose_parent_is_gone_starts_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(leash.__file__), "1", "/bin/touch", str(tmp_path / "x")]
    assert subprocess.run(command, check=False, timeout=30).returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_ffmpeg_sees_nothing_of_the_workers_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOKER_STORE", "postgresql://u:sesame@db/x")
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\nenv > {tmp_path}/env\n")
    program.chmod(0o755)
    encode(str(program), [], seconds=None, progress=Progress(), note="n")
    assert "sesame" not in (tmp_path / "env").read_text()
    assert "LC_ALL=C" in (tmp_path / "env").read_text()


def test_ffmpeg_is_in_a_process_group_of_its_own(tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\nps -o pgid= -p $$ > {tmp_path}/group\n")
    program.chmod(0o755)
    encode(str(program), [], seconds=None, progress=Progress(), note="n")
    assert int((tmp_path / "group").read_text()) != os.getpgrp()


def test_a_signal_that_raises_while_ffmpeg_is_started_leaves_no_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a worker stops a job: the exception comes wherever the main thread is."""
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nsleep 600\n")
    program.chmod(0o755)
    started: list[int] = []

    class Disturbed(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self.pid)
            signal.raise_signal(signal.SIGUSR1)

    def stop(_number: int, _frame: object) -> None:
        raise Cancelled

    monkeypatch.setattr(subprocess, "Popen", Disturbed)
    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(Cancelled):
            encode(str(program), [], seconds=None, progress=Progress(), note="n")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(started) == 1
    assert not _is_alive(started[0])


def test_ffmpeg_hears_signals_as_usual(tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    # No shell: dash blocks every signal of its own accord while it waits for a child.
    program.write_text(
        f"#!{sys.executable} -IS\n"
        "import shutil\n"
        f"shutil.copyfile('/proc/self/status', {str(tmp_path / 'status')!r})\n"
    )
    program.chmod(0o755)
    encode(str(program), [], seconds=None, progress=Progress(), note="n")
    lines = (tmp_path / "status").read_text().splitlines()
    blocked = int(next(line for line in lines if line.startswith("SigBlk")).split()[1], 16)
    assert blocked == 0


def test_a_failing_ffmpeg_says_why(tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho out_time_us=N/A\necho no space left >&2\nexit 7\n")
    program.chmod(0o755)
    with pytest.raises(EncodingFailed, match="exit code 7: no space left") as it:
        encode(str(program), [], seconds=1.0, progress=Progress(), note="n")
    assert it.value.details["exit_code"] == 7


async def test_a_silent_ffmpeg_is_killed_by_a_cancel(tmp_path: Path, job: JobAround) -> None:
    program = tmp_path / "ffmpeg"
    script = f"exec 1>&- 2>&-\nsleep 600 &\necho $$ $! > {tmp_path}/new\n"
    program.write_text(f"#!/bin/sh\n{script}mv {tmp_path}/new {tmp_path}/started\nwait\n")
    program.chmod(0o755)
    job.cancel_when = (tmp_path / "started").exists
    with pytest.raises(Cancelled):
        encode(str(program), [], seconds=1.0, progress=Progress(), note="n")
    started = [int(pid) for pid in (tmp_path / "started").read_text().split()]
    await wait_until(lambda: not any(map(_is_alive, started)), "the program and its child are gone")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"just a text",
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/x.ts\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'></MPD>",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    ],
)
def test_playlists_and_other_texts_are_not_opened(
    tmp_path: Path, settings: TaskSettings, content: bytes
) -> None:
    (tmp_path / "in.mp4").write_bytes(content)
    with pytest.raises(BadInput, match="no video that can be read"):
        process_video("in.mp4", settings=settings)
    assert [file.name for file in tmp_path.iterdir()] == ["in.mp4"]


def test_a_playlist_of_a_real_video_is_not_followed(movie: Path, tmp_path: Path) -> None:
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{movie}\n#EXT-X-ENDLIST\n")
    with pytest.raises(BadInput):
        process_video(str(playlist))


def test_a_video_cut_off_at_its_head_is_refused(movie: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(movie.read_bytes()[:500])
    with pytest.raises(BadInput):
        process_video(str(cut))


def test_names_that_look_like_options_are_names(movie: Path, tmp_path: Path) -> None:
    settings = TaskSettings(files=str(tmp_path))
    (tmp_path / "-f lavfi:x.mp4").write_bytes(movie.read_bytes())
    done = process_video("-f lavfi:x.mp4", height=16, output="-y%03d.mp4", settings=settings)
    assert done.file == str(tmp_path / "-y%03d.mp4")


def test_a_missing_movie_says_what_to_do(settings: TaskSettings) -> None:
    with pytest.raises(FileNotFoundError, match=r"'movie\.mp4' does not exist.*existing file"):
        process_video("movie.mp4", settings=settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"file": "a", "video_url": "http://example.com/"},
        {"height": 15},
        {"height": 4321},
        {"duration": 0.0},
        {"duration": 3601.0},
        {"duration": float("nan")},
        {"output_format": "exe"},
    ],
)
def test_arguments_that_mean_nothing_are_refused(settings: TaskSettings, wrong: Any) -> None:
    with pytest.raises(InvalidArguments):
        process_video(settings=settings, **wrong)


def test_without_the_extra_the_systems_ffmpeg_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_ffmpeg() == str(program)


def test_without_any_ffmpeg_the_error_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtra, match=r"pip install 'stoker\[tasks\]'"):
        process_video()


def test_what_ffmpeg_says_is_cut_into_lines_of_bounded_length() -> None:
    said: list[str] = []
    lines = ffmpeg._Lines(said.append)
    for data in (b"one\rtw", b"o\n\n", b"x" * 10_000, b"\nend", b""):
        lines.feed(data)
    assert said[:2] == ["one", "two"]
    assert len(said[2]) == 4096
    assert said[3] == "end"
