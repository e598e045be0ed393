"""Leasing: which jobs come next, and handing them out."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from stoker.core import rules
from stoker.core.job import Leased
from stoker.core.lifecycle import Event, State, move
from stoker.stores.sqlite.phrases import ASSIGNED, CODES, HAS_PARENTS, QUEUED, phrase
from stoker.stores.sqlite.transaction import Card, Transaction, to_json

_PROMOTE_PAGE = 1_000

_DUE = phrase("""
    {cards} WHERE j.seq IN (
        SELECT seq FROM jobs WHERE {due} AND due_at <= ? ORDER BY due_at, seq LIMIT ?)""")
_PROMOTE = phrase("UPDATE jobs SET state = 2 WHERE seq IN (SELECT value FROM json_each(?)) AND {due}")

_PICK = phrase("""
    json_array(
        seq, id, task, coalesce(payload, (SELECT payload FROM payloads WHERE job = jobs.seq)),
        queue, priority, due_at, attempt + 1, epoch + 1, timeout, soft_timeout, failed, lost, retry,
        links, tenant, workflow_id, headers, cancel_requested)""")
_UNEXPIRED = "(expires_at IS NULL OR expires_at >= ?)"
_BEST = phrase(f"""
    SELECT json_group_array(pick) FROM (
        SELECT json({_PICK}) AS pick FROM jobs
        WHERE {{queued}} AND queue = ? AND {_UNEXPIRED}
        ORDER BY priority, due_at, seq LIMIT ?)""")
