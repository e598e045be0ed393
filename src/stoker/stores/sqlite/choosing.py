"""The jobs that a command of a person takes, and its answers in their order."""

from collections.abc import Mapping

from stoker.core.records import Answer, JobQuery
from stoker.stores.sqlite.matching import ALL_CODES, Conditions
from stoker.stores.sqlite.phrases import phrase
from stoker.stores.sqlite.transaction import Card, Transaction

_CARDS = phrase("""
    SELECT json_group_array({card}) FROM (
        SELECT * FROM jobs AS j {where} ORDER BY j.seq LIMIT ?) AS j""")


def choose(tx: Transaction, query: JobQuery, states: frozenset[int], limit: int) -> list[Card]:
    """Return matching jobs, oldest first: those named by id in any state, else in some states."""
    conditions = Conditions(query, states=None if query.ids else states)
    if conditions.impossible:
        return []
    narrow(tx, conditions)
    most = len(query.ids) if query.ids else limit
    return tx.cards(conditions.fill(_CARDS), *conditions.parameters, most)


def narrow(tx: Transaction, conditions: Conditions) -> None:
    """Choose the way by which jobs are found."""
    every = tx.tallied(ALL_CODES)
    some = every if conditions.states is None else tx.tallied(conditions.states)
    conditions.narrow(some, every, tx.value)


def in_order(query: JobQuery, answers: Mapping[str, Answer]) -> list[Answer]:
    """Return an answer for each id that was named, or all answers if none was."""
    if not query.ids:
        return list(answers.values())
    return [answers.get(job_id) or Answer(job_id, "unknown") for job_id in query.ids]
