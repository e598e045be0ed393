"""The pure part of Stoker: words, states, rules and contracts.

Nothing in here does I/O, reads a clock, logs or knows an event loop. It imports the standard
library and msgspec, nothing else; import-linter keeps it so.
"""
