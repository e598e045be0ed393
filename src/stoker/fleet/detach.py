"""The program that starts a command in a session of its own, and leaves.

``python -I -S detach.py COMMAND...``: the command's parent is then the system's first process,
which collects it when it ends, and no terminal is left that could stop it. The command gets this
program's standard input, and its standard error for both outputs; standard output gets the
command's process id.
"""

import subprocess
import sys

if __name__ == "__main__":
    command = subprocess.Popen(sys.argv[1:], start_new_session=True, stdout=sys.stderr)
    sys.stdout.write(str(command.pid))
