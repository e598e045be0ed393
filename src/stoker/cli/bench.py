"""``stoker bench``: the benchmarks of the source tree."""

import importlib.util
import subprocess
import sys

import click

from stoker.cli.exits import USAGE


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[ARGUMENT]...")
def bench(words: tuple[str, ...]) -> int:
    """Measure rates and latency.

    Runs the benchmarks of the source tree; every argument goes to them.
    """
    if importlib.util.find_spec("benchmarks") is None:
        raise click.UsageError("the benchmarks are in the source tree only: run this there")
    done = subprocess.run([sys.executable, "-m", "benchmarks", *words], check=False)
    return done.returncode if done.returncode >= 0 else USAGE
