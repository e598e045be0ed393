"""Programs that tests run as workers: each one line of work, real processes."""

import sys

DRAINS = """
import os, signal, sys
def leave(*_):
    os.write(1, b"leaving\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
signal.signal(signal.SIGUSR1, leave)
os.write(1, " ".join(["ready", *sys.argv[1:]]).encode() + b"\\n")
while True:
    signal.pause()
"""
"""Leaves on SIGTERM, and when it is to retire."""

STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True:
    signal.pause()
"""
"""Does not leave on SIGTERM."""

PARENT = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"])
print(child.pid, flush=True)
while True:
    signal.pause()
"""
"""Has a child of its own, whose process id it prints, and does not look after it."""

DIES = "import sys; sys.exit(3)"
"""Dies at once."""


def command(program: str, *arguments: str) -> list[str]:
    """Return the command line that runs a program."""
    return [sys.executable, "-I", "-S", "-c", program, *arguments]
