"""Doorbells in front of stores. See `stoker.core.broker` for what a broker is and is not."""
