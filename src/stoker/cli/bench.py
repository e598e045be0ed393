"""``stoker bench``: the benchmarks of the source tree."""

import subprocess
import sys
from pathlib import Path

import click

from stoker.cli.exits import USAGE


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[ARGUMENT]...")
def bench(words: tuple[str, ...]) -> int:
    """Measure rates and latency.

    Runs the benchmarks of the source tree; every argument goes to them.
    """
    if not Path("benchmarks/__main__.py").is_file():
        raise click.UsageError("the benchmarks are part of the source tree; run this inside it")
    done = subprocess.run([sys.executable, "-m", "benchmarks", *words], check=False)
    return done.returncode if done.returncode >= 0 else USAGE
