"""Run a program that dies with whoever started it: ``leash.py PARENT-PID PROGRAM ARGUMENT...``.

A worker that is killed cannot end the programs it started. So each is started through this small
script, which asks the kernel to kill it when its parent dies, and then becomes the program. (A
``preexec_fn`` would do the same between fork and exec, where in a process with threads hardly any
Python code is safe.) It imports nothing of Stoker, so it starts in milliseconds.
"""

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Become the program, on the leash."""
    parent, program = int(arguments[0]), arguments[1:]
    # Signals were held while this process was made, and Python ignores SIGPIPE: both are inherited.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        # It died before the kernel was asked.
        sys.exit(1)
    os.execv(program[0], program)  # noqa: S606 - a list and no shell


if __name__ == "__main__":
    main(sys.argv[1:])
