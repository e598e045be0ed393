"""The embedded store: one SQLite file that several processes share.

``store`` has the verbs. ``writer`` runs commands in group commits behind ``lock``, ``reader``
answers questions beside it, ``bell`` wakes who waits, in this process and in others.
``connection`` and ``schema`` open and lay out the file; ``transaction`` is what a command works
on. The commands: ``submitting``, ``exchanging`` (with ``settling`` and ``leasing``), ``beating``,
``ending``, ``controlling``, ``reviving``, ``keeping``, ``planning``; the views: ``reading``.

Commands hand whole batches to SQLite as one JSON text and take whole answers back as one: each
row fetched alone would be a switch between Python threads, and a busy thread makes every such
switch cost milliseconds while the write lock is held.
"""

from stoker.stores.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
