"""The worker processes of one machine under one supervisor: restart, scale, drain.

The supervisor decides nothing about jobs. It keeps processes alive and tells the store at once
when one died, so that its jobs need not wait for a lease to run out.
"""
