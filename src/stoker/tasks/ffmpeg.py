"""ffmpeg as a child: found, run with progress, killed when the job ends early, never orphaned."""

import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec

from stoker.core.errors import MissingExtra
from stoker.tasks import leash
from stoker.tasks.errors import BadInput, EncodingFailed
from stoker.tasks.progress import Progress

_POLL = 0.2
_KEPT_LINES = 500
_DURATION = re.compile(r"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_VIDEO = re.compile(r"Stream #.*?: Video: .*?, (\d{2,5})x(\d{2,5})\b")

# What a file may be. Playlists and the like are missing by intent: they name further files and
# URLs, which ffmpeg would open for whoever wrote them.
_CONTAINERS = "mov,matroska,avi,flv,mpeg,mpegts,mpegvideo,m4v,ogg,gif,asf,h264,hevc,ivf,mjpeg"
SAFE_INPUT = (
    *("-protocol_whitelist", "file"),
    *("-format_whitelist", _CONTAINERS),
    *("-max_pixels", "70000000"),
)
"""Options before every ``-i`` that reads a file from outside."""


class Probe(msgspec.Struct, frozen=True):
    """What ffmpeg says about a file."""

    seconds: float | None
    """None when the container does not say."""
    width: int
    height: int


def find_ffmpeg() -> str:
    """Return the path of an ffmpeg: the one of the extra, else the system's.

    Raises:
        MissingExtra: There is none.
    """
    with suppress(ImportError, RuntimeError):
        import imageio_ffmpeg  # type: ignore[import-untyped]

        return _absolute(str(imageio_ffmpeg.get_ffmpeg_exe()))
    return _absolute("ffmpeg")


def probe(program: str, file: Path, progress: Progress) -> Probe:
    """Read a file's length and picture size.

    Raises:
        BadInput: Not a video, or of a kind that is not read.
    """
    # Without an output ffmpeg describes the input and ends with an error; so its exit code says
    # nothing here.
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    arguments = ["-hide_banner", "-nostdin", *SAFE_INPUT, "-i", f"file:{file}"]
    _run([program, *arguments], on_output=lambda _: None, on_error=lines.append, progress=progress)
    text = "\n".join(lines)
    video = _VIDEO.search(text)
    if video is None:
        last = lines[-1] if lines else "ffmpeg says nothing"
        raise BadInput(f"{file.name} is no video that can be read: {last[:500]}")
    length = _DURATION.search(text)
    seconds = None
    if length is not None:
        seconds = int(length[1]) * 3600 + int(length[2]) * 60 + float(length[3])
    return Probe(seconds=seconds, width=int(video[1]), height=int(video[2]))


def encode(
    program: str, arguments: list[str], *, seconds: float | None, progress: Progress, note: str
) -> float:
    """Run an encoding and return the seconds that were encoded.

    Args:
        program: From `find_ffmpeg`.
        arguments: Inputs, filters, codecs and the output.
        seconds: Length of the input, for the progress; None if nobody knows.
        progress: Where to report.
        note: What is done.

    Raises:
        EncodingFailed: ffmpeg ended with an error.
        Cancelled: The job was called off; ffmpeg is dead and gone.
    """
    errors: deque[str] = deque(maxlen=20)
    done = 0.0
    progress.to(0.0, note)

    def on_output(line: str) -> None:
        nonlocal done
        key, _, value = line.partition("=")
        if key == "out_time_us" and value.lstrip("-").isdigit():
            done = max(done, int(value) / 1e6)
            if seconds:
                progress.to(done / seconds)

    code = _run(
        [
            *(program, "-hide_banner", "-nostdin", "-loglevel", "error", "-nostats"),
            *("-stats_period", "0.1", "-progress", "pipe:1", "-y", *arguments),
        ],
        on_output=on_output,
        on_error=errors.append,
        progress=progress,
    )
    if code != 0:
        reason = "; ".join(errors) or "it says nothing"
        raise EncodingFailed(
            f"ffmpeg ended with exit code {code}: {reason[-2000:]}", exit_code=code
        )
    return done


def _absolute(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise MissingExtra(
            "the task video.process needs ffmpeg, and there is none where this worker runs: "
            "pip install 'stoker[tasks]', or install ffmpeg with the system's package manager"
        )
    return str(Path(found).absolute())


def _run(
    command: list[str],
    *,
    on_output: Callable[[str], None],
    on_error: Callable[[str], object],
    progress: Progress,
) -> int:
    with _child(command) as child, selectors.DefaultSelector() as selector:
        assert child.stdout is not None  # noqa: S101 - Popen was asked for pipes
        assert child.stderr is not None  # noqa: S101 - likewise
        selector.register(child.stdout, selectors.EVENT_READ, _Lines(on_output))
        selector.register(child.stderr, selectors.EVENT_READ, _Lines(on_error))
        while selector.get_map():
            progress.check()
            for key, _ in selector.select(_POLL):
                stream: IO[bytes] = key.fileobj  # type: ignore[assignment]
                data = os.read(stream.fileno(), 65_536)
                key.data.feed(data)
                if not data:
                    selector.unregister(stream)
        return _exit_code(child, progress)


def _exit_code(child: "subprocess.Popen[bytes]", progress: Progress) -> int:
    while True:
        try:
            return child.wait(_POLL)
        except subprocess.TimeoutExpired:
            progress.check()


@contextmanager
def _child(command: list[str]) -> "Iterator[subprocess.Popen[bytes]]":
    child: subprocess.Popen[bytes] | None = None
    try:
        # A worker stops a job by a signal whose handler raises. Between fork and the assignment
        # that would leave a child that nobody knows.
        with _signals_held():
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", str(leash.__file__), str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # The worker's environment may hold passwords; a codec has no business with them.
                env={"LC_ALL": "C"},
                process_group=0,
            )
        yield child
    finally:
        if child is not None:
            _end(child)


def _end(child: "subprocess.Popen[bytes]") -> None:
    # Killed before its pipes are closed and it is waited for, whatever ended the block.
    with child:
        if child.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let no signal handler run in this thread; what arrives is delivered afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Lines:
    """Cuts a stream into lines of bounded length."""

    def __init__(self, take: Callable[[str], object]) -> None:
        self._take = take
        self._held = b""

    def feed(self, data: bytes) -> None:
        *lines, self._held = (self._held + data).replace(b"\r", b"\n").split(b"\n")
        if not data and self._held:
            lines.append(self._held)
        self._held = self._held[-4096:]
        for line in lines:
            if text := line.decode("utf-8", "replace").strip():
                self._take(text)
