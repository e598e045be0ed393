"""Implementations of `stoker.core.store.Store`. Only `stoker.connect` names one by hand."""
