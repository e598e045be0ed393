"""A small disk for tests: a file system in memory that is soon full."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def small_disk(folder: Path, size: str, *, account: str | None = None) -> Iterator[Path]:
    """Mount a file system of a size on a folder, and take it away again.

    Args:
        folder: Made if it is not there.
        size: Such as ``"2m"``.
        account: Whose it is; whoever runs the tests if not given.
    """
    if os.geteuid() != 0:
        raise RuntimeError("mounting a small disk takes root; run the tests as root")
    folder.mkdir(exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={size},mode=0777", "stoker-test", str(folder)]
    subprocess.run(["/usr/bin/mount", *options], check=True)
    if account is not None:
        shutil.chown(folder, account)
    try:
        yield folder
    finally:
        subprocess.run(["/usr/bin/umount", "--lazy", str(folder)], check=True)
