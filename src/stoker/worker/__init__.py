"""The worker: leases jobs from a store, runs them, hands in how they ended.

It knows a store by its protocol alone, and tasks by a registry that it is given.
"""
