"""The server: the HTTP API of one store, in one process.

`stoker.server.http` puts it together, `stoker.server.run` runs it. Nothing here decides anything
about a job: every change is a command of the store.
"""
