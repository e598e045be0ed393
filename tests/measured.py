"""Commands that are measured by what they themselves use."""

from collections.abc import Iterable

OWN = ("sh", "-c", '"$@"; exit $?', "sh")
"""Before a command whose peak of memory counts. A process begins with the peak of the one that it
was forked from, and that one is a worker of the tests, whose own may be over any limit."""


def measured(words: Iterable[object]) -> list[str]:
    """Return a command line that runs another one under a shell of its own."""
    return [*OWN, *map(str, words)]
