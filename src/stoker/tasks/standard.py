"""The standard tasks as a worker knows them: names, options, and the settings tied in."""

from collections.abc import Callable
from typing import Any

from stoker.core.retry import RetryPolicy
from stoker.core.task import Registry, Task, TaskOptions
from stoker.settings import TaskSettings
from stoker.tasks.analysis import analyse_batch
from stoker.tasks.checksum import checksum
from stoker.tasks.compression import compress, decompress
from stoker.tasks.csv_statistics import csv_statistics
from stoker.tasks.encryption import decrypt, encrypt
from stoker.tasks.errors import PERMANENT
from stoker.tasks.filters import blur_image, resize_image
from stoker.tasks.image import process_image
from stoker.tasks.mail import send_email
from stoker.tasks.scrape import scrape_website
from stoker.tasks.trial import trial
from stoker.tasks.video import process_video
from stoker.tasks.wiring import bound

ALIASES: tuple[tuple[str, str], ...] = (("process_video", "video.process"),)
"""Other names of standard tasks: (alias, name)."""

# What computes or decodes bytes of unknown origin runs in a process, where it can be killed and
# can crash nobody; what waits for a server runs in a thread, and bounds its own waiting.
_TASKS: tuple[tuple[str, Callable[..., Any], dict[str, Any]], ...] = (
    ("compress", compress, {"run_in": "process", "timeout": "1h"}),
    ("decompress", decompress, {"run_in": "process", "timeout": "1h"}),
    ("encrypt", encrypt, {"run_in": "process", "timeout": "1h"}),
    ("decrypt", decrypt, {"run_in": "process", "timeout": "1h"}),
    ("checksum", checksum, {"run_in": "thread", "timeout": "1h"}),
    ("send_email", send_email, {"run_in": "thread", "timeout": "5m"}),
    ("scrape_website", scrape_website, {"run_in": "thread", "timeout": "5m"}),
    ("image.process", process_image, {"run_in": "process", "timeout": "10m"}),
    ("image.blur", blur_image, {"run_in": "process", "timeout": "10m"}),
    ("image.resize", resize_image, {"run_in": "process", "timeout": "10m"}),
    ("video.process", process_video, {"run_in": "process", "timeout": "1h"}),
    ("analysis.batch", analyse_batch, {"run_in": "process", "timeout": "1h"}),
    ("csv.statistics", csv_statistics, {"run_in": "process", "timeout": "1h"}),
    ("trial", trial, {"run_in": "thread", "timeout": "1h"}),
)


def standard_tasks(
    settings: TaskSettings, *, retry: RetryPolicy | None = None
) -> list[Task[..., Any]]:
    """Return the standard tasks with a worker's settings tied in.

    Args:
        settings: The worker's settings. No payload can change them.
        retry: How failed attempts are repeated; errors that another attempt cannot mend
            (`stoker.tasks.errors.PERMANENT`) are left out of it.
    """
    policy = _sparing(retry or RetryPolicy())
    return [
        Task(bound(fn, settings), name=name, options=TaskOptions.make(retry=policy, **options))
        for name, fn, options in _TASKS
    ]


def register(
    registry: Registry, settings: TaskSettings, *, retry: RetryPolicy | None = None
) -> None:
    """Add the standard tasks and their aliases to a registry.

    Raises:
        DuplicateTask: A name is taken.
    """
    for task in standard_tasks(settings, retry=retry):
        registry.add(task)
    for alias, name in ALIASES:
        registry.add(registry.get(name), alias=alias)


def _sparing(retry: RetryPolicy) -> RetryPolicy:
    return RetryPolicy(
        retry.max_retries,
        backoff=retry.backoff,
        base=retry.base,
        cap=retry.cap,
        jitter=retry.jitter,
        never=PERMANENT,
    )
