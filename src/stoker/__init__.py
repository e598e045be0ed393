"""Stoker, a distributed task queue."""
