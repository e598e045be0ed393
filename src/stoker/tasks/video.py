"""The task ``video.process``: encode a video with ffmpeg."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

import msgspec

from stoker.core.errors import InvalidArguments
from stoker.settings import TaskSettings
from stoker.tasks.errors import extra
from stoker.tasks.ffmpeg import SAFE_INPUT, encode, find_ffmpeg, probe
from stoker.tasks.files import Folder, part_file, publish
from stoker.tasks.progress import Progress
from stoker.tasks.wiring import DEFAULTS

if TYPE_CHECKING:
    from stoker.tasks.web import Guard

Container = Literal["mp4", "mov", "mkv", "webm", "gif"]

MAX_DOWNLOAD = 2 * 1024**3
"""Bytes of a video behind a URL."""
MAX_DURATION = 3600.0
"""Seconds of a generated test picture."""

_DOWNLOAD_TIMEOUT = 1800.0
_SILENCE = 30.0
_SHARE = 0.3
_H264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p")
_CODECS: dict[Container, tuple[str, ...]] = {
    "mp4": (*_H264, "-c:a", "aac", "-movflags", "+faststart"),
    "mov": (*_H264, "-c:a", "aac", "-movflags", "+faststart"),
    "mkv": (*_H264, "-c:a", "aac"),
    "webm": (
        *("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"),
        *("-crf", "33", "-b:v", "0", "-pix_fmt", "yuv420p", "-c:a", "libopus"),
    ),
    "gif": ("-an",),
}
_MUXERS: dict[Container, str] = {"mkv": "matroska"}


class Video(msgspec.Struct, frozen=True):
    """What `process_video` returns."""

    file: str
    seconds: float
    width: int
    height: int
    bytes: int


def process_video(
    file: str | None = None,
    video_url: str | None = None,
    output_format: Container = "mp4",
    height: int = 720,
    duration: float = 3.0,
    output: str | None = None,
    *,
    settings: TaskSettings = DEFAULTS,
    guard: "Guard | None" = None,
) -> Video:
    """Encode a video at another height and in another format.

    Without a source, a moving test picture is generated and encoded.

    Args:
        file: The video to encode.
        video_url: An http or https URL of it instead; the rules of ``scrape_website`` hold.
        output_format: ``mp4``, ``mov`` or ``mkv`` (H.264 and AAC), ``webm`` (VP9 and Opus) or
            ``gif``.
        height: Lines of the output, 16 to 4,320, rounded down to an even number; the width
            follows.
        duration: Seconds of the generated test picture, up to an hour; nothing else looks at it.
        output: The file to write; by default the source's name with the height in it.
        settings: The worker's settings.
        guard: Decides which addresses may be opened.

    Returns:
        The written file, its length, its picture's size and its bytes.

    Raises:
        FileNotFoundError: The input does not exist.
        BadInput: Not a video, or of a kind that is not read.
        InvalidArguments: Both a file and a URL, or numbers out of range.
        EncodingFailed: ffmpeg gave up.
        AddressRefused: The URL leads where the task may not go.
        FetchFailed: The download did not work.
        MissingExtra: There is no ffmpeg, or httpx2 is not installed.
    """
    _check(file, video_url, output_format, height, duration)
    program = find_ffmpeg()
    folder = Folder(settings.files)
    height -= height % 2
    with _source(folder, file, video_url, output, guard, settings) as (source, name, progress):
        wanted = output or f"{name}-{height}p.{output_format}"
        target = folder.target(wanted, source=source)
        if source is None:
            seconds: float | None = duration
            arguments = _test_picture(height, duration)
        else:
            seconds = probe(program, source, progress).seconds
            arguments = [*SAFE_INPUT, "-i", f"file:{source}", *_maps(output_format, height)]
        muxer = _MUXERS.get(output_format, output_format)
        with part_file(target) as part:
            encoded = encode(
                program,
                [*arguments, *_CODECS[output_format], "-f", muxer, f"file:{part.name}"],
                seconds=seconds,
                progress=progress,
                note=f"encode {output_format}, {height} lines",
            )
            made = probe(program, Path(part.name), progress)
            publish(part, target)
    return Video(
        file=str(target),
        seconds=round(made.seconds if made.seconds is not None else encoded, 3),
        width=made.width,
        height=made.height,
        bytes=target.stat().st_size,
    )


def _check(
    file: str | None, video_url: str | None, output_format: str, height: int, duration: float
) -> None:
    if file is not None and video_url is not None:
        raise InvalidArguments("both file and video_url given; expected one of them, or neither")
    if output_format not in _CODECS:
        raise InvalidArguments(f"output_format is {output_format!r}; expected {', '.join(_CODECS)}")
    if not 16 <= height <= 4320:  # noqa: PLR2004 - said in the message
        raise InvalidArguments(f"height is {height}; expected 16 to 4320")
    if not 0 < duration <= MAX_DURATION:
        raise InvalidArguments(f"duration is {duration}; expected seconds, up to {MAX_DURATION:g}")


@contextmanager
def _source(
    folder: Folder,
    file: str | None,
    video_url: str | None,
    output: str | None,
    guard: "Guard | None",
    settings: TaskSettings,
) -> Iterator[tuple[Path | None, str, Progress]]:
    """Lend the input (None: generate one), the name its output begins with, and the progress."""
    if video_url is not None:
        name = _name_in(video_url)
        # Beside the output, where there is room for a video.
        beside = folder.target(output or name)
        with part_file(beside.with_name(f"{beside.name}.download")) as part:
            _download(video_url, Path(part.name), guard, settings)
            yield Path(part.name), name, Progress(_SHARE, 1.0)
    elif file is not None:
        source = folder.source(file)
        yield source, str(source.with_suffix("")), Progress()
    else:
        yield None, "test-picture", Progress()


def _download(url: str, path: Path, guard: "Guard | None", settings: TaskSettings) -> None:
    with extra("video.process", "httpx2"):
        from stoker.tasks.web import Guard, fetch
    guard = guard or Guard(allow_private=settings.scrape_private)
    progress = Progress(0.0, _SHARE)
    progress.to(0.0, "download")
    answers = fetch(
        url, guard=guard, timeout=_DOWNLOAD_TIMEOUT, max_bytes=MAX_DOWNLOAD, idle=_SILENCE
    )
    with path.open("wb") as handle, answers as answer:
        for chunk in answer.chunks():
            handle.write(chunk)
            progress.to(handle.tell() / answer.length if answer.length else 0.0)


def _name_in(url: str) -> str:
    name = Path(unquote(urlsplit(url).path)).stem
    return re.sub(r"[^\w.-]+", "_", name).strip("._")[:100] or "video"


def _test_picture(height: int, duration: float) -> list[str]:
    width = height * 16 // 9 // 2 * 2
    source = f"testsrc2=size={width}x{height}:rate=25:duration={duration:.3f}"
    return ["-f", "lavfi", "-i", source]


def _maps(output_format: Container, height: int) -> list[str]:
    maps = ["-map", "0:v:0", "-map", "0:a:0?", "-sn", "-dn"]
    rate = ",fps=10" if output_format == "gif" else ""
    return [*maps, "-vf", f"scale=-2:{height}{rate}"]
