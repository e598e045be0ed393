"""The reference store: everything in memory, nothing kept, every rule in its plainest form.

It is the executable specification that other stores are compared with, and a store for tests.
``world`` holds the data and the moves of one job, ``accepting`` how jobs come in, ``running`` the
hot path, ``caring`` what people and the keeper do, ``planning`` schedules and leaders, ``reading``
the views, ``store`` the verbs.
"""

from stoker.stores.memory.store import MemoryStore

__all__ = ["MemoryStore"]
