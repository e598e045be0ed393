"""A store behind a Stoker server, reached through its gateway: ``tcp tls http https``.

What travels is specified in ``protocol/PROTOCOL.md``; `stoker.server.gateway` is the other end.
"""

from stoker.stores.remote.store import RemoteStore

__all__ = ["RemoteStore"]
