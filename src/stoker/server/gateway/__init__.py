"""The gateway: the server's store, over TCP and over HTTP, for workers on other machines.

What travels is specified in ``protocol/PROTOCOL.md``; `stoker.stores.remote` is the other end.
"""
