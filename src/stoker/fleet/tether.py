"""The program that runs a command which shall end with its supervisor.

``python -I -S tether.py SUPERVISOR_PID COMMAND...`` is a program of its own because the kernel
wants to be asked by the child itself, between fork and exec, and running Python there is not safe
in a supervisor that has threads. It imports nothing of Stoker, so it costs some 20 ms per start,
and it is gone once the command runs: same process id.
"""

import ctypes
import os
import signal
import sys

NOT_STARTED = 127
"""Exit code when the command cannot be run; the shell's."""
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Tie this process to its supervisor and become the command. Returns only if that fails."""
    supervisor, *command = arguments
    # A group of its own: Ctrl-C in the terminal reaches the supervisor alone, which then drains,
    # and what the worker leaves behind can be killed together.
    os.setpgid(0, 0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != int(supervisor):
            return NOT_STARTED
    # Python ignores these, and what is ignored stays ignored in the command.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - a list, no shell
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]!r}: {error.strerror}\n")
    return NOT_STARTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
