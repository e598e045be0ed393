"""The Redis store: every verb is one function inside the server, all keys of a namespace one slot.

``lua`` holds the library of functions, which the server runs one at a time: that is the whole
concurrency control. ``functions`` builds it from the one table of moves and loads it; ``keys``
lists every key. ``wire`` is the connection, ``faults`` what its errors mean, ``bell`` who waits for
what; the other modules turn verbs into arguments and replies into records.

What is kept where: a job is one packed record in ``jobs``, which its moves rewrite, and one text in
``specs``, which nothing rewrites. The record names its state, and the state names the one sorted
set that the job is in. Payloads and results are bytes that no function looks into.

How long a function may hold the server up: what people and the keeper do, and every page, goes
through a few hundred jobs in a call. Three things are one commit however large they are, because
the protocol says so: a submit, an exchange, and the end of a parent with all of its children.
A workflow of 10,000 jobs holds the server up for about a quarter of a second.
"""

from stoker.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
