"""The standard tasks: real work that every worker can do without a line of code.

`standard_tasks` makes them for a worker's settings. The functions themselves stand in modules of
their own and can be called plainly, without a job and without a worker. What they need beyond the
core comes with ``pip install 'stoker[tasks]'`` and is imported when a task runs.
"""

from stoker.tasks.standard import ALIASES, register, standard_tasks

__all__ = ["ALIASES", "register", "standard_tasks"]
