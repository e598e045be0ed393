"""The elected housekeeper: it reaps what was lost, fires schedules and purges what is old.

Any process may be it. Election only saves work: every write of a duty is a compare-and-set or
idempotent, so two keepers at once do no harm.
"""
